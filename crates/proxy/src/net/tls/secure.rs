//! One TLS connection over a socket that does not block.
//!
//! ```text
//!  read:   kernel ──one read──▶ ciphertext ─▶ rustls ─▶ plaintext, all of it at once
//!  write:  plaintext ─▶ rustls (bounded) ─▶ ciphertext ──writes──▶ kernel
//! ```
//!
//! Edge-triggered events need two promises. A read takes everything out of rustls that it put in,
//! so that nothing is left there which no event would tell of. A write counts plaintext as written
//! when the kernel has its ciphertext: a peer that does not read is felt by whoever writes, and
//! nothing that was counted can be lost when the connection is closed.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use crate::net::stream::{Got, Stream};

/// How much ciphertext waits for the kernel at most.
const MAX_UNSENT: usize = 64 << 10;
/// More than a record takes, with what belongs to it.
const MAX_RECORD: usize = 20 << 10;
/// The first byte of everything that is said in a handshake.
const HANDSHAKE: u8 = 22;
/// What a client is told that says something else.
const NOT_TLS: &[u8] = b"-ERR tombolo-proxy: this port speaks TLS\r\n";

/// A TLS connection and the socket below it.
#[derive(Debug)]
pub(in crate::net) struct Secure {
    pub(in crate::net) below: Stream,
    connection: Connection,
    /// So much plaintext has been taken by rustls and not been counted as written: its ciphertext
    /// is not all out.
    taken: usize,
    handshaking: bool,
    /// Nothing has come yet.
    untouched: bool,
    /// The peer has said that nothing more comes.
    ended: bool,
    /// It came to nothing; there is nobody to say goodbye to.
    failed: bool,
}

impl Secure {
    /// The connection of a client.
    pub(in crate::net) fn of_client(below: Stream, config: Arc<ServerConfig>) -> io::Result<Secure> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Secure::new(below, connection.into()))
    }

    /// A connection to the server `name`.
    pub(in crate::net) fn to_server(
        below: Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Secure> {
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Secure::new(below, connection.into()))
    }

    fn new(below: Stream, mut connection: Connection) -> Secure {
        connection.set_buffer_limit(Some(MAX_UNSENT));
        Secure {
            below,
            connection,
            taken: 0,
            handshaking: true,
            untouched: true,
            ended: false,
            failed: false,
        }
    }

    pub(in crate::net) fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    /// One read of ciphertext, or several when they give no plaintext; also says whether there may
    /// be more.
    pub(in crate::net) fn read(&mut self, buf: &mut [u8]) -> io::Result<(Got, bool)> {
        // Plaintext is never longer than its ciphertext; what rustls has of a record that is not
        // whole comes on top.
        let (plain, cipher) = buf.split_at_mut(buf.len().saturating_add(MAX_RECORD).min(2 * buf.len()) / 2);
        let room = plain.len().saturating_sub(MAX_RECORD).max(1).min(cipher.len());
        while !self.ended {
            let count = match self.below.read(&mut cipher[..room]) {
                Ok(0) => return self.end(),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((Got::Nothing, false)),
                Err(error) => return Err(error),
            };
            self.expect_tls(cipher[0])?;
            let filled = self.decrypt(&cipher[..count], plain)?;
            // An error shows where this connection is written to or read from next.
            let _ = self.flush();
            // As with a plain socket: a read that was not filled has emptied it.
            let more = count == room || self.ended;
            if self.handshaking && !self.connection.is_handshaking() {
                self.handshaking = false;
                return Ok((Got::Secured(filled), more));
            }
            match filled {
                0 if more => {}
                0 => return Ok((Got::Nothing, false)),
                _ => return Ok((Got::Bytes(filled), more)),
            }
        }
        Ok((Got::End, true))
    }

    /// Puts ciphertext into rustls and takes all the plaintext out; says how much that is.
    fn decrypt(&mut self, mut cipher: &[u8], plain: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !cipher.is_empty() && !self.ended {
            self.connection.read_tls(&mut cipher)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The peer is told why.
                let _ = self.flush();
                self.failed = true;
                return Err(io::Error::other(error));
            }
            while filled < plain.len() {
                match self.connection.reader().read(&mut plain[filled..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(filled)
    }

    /// A client that does not speak TLS can not read an alert either.
    fn expect_tls(&mut self, first: u8) -> io::Result<()> {
        if !std::mem::take(&mut self.untouched) || first == HANDSHAKE {
            return Ok(());
        }
        self.failed = true;
        let text = match self.connection {
            Connection::Server(_) => {
                let _ = self.below.write(NOT_TLS);
                "the client does not speak TLS"
            }
            Connection::Client(_) => "the server does not speak TLS",
        };
        Err(io::Error::other(Error::General(text.to_string())))
    }

    /// The socket has ended, with or without a word of TLS before. A client that came and went
    /// without one, as health checks do, has not failed.
    fn end(&self) -> io::Result<(Got, bool)> {
        let came = matches!(self.connection, Connection::Client(_)) || !self.untouched;
        match self.handshaking && came {
            true => Err(io::Error::other(Error::General("the peer closed during the handshake".to_string()))),
            false => Ok((Got::End, true)),
        }
    }

    /// Writes as much as the kernel takes; says how much that was, and whether it would take more.
    /// What was not counted has to come again, as the start of the next `bytes`.
    pub(in crate::net) fn write(&mut self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let mut written = 0;
        loop {
            if !self.flush()? {
                return Ok((written, false));
            }
            written += std::mem::take(&mut self.taken);
            let rest = bytes.get(written..).unwrap_or_default();
            if self.handshaking || rest.is_empty() {
                return Ok((written.min(bytes.len()), true));
            }
            self.taken = self.connection.writer().write(rest)?;
        }
    }

    /// Writes what waits; false when the kernel does not take all of it.
    pub(in crate::net) fn flush(&mut self) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Below(&mut self.below)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more comes, as far as the kernel takes it.
    pub(in crate::net) fn close_notify(&mut self) {
        if !self.failed {
            self.connection.send_close_notify();
            let _ = self.flush();
        }
    }
}

/// The socket as rustls writes to it: several records at once.
struct Below<'a>(&'a mut Stream);

impl Write for Below<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
