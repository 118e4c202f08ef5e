//! A client's connection to the proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::SockRef;
use tombolo_resp::{FrameScanner, Value};

/// No fault and no timeout lasts as long: a reply that does not come until then is lost.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How to reach a pool.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where the proxy listens.
    pub address: SocketAddrV4,
    /// What TLS is spoken with, if it is.
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection, and the replies on it that nobody has taken yet.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    input: Vec<u8>,
    used: usize,
    scanner: FrameScanner,
}

impl Connection {
    /// Connects.
    pub fn open(door: &Door) -> io::Result<Connection> {
        let socket = TcpStream::connect(door.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = match &door.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::from(std::net::IpAddr::from(*door.address.ip()));
                let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Connection { stream, input: Vec::new(), used: 0, scanner: FrameScanner::default() })
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }

    /// Makes its end a reset.
    pub fn reset(&self) {
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// How long [`Connection::reply`] waits.
    pub fn patience(&self, time: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(time))
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// Ends the direction to the proxy.
    pub fn end_requests(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Bytes that have come and that no reply was made of.
    pub fn rest(&self) -> usize {
        self.input.len() - self.used
    }

    /// The next reply. What has come of it when the time is over is kept.
    pub fn reply(&mut self) -> io::Result<Value> {
        let invalid = |error: String| io::Error::new(ErrorKind::InvalidData, error);
        loop {
            let rest = &self.input[self.used..];
            if let Some(length) = self.scanner.advance(rest).map_err(|error| invalid(error.to_string()))? {
                let (value, _) = Value::decode(&rest[..length])
                    .ok_or_else(|| invalid("a reply that is none".to_string()))?;
                self.used += length;
                return Ok(value);
            }
            self.input.drain(..std::mem::take(&mut self.used));
            let mut chunk = [0; 16 << 10];
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut chunk),
                Stream::Tls(stream) => stream.read(&mut chunk),
            };
            match read? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
