//! What a stream of bytes and a question with its answer take: through a plain veth pair, within a network, across a
//! peering; with few rules and with many. The same program at both ends everywhere.
//!
//! Where the two ends run decides about a round trip more than what is between them: to wake a processor that sleeps takes
//! several times as long as the way through a plain veth pair. So the ends are held to one processor for one figure, which
//! is that of the way, and to two for another one.

use crate::floor;
use crate::lab::Up;
use crate::world::{Size, address, topology};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tombolo_bench_api::measure::Figures;

/// Where the far end listens.
const PORT: u16 = 5001;
/// What the first byte of a connection asks for: everything back, from the first processor or the second, or one byte once
/// all is there.
const ECHO: u8 = b'e';
const ECHO_APART: u8 = b'E';
const SINK: u8 = b's';
/// Questions whose time is measured.
const QUESTIONS: usize = 4000;
/// Until the far end listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long a stream is.
    pub time: Duration,
    /// Rules of each network: few, the usual, many.
    pub rules: [u32; 3],
}

/// What the two ends have measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Gbit/s of a TCP stream.
    pub gbits: f64,
    /// Microseconds from a byte to its answer, both ends on one processor: the median.
    pub micros: f64,
    /// The same, each end on a processor of its own.
    pub apart: f64,
}

/// The figures of a round and their units.
pub const FIGURES: [(&str, &str); 20] = [
    ("veth, stream, Gbit/s", ""),
    ("veth, round trip", "µs"),
    ("veth, trip, apart", "µs"),
    ("network, stream, Gbit/s", ""),
    ("network, round trip", "µs"),
    ("network, trip, apart", "µs"),
    ("peering, stream, Gbit/s", ""),
    ("peering, round trip", "µs"),
    ("peering, trip, apart", "µs"),
    ("network ÷ veth, stream", ""),
    ("network ÷ veth, trip", ""),
    ("network ÷ veth, apart", ""),
    ("peering ÷ veth, stream", ""),
    ("peering ÷ veth, trip", ""),
    ("peering ÷ veth, apart", ""),
    ("many ÷ few, stream", ""),
    ("many ÷ few, trip", ""),
    ("many ÷ few, apart", ""),
    ("many ÷ few, conn.", ""),
    ("connection, many", "µs"),
];

/// One round.
pub fn once(tombolo: &Path, own: &Path, program: &Path, plan: Plan) -> Result<Figures> {
    let mut figures = Figures::new();
    let plain = plain(own, program, plan.time)?;
    let [few, usual, many] = plan.rules;
    let (network, peering, _) = in_lab(tombolo, program, plan.time, usual)?;
    let (_, with_few, connecting_few) = in_lab(tombolo, program, plan.time, few)?;
    let (_, with_many, connecting_many) = in_lab(tombolo, program, plan.time, many)?;
    for ([stream, trip, apart], load) in [
        (["veth, stream, Gbit/s", "veth, round trip", "veth, trip, apart"], plain),
        (["network, stream, Gbit/s", "network, round trip", "network, trip, apart"], network),
        (["peering, stream, Gbit/s", "peering, round trip", "peering, trip, apart"], peering),
    ] {
        figures.insert(stream, load.gbits);
        figures.insert(trip, load.micros);
        figures.insert(apart, load.apart);
    }
    for ([stream, trip, apart], load, to) in [
        (["network ÷ veth, stream", "network ÷ veth, trip", "network ÷ veth, apart"], network, plain),
        (["peering ÷ veth, stream", "peering ÷ veth, trip", "peering ÷ veth, apart"], peering, plain),
        (["many ÷ few, stream", "many ÷ few, trip", "many ÷ few, apart"], with_many, with_few),
    ] {
        figures.insert(stream, load.gbits / to.gbits);
        figures.insert(trip, load.micros / to.micros);
        figures.insert(apart, load.apart / to.apart);
    }
    figures.insert("connection, many", connecting_many);
    figures.insert("many ÷ few, conn.", connecting_many / connecting_few);
    Ok(figures)
}

/// The yardstick, in a process that leaves nothing behind.
fn plain(own: &Path, program: &Path, time: Duration) -> Result<Load> {
    let mut command = Command::new(own);
    command.arg("plain").arg(program).arg(time.as_millis().to_string());
    Ok(serde_json::from_str(&printed(&mut command).context("the plain veth pair")?)?)
}

/// What a program prints that succeeds; what else it says is the error.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => bail!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Measures a plain veth pair, and gives what the program at its near end printed. The calling process must have a user
/// namespace and a network namespace of its own.
pub fn through_veth(program: &Path, millis: u64) -> Result<String> {
    let (router, vm) = floor::pair()?;
    setns(router, CloneFlags::CLONE_NEWNET)?;
    let mut server = alone(program);
    server.args(["serve", &format!("0.0.0.0:{PORT}")]);
    let _server = Server(spawn(server)?);
    setns(vm, CloneFlags::CLONE_NEWNET)?;
    let to = SocketAddrV4::new(floor::ROUTER, PORT).to_string();
    printed(alone(program).args(["load", &to, &millis.to_string()])).context(to)
}

/// A program in a session of its own, as those in VMs are. The kernel makes a group of each session (`CONFIG_SCHED_AUTOGROUP`),
/// and to change over from one group to the other takes longer than within one: 0.5 µs of a round trip.
fn alone(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// Within a network, across a peering, and the microseconds that a connection across it takes to be there.
fn in_lab(tombolo: &Path, program: &Path, time: Duration, rules: u32) -> Result<(Load, Load, f64)> {
    let size = Size { vms: 4, networks: 2, rules: 2 * rules };
    let open = format!(
        "    firewalls:\n      - {{name: open, priority: 60000, sourceRanges: [10.0.0.0/8], \
         allowed: [{{IPProtocol: tcp, ports: [\"{PORT}\"]}}]}}\n"
    );
    let named = |name: &str, network: &str| open.replace("name: open", &format!("name: {name}-{network}"));
    let text = topology(size);
    let mut text = text.splitn(3, "    firewalls:\n");
    let parts = [text.next(), text.next(), text.next()].map(Option::unwrap_or_default);
    let text = format!("{}{}{}{}{}", parts[0], named("open", "0"), parts[1], named("open", "1"), parts[2]);
    let (lab, _) = Up::start(tombolo, &text, &[])?;
    for vm in ["vm-0-0", "vm-0-1", "vm-1-0"] {
        let copied = lab
            .exec(vm, &["sh", "-c", "cat >/tmp/traffic && chmod +x /tmp/traffic"])
            .stdin(File::open(program)?)
            .output()?;
        if !copied.status.success() {
            bail!("no program in {vm}: {}", String::from_utf8_lossy(&copied.stderr));
        }
    }
    let ask = |server: &str, at: Ipv4Addr, what: &str| -> Result<String> {
        let server = lab.exec(server, &["/tmp/traffic", "serve", &format!("0.0.0.0:{PORT}")]);
        let _server = Server(spawn(server)?);
        let (to, time) = (SocketAddrV4::new(at, PORT).to_string(), time.as_millis().to_string());
        printed(&mut lab.exec("vm-0-0", &["/tmp/traffic", what, &to, &time])).context(to)
    };
    let network = serde_json::from_str(&ask("vm-0-1", address(0, 1), "load")?)?;
    let peering = serde_json::from_str(&ask("vm-1-0", address(1, 0), "load")?)?;
    let connecting = ask("vm-1-0", address(1, 0), "connect")?.trim().parse()?;
    lab.down()?;
    Ok((network, peering, connecting))
}

fn spawn(mut command: Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// The far end, until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The far end: serves connections, each in a thread of its own.
pub fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Who has gone has no further questions.
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut first, mut buffer) = ([0], vec![0; 256 << 10]);
    stream.read_exact(&mut first)?;
    match first {
        [ECHO] => hold_to(Some(0)),
        [ECHO_APART] => hold_to(Some(1)),
        _ => {}
    }
    loop {
        match stream.read(&mut buffer)? {
            0 => return if first == [SINK] { stream.write_all(&first) } else { Ok(()) },
            count if first != [SINK] => stream.write_all(&buffer[..count])?,
            _ => {}
        }
    }
}

/// The near end: a stream, and questions.
pub fn load(to: SocketAddr, time: Duration) -> Result<Load> {
    hold_to(Some(0));
    let (micros, apart) = (trip(to, ECHO)?, trip(to, ECHO_APART)?);
    hold_to(None);
    let mut stream = connect(to)?;
    stream.write_all(&[SINK])?;
    let (bytes, started, mut sent) = (vec![0; 128 << 10], Instant::now(), 0);
    while started.elapsed() < time {
        stream.write_all(&bytes)?;
        sent += bytes.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0]).context("not all has arrived")?;
    let gbits = sent as f64 * 8e-9 / started.elapsed().as_secs_f64();
    Ok(Load { gbits, micros, apart })
}

/// The microseconds from a question to its answer: the median.
fn trip(to: SocketAddr, how: u8) -> Result<f64> {
    let mut stream = connect(to)?;
    stream.write_all(&[how])?;
    let mut trips = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        stream.write_all(&[0])?;
        stream.read_exact(&mut [0])?;
        trips.push(asked.elapsed());
    }
    trips.sort();
    Ok(trips[QUESTIONS / 2].as_secs_f64() * 1e6)
}

/// Has the calling thread run on a processor, or on any.
fn hold_to(processor: Option<usize>) {
    let mut all = CpuSet::new();
    let wanted = |number: &usize| processor.is_none_or(|processor| processor == *number);
    // More than there are is no error, and what is refused leaves the thread where it may run: there is no other one.
    for number in (0..CpuSet::count()).filter(wanted) {
        let _ = all.set(number);
    }
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
}

/// The microseconds that a new connection takes to be there: the median.
pub fn connecting(to: SocketAddr) -> Result<f64> {
    connect(to)?;
    let one = |_| -> Result<Duration> {
        let started = Instant::now();
        TcpStream::connect(to)?;
        Ok(started.elapsed())
    };
    let mut all = (0..QUESTIONS / 4).map(one).collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all[all.len() / 2].as_secs_f64() * 1e6)
}

/// A connection, once the far end listens.
fn connect(to: SocketAddr) -> Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if started.elapsed() > PATIENCE => return Err(error).with_context(|| to.to_string()),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
