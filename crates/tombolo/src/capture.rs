//! `tombolo capture`: the packets of an interface, as tcpdump would show them from within.

mod batch;
mod packet;
mod pcap;

use crate::lab::{ENDED, LabArgs, Running};
use crate::output::Format;
use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg};
use packet::{Direction, Packet};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `capture`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, the redis instance, or `internet`
    endpoint: String,
    /// Its interface: nic0, nic1, …
    #[arg(short, long, default_value = "nic0", value_parser = nic)]
    interface: u8,
    /// Write a file that tcpdump and Wireshark read, instead of lines; `-` for stdout
    #[arg(short, long, value_name = "FILE", conflicts_with = "format")]
    write: Option<PathBuf>,
    /// End after so many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Lines for people, or a JSON object in each line for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// The number of an interface.
pub(crate) fn nic(text: &str) -> Result<u8, String> {
    let number = text.strip_prefix("nic").and_then(|number| number.parse().ok());
    number.filter(|number| *number < 8).ok_or_else(|| "expected nic0 to nic7".into())
}

/// Captures until there is enough, Ctrl-C, or the lab's end.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let view = running.view();
    let owner = view.endpoint(&args.endpoint).map_err(|e| anyhow!(e))?;
    let (network, nic) = view.nic(&owner, args.interface).map_err(|e| anyhow!(e))?;
    let mut sink = Sink::open(args)?;
    let ears = view.agent.capture(&owner.to_string(), &format!("eth{}", nic.index))?;
    let signals = signals()?;
    eprintln!(
        "capturing on nic{} ({}) of {} in {}; Ctrl-C ends it",
        nic.index,
        nic.address,
        owner.name(),
        network.name
    );
    let (captured, gone) = listen(&ears, &signals, args.count.unwrap_or(u64::MAX), &mut sink)?;
    if gone {
        let of = owner.name();
        eprintln!("{}", if args.lab.is_up() { format!("{of} has gone") } else { ENDED.to_owned() });
    }
    let dropped = tombolo_agent::dropped(&ears)?;
    eprintln!("{captured} packets captured, {dropped} dropped because they were not taken in time");
    Ok(ExitCode::SUCCESS)
}

/// From here on, SIGINT and SIGTERM are read instead of ending the process.
fn signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM].into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block()?;
    Ok(SignalFd::new(&mask)?)
}

/// Takes packets to the sink; how many, and whether it ended because the interface is gone.
fn listen(ears: &OwnedFd, signals: &SignalFd, most: u64, sink: &mut Sink) -> Result<(u64, bool)> {
    let mut frame = vec![0; pcap::SNAP_LENGTH];
    let (mut captured, mut gone) = (0, false);
    'all: while captured < most {
        let heard = match hear(ears, &mut frame) {
            Ok(heard) => heard,
            Err(Errno::EAGAIN) => {
                // Nothing more for now: what there is can be seen.
                if !sink.flush()? {
                    break;
                }
                let fds = [ears.as_fd(), signals.as_fd()];
                let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                let _ = poll(&mut fds, PollTimeout::NONE);
                if fds[1].any().unwrap_or(false) {
                    break;
                }
                continue;
            }
            // With its instance or with the lab.
            Err(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) => {
                gone = true;
                break;
            }
            Err(error) => return Err(error).context("listen"),
        };
        let kept = heard.length.min(frame.len());
        let packets = batch::packets(&frame[..kept]);
        let whole = packets.len() == 1;
        for packet in packets {
            let length = if whole { heard.length } else { packet.len() };
            captured += 1;
            if !sink.put(&Heard { length, ..heard }, &packet)? || captured == most {
                break 'all;
            }
        }
    }
    sink.flush()?;
    Ok((captured, gone))
}

/// A frame that was heard.
struct Heard {
    time: Timestamp,
    direction: Direction,
    /// Its whole length, also when there was no room for it.
    length: usize,
}

fn hear(ears: &OwnedFd, frame: &mut [u8]) -> Result<Heard, Errno> {
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(frame)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let message = recvmsg::<LinkAddr>(ears.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => {
            Timestamp::new(time.tv_sec(), time.tv_nsec() as i32).ok()
        }
        _ => None,
    });
    let outgoing = message.address.is_some_and(|address| address.pkttype() == nix::libc::PACKET_OUTGOING);
    let direction = if outgoing { Direction::Out } else { Direction::In };
    Ok(Heard { time: stamp.unwrap_or_else(Timestamp::now), direction, length: message.bytes })
}

/// Where packets go.
enum Sink {
    Lines(Format),
    File(BufWriter<Box<dyn Write>>),
}

impl Sink {
    fn open(args: &Args) -> Result<Sink> {
        let Some(path) = &args.write else { return Ok(Sink::Lines(args.format)) };
        let to: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            // What is in packets is not for every user's eyes.
            let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
            Box::new(file.with_context(|| path.display().to_string())?)
        };
        let mut to = BufWriter::new(to);
        to.write_all(&pcap::header())?;
        Ok(Sink::File(to))
    }

    /// `false` when nobody reads any more.
    fn put(&mut self, heard: &Heard, frame: &[u8]) -> Result<bool> {
        let Heard { time, direction, length } = *heard;
        let put = match self {
            Sink::Lines(format) => {
                let packet = Packet::read(time, direction, frame, length);
                let line = match format {
                    Format::Text => packet.to_string(),
                    Format::Json => serde_json::to_string(&packet)?,
                };
                writeln!(std::io::stdout(), "{line}")
            }
            Sink::File(to) => {
                to.write_all(&pcap::record(time, frame.len(), length)).and_then(|()| to.write_all(frame))
            }
        };
        still_read(put)
    }

    /// The same.
    fn flush(&mut self) -> Result<bool> {
        still_read(match self {
            Sink::Lines(_) => std::io::stdout().flush(),
            Sink::File(to) => to.flush(),
        })
    }
}

fn still_read(outcome: std::io::Result<()>) -> Result<bool> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}
