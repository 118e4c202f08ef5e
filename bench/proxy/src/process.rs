//! Processes that end when they are dropped, and what the kernel says about them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// More than any start takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where ports are looked for: below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A process; killed and waited for when it is dropped, and also when this one is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` with its output in `log`.
    pub fn start(program: &Path, args: &[String], log: &Path) -> anyhow::Result<Process> {
        let out = fs::File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .current_dir(log.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .context("setpriv")?;
        Ok(Process { child })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections at `port`; false when it ended instead.
    pub fn listens(&mut self, port: u16) -> anyhow::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("process {} does not listen at port {port}", self.pid())
    }

    /// A line of its `/proc/PID/status` in kB: `VmRSS` or `VmHWM`, the peak of it.
    pub fn memory_kib(&self, name: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        memory(&status, name).with_context(|| format!("{name} in {path}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of all threads of a process so far, in user mode and in the kernel, from its CPU clock: exact,
/// where `/proc/PID/stat` has the same in hundredths of a second.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32));
    let time = clock.and_then(clock_gettime).with_context(|| format!("the CPU clock of process {pid}"))?;
    Ok(time.into())
}

/// The time that all processors were busy so far.
pub fn machine_cpu() -> anyhow::Result<Duration> {
    let path = "/proc/stat";
    let stat = fs::read_to_string(path).context(path)?;
    let ticks = machine_ticks(&stat).context(path)?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Of the fields of all processors together: user, nice, system, (idle, iowait,) irq, softirq,
/// steal. The rest is part of the first two.
fn machine_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    (ticks.len() >= 8).then(|| ticks[..3].iter().chain(&ticks[5..8]).sum())
}

fn memory(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// A port of loopback that was free a moment ago. Whoever uses it must be ready to try another.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let start = (std::process::id() % u32::from(count)) as u16;
    loop {
        let offset = (u32::from(start) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(count);
        let port = PORTS.start + offset as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Starts something at a free port, again at another one when it ended at once.
pub fn start_at_free_port(
    what: &str,
    mut start: impl FnMut(u16) -> anyhow::Result<Process>,
) -> anyhow::Result<(Process, u16)> {
    for _ in 0..5 {
        let port = free_port();
        let mut process = start(port)?;
        if process.listens(port).with_context(|| what.to_string())? {
            return Ok((process, port));
        }
    }
    bail!("{what} ends instead of listening")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_cpu_clock() {
        let before = cpu(std::process::id()).expect("our own clock");
        while cpu(std::process::id()).expect("our own clock") <= before {}
        // The kernel gives no process so high a number (`PID_MAX_LIMIT`).
        assert!(cpu(1 << 22).is_err());
    }

    #[test]
    fn fields_of_proc() {
        assert_eq!(machine_ticks("cpu  1 2 3 400 500 6 7 8 1 0\ncpu0 1"), Some(27));
        let status = "Name:\tx\nVmHWM:\t    2044 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(memory(status, "VmHWM"), Some(2044));
        assert_eq!(memory(status, "VmRSS"), Some(12));
        assert_eq!(memory(status, "VmSwap"), None);
    }
}
