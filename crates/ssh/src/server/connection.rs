//! One connection: who it is let in as, and its channels.

use super::account::Account;
use super::forward;
use super::input::{Piece, Waiting};
use super::program::{self, SFTP_SERVER, TerminalRequest, Wanted};
use super::session::{self, Control};
use crate::keys::is_let_in;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use russh::keys::ssh_key::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Error, Pty, Sig};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How many channels a connection may have at a time.
const CHANNELS: usize = 256;
/// How many variables a client may set in a session.
const VARIABLES: usize = 64;

/// The state of a connection.
pub(super) struct Connection {
    /// The metadata that says who is let in.
    keys: Vec<String>,
    /// `SSH_CONNECTION`: the client's address and port, and the server's.
    addresses: [String; 4],
    let_in: Option<oneshot::Sender<()>>,
    account: Option<Account>,
    channels: HashMap<ChannelId, Open>,
    waiting: Waiting,
}

/// A channel.
struct Open {
    /// `None` once something runs, which has it.
    channel: Option<ChannelWriteHalf<Msg>>,
    env: Vec<(String, String)>,
    terminal: Option<TerminalRequest>,
    /// `None` when there is nothing, or no more, to send to.
    input: Option<UnboundedSender<Piece>>,
    control: Option<UnboundedSender<Control>>,
    work: Option<JoinHandle<()>>,
}

impl Open {
    fn new(channel: Option<ChannelWriteHalf<Msg>>) -> Self {
        Self { channel, env: Vec::new(), terminal: None, input: None, control: None, work: None }
    }
}

impl Drop for Open {
    /// With the work goes the terminal, which hangs its programs up.
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}

impl Connection {
    /// A new one, and word of when somebody is let in.
    pub(super) fn new(
        keys: Vec<String>,
        socket: &TcpStream,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (peer, own) = (socket.peer_addr()?, socket.local_addr()?);
        let addresses =
            [peer.ip().to_string(), peer.port().to_string(), own.ip().to_string(), own.port().to_string()];
        let (let_in, word) = oneshot::channel();
        let connection = Self {
            keys,
            addresses,
            let_in: Some(let_in),
            account: None,
            channels: HashMap::new(),
            waiting: Waiting::default(),
        };
        Ok((connection, word))
    }

    fn judge(&self, user: &str, key: &PublicKey) -> Auth {
        if is_let_in(&self.keys, user, key, Timestamp::now()) { Auth::Accept } else { Auth::reject() }
    }

    /// Whether there may be one channel more. Those whose work is done do not count.
    fn has_room(&mut self) -> bool {
        self.channels.retain(|_, open| open.work.as_ref().is_none_or(|work| !work.is_finished()));
        self.channels.len() < CHANNELS
    }

    /// Runs what a client wants on a channel on which nothing runs yet.
    fn run(&mut self, id: ChannelId, wanted: &Wanted, session: &mut Session) -> Result<(), Error> {
        let Some(command) = self.command(id, wanted) else { return session.channel_failure(id) };
        let handle = session.handle();
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        let Some(channel) = open.channel.take() else { return session.channel_failure(id) };
        match program::start(command, open.terminal.as_ref()) {
            Ok(program) => {
                let (input, taken) = unbounded_channel();
                let (control, obeyed) = unbounded_channel();
                (open.input, open.control) = (Some(input), Some(control));
                session.channel_success(id)?;
                open.work = Some(tokio::spawn(session::run(program, taken, obeyed, channel, handle)));
                Ok(())
            }
            Err(error) => {
                // The client's own words for a refused request do not say why.
                session.channel_success(id)?;
                session.extended_data(id, 1, format!("cannot start a program: {error}\r\n").into_bytes())?;
                session.exit_status_request(id, 255)?;
                session.eof(id)?;
                session.close(id)
            }
        }
    }

    /// The command for it; `None` before a login, and of a channel that has none.
    fn command(&mut self, id: ChannelId, wanted: &Wanted) -> Option<Command> {
        let account = self.account.clone()?;
        let open = self.channels.get(&id)?;
        let mut command = match wanted {
            Wanted::Shell => {
                let mut command = Command::new(account.shell);
                let name = account.shell.rsplit('/').next().unwrap_or_default();
                // The dash makes it a login shell.
                command.arg0(format!("-{name}"));
                command
            }
            Wanted::Command(text) => {
                let mut command = Command::new(account.shell);
                command.arg("-c").arg(OsStr::from_bytes(text));
                command
            }
            Wanted::Subsystem(path) => Command::new(path),
        };
        let [peer, peer_port, own, own_port] = &self.addresses;
        command.envs(account.env());
        command.env("SSH_CONNECTION", format!("{peer} {peer_port} {own} {own_port}"));
        command.env("SSH_CLIENT", format!("{peer} {peer_port} {own_port}"));
        command.envs(open.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(account.home());
        Some(command)
    }
}

impl Handler for Connection {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        Ok(self.judge(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let auth = self.judge(user, key.public_key);
        if auth == Auth::Accept {
            self.account = Some(Account::of(user));
        }
        Ok(auth)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Error> {
        if let Some(let_in) = self.let_in.take() {
            // Nobody waits for it after the end of the time to log in.
            let _ = let_in.send(());
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        if !self.has_room() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // What is received comes by the methods below: russh's own queue would hold up everything when it is full.
        let (_, channel) = channel.split();
        self.channels.insert(channel.id(), Open::new(Some(channel)));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let (Ok(port), true) = (u16::try_from(port), self.has_room()) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (_, channel) = channel.split();
        let (input, taken) = unbounded_channel();
        let mut open = Open::new(None);
        open.input = Some(input);
        let id = channel.id();
        open.work = Some(tokio::spawn(forward::run(host.to_owned(), port, taken, channel, reply)));
        self.channels.insert(id, open);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        // Those that Debian's sshd takes.
        let taken = name == "LANG" || name == "COLORTERM" || name == "NO_COLOR" || name.starts_with("LC_");
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        if taken && open.env.len() < VARIABLES && !value.contains('\0') {
            open.env.push((name.to_owned(), value.to_owned()));
            session.channel_success(id)
        } else {
            session.channel_failure(id)
        }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let size = program::size(columns, rows, width, height);
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        if term.contains('\0') || open.channel.is_none() {
            return session.channel_failure(id);
        }
        open.terminal = Some(TerminalRequest { term: term.to_owned(), size, modes: modes.to_vec() });
        session.channel_success(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.run(id, &Wanted::Shell, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.run(id, &Wanted::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        // A machine without OpenSSH's server has no sftp.
        match name {
            "sftp" if Path::new(SFTP_SERVER).exists() => {
                self.run(id, &Wanted::Subsystem(SFTP_SERVER), session)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Result<(), Error> {
        let size = program::size(columns, rows, width, height);
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        match &open.control {
            // A program that has ended needs no size.
            Some(control) => drop(control.send(Control::Resize(size))),
            None => open.terminal.iter_mut().for_each(|terminal| terminal.size = size),
        }
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Error> {
        let name = match &signal {
            Sig::Custom(name) => name.clone(),
            known => format!("{known:?}"),
        };
        let control = self.channels.get(&id).and_then(|open| open.control.as_ref());
        if let (Ok(signal), Some(control)) = (Signal::from_str(&format!("SIG{name}")), control) {
            let _ = control.send(Control::Signal(signal));
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        let piece = self.waiting.piece(data);
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        // A program that takes no more is sent no more.
        if open.input.as_ref().is_some_and(|input| input.send(piece).is_err()) {
            open.input = None;
        }
        self.waiting.slow_down().await;
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.waiting.room(super::WINDOW)
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(open) = self.channels.get_mut(&id) {
            open.input = None;
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.channels.remove(&id);
        Ok(())
    }
}
