//! A program's life in a session: its input, its output, its end.

use super::input::Piece;
use super::program::{Program, Terminal, send};
use nix::sys::signal::Signal;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

/// After a program's end its last output may still be on the way through the terminal.
const LAST_WORDS: Duration = Duration::from_millis(50);
const END_OF_INPUT: &[u8] = &[4];
/// Extended data of this kind is stderr. Source: RFC 4254, section 5.2.
const STDERR: u32 = 1;

/// What a client says of a program that runs.
#[derive(Debug)]
pub(super) enum Control {
    Signal(Signal),
    Resize(libc::winsize),
}

/// Input of a channel; it ends when its sender is dropped.
pub(super) type Input = UnboundedReceiver<Piece>;

/// Sees a program to its end, and tells the client of it. Dropping this takes the terminal away, which hangs up.
pub(super) async fn run(
    mut program: Program,
    input: Input,
    control: UnboundedReceiver<Control>,
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
) {
    let stdout = channel.make_writer();
    let status = match program.terminal.take() {
        Some(terminal) => {
            let (told, ended) = watch::channel(false);
            let life = async {
                let status = live(&mut program, control, Some(&terminal)).await;
                told.send_replace(true);
                status
            };
            let output = print(&terminal, stdout, ended);
            while_feeding(type_in(&terminal, input), async { tokio::join!(life, output).0 }).await
        }
        None => {
            let child = &mut program.child;
            let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let stderr = channel.make_writer_ext(Some(STDERR));
            let output = async { tokio::join!(copy(out, stdout), copy(err, stderr)) };
            let life = live(&mut program, control, None);
            while_feeding(feed(stdin, input), async { tokio::join!(life, output).0 }).await
        }
    };
    // Who is gone needs no answer.
    let _ = match status {
        Some(status) => tell(status, &channel, &handle).await,
        None => Ok(()),
    };
    let _ = channel.eof().await;
    let _ = channel.close().await;
}

/// Drives two things until the second is done.
async fn while_feeding<T>(feeding: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = feeding => {}
    }
    work.await
}

/// Obeys the client until the program ends; its status, if it can be had.
async fn live(
    program: &mut Program,
    mut control: UnboundedReceiver<Control>,
    terminal: Option<&Terminal>,
) -> Option<ExitStatus> {
    loop {
        tokio::select! {
            status = program.child.wait() => return status.ok(),
            Some(said) = control.recv() => match said {
                Control::Signal(signal) => send(&program.child, signal),
                Control::Resize(size) => terminal.into_iter().for_each(|terminal| terminal.resize(&size)),
            },
        }
    }
}

/// Gives a program its input. One that does not want it is let be.
async fn feed(stdin: Option<impl AsyncWrite + Unpin>, mut input: Input) {
    let Some(mut stdin) = stdin else { return };
    while let Some(piece) = input.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// The same on a terminal, where the end is a character.
async fn type_in(terminal: &Terminal, mut input: Input) {
    while let Some(piece) = input.recv().await {
        if terminal.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = terminal.write_all(END_OF_INPUT).await;
}

/// Sends what a program prints until it has closed its output.
pub(super) async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(got) => {
                if to.write_all(&buffer[..got]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends what is printed on a terminal until nobody has it open, or the program has ended and said its last words:
/// what it left in the background may have it open for ever.
async fn print(terminal: &Terminal, mut to: impl AsyncWrite + Unpin, mut ended: watch::Receiver<bool>) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let got = if *ended.borrow() {
            tokio::time::timeout(LAST_WORDS, terminal.read(&mut buffer)).await.unwrap_or(0)
        } else {
            tokio::select! {
                got = terminal.read(&mut buffer) => got,
                _ = ended.changed() => continue,
            }
        };
        if got == 0 || to.write_all(&buffer[..got]).await.is_err() {
            return;
        }
    }
}

/// Tells how a program ended. Source: RFC 4254, section 6.10.
async fn tell(status: ExitStatus, channel: &ChannelWriteHalf<Msg>, handle: &Handle) -> Result<(), ()> {
    let Some(number) = status.signal() else {
        return channel.exit_status(status.code().unwrap_or(255) as u32).await.map_err(drop);
    };
    let signal = match Signal::try_from(number) {
        Ok(Signal::SIGABRT) => Sig::ABRT,
        Ok(Signal::SIGALRM) => Sig::ALRM,
        Ok(Signal::SIGFPE) => Sig::FPE,
        Ok(Signal::SIGHUP) => Sig::HUP,
        Ok(Signal::SIGILL) => Sig::ILL,
        Ok(Signal::SIGINT) => Sig::INT,
        Ok(Signal::SIGKILL) => Sig::KILL,
        Ok(Signal::SIGPIPE) => Sig::PIPE,
        Ok(Signal::SIGQUIT) => Sig::QUIT,
        Ok(Signal::SIGSEGV) => Sig::SEGV,
        Ok(Signal::SIGTERM) => Sig::TERM,
        Ok(Signal::SIGUSR1) => Sig::USR1,
        // As OpenSSH says what the RFC has no name for.
        Ok(other) => Sig::Custom(format!("{}@openssh.com", other.as_str().trim_start_matches("SIG"))),
        Err(_) => Sig::Custom(format!("{number}@openssh.com")),
    };
    let dumped = status.core_dumped();
    handle.exit_signal_request(channel.id(), signal, dumped, String::new(), String::new()).await
}
