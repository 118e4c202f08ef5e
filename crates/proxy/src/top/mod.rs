//! `tombolo-proxy top`: what a running proxy does, from its metrics.
//!
//! ```text
//!  /metrics ─┐
//!  /hotkeys  │
//!  /slowlog  ├─▶ report (pure) ─▶ text (pure) ─▶ screen, or standard output
//!  /metrics ─┘
//! ```

mod ask;
pub mod exposition;
pub mod report;
mod screen;
mod text;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use ask::Proxy;
use clap::{Args, ValueEnum};
use report::{Details, Report};
use screen::{Input, Screen};

/// How often the keyboard is looked at.
const TURN: Duration = Duration::from_millis(100);

/// How `top` is called.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The --metrics of the proxy; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:22223", value_parser = address)]
    pub metrics: String,
    /// The time between two looks, in seconds
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub interval: u64,
    /// Show it once: after one interval, for rates need two looks. Exit status 1 when a server is down
    /// or left out
    #[arg(long)]
    pub once: bool,
    /// How to show it; json is one document a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one document a line.
    Json,
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        None if text.parse::<u16>().is_ok() => Ok(format!("127.0.0.1:{text}")),
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_string()),
        _ => Err("expected HOST:PORT, or a port".to_string()),
    }
}

/// Shows what a proxy does; returns the exit status: 0, or 1 when a server is not well in the last
/// report. An error when the proxy can not be asked.
pub fn run(options: &Options) -> Result<u8, String> {
    let proxy = Proxy { address: options.metrics.clone() };
    let mut watch = Watch { before: Look::take(&proxy)?, proxy, interval: options.interval };
    let interactive = io::stdout().is_terminal() && io::stdin().is_terminal();
    if interactive && !options.once && options.format == Format::Text {
        return show(watch);
    }
    loop {
        let report = watch.next()?;
        let written = print(&report, &watch.proxy.address, options.format);
        // Who reads no more has seen enough.
        if options.once || written.is_err() {
            return Ok(u8::from(!report.is_well()));
        }
    }
}

fn print(report: &Report, from: &str, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer(&mut out, report)?;
            out.write_all(b"\n")?;
        }
        Format::Text => {
            let terminal = io::stdout().is_terminal();
            // Wide enough for everything, where nothing says otherwise.
            let width = if terminal { Screen::size().0 } else { 120 };
            let lines = text::lines(report, from, width, None);
            out.write_all(text::text(&lines, terminal && color(), "\n").as_bytes())?;
        }
    }
    out.flush()
}

/// <https://no-color.org>
fn color() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows reports until the user has seen enough.
fn show(watch: Watch) -> Result<u8, String> {
    let (from, interval) = (watch.proxy.address.clone(), watch.interval);
    let failed = |error: io::Error| format!("the terminal: {error}");
    let screen = Screen::open(color()).map_err(failed)?;
    let reports = watch.start();
    let waiting = format!("{from}: the first rates come in {interval} s; q ends this");
    let mut notice = Some((Style::new(), waiting));
    let mut latest: Option<Report> = None;
    let mut changed = true;
    loop {
        while let Ok(outcome) = reports.try_recv() {
            changed = true;
            match outcome {
                Ok(report) => (latest, notice) = (Some(report), None),
                Err(error) => notice = Some((AnsiColor::Red.on_default().bold(), error)),
            }
        }
        if std::mem::take(&mut changed) {
            let (width, height) = Screen::size();
            let rest = height.saturating_sub(usize::from(notice.is_some())).max(1);
            let mut lines = notice.iter().map(|line| vec![line.clone()]).collect::<Vec<_>>();
            if let Some(report) = &latest {
                lines.extend(text::lines(report, &from, width, Some(rest)));
            }
            screen
                .show(&lines.into_iter().map(|line| text::cut(line, width)).collect::<Vec<_>>())
                .map_err(failed)?;
        }
        match screen.input(TURN).map_err(failed)? {
            Input::Quit => return Ok(u8::from(latest.is_some_and(|report| !report.is_well()))),
            // As a shell tells it.
            Input::Signal(signal) => return Ok(128 + signal),
            Input::Resize => changed = true,
            Input::Nothing => {}
        }
    }
}

/// Metrics, and when they were taken.
struct Look {
    at: Instant,
    samples: Vec<exposition::Sample>,
}

impl Look {
    fn take(proxy: &Proxy) -> Result<Look, String> {
        let samples = proxy.metrics()?;
        Ok(Look { at: Instant::now(), samples })
    }
}

/// Looks at a proxy again and again.
struct Watch {
    proxy: Proxy,
    interval: u64,
    before: Look,
}

impl Watch {
    /// What happens in the next interval.
    fn next(&mut self) -> Result<Report, String> {
        let keys = self.proxy.keys(self.interval)?;
        // An answer comes sooner when somebody else has asked for it already.
        thread::sleep(Duration::from_secs(self.interval).saturating_sub(self.before.at.elapsed()));
        let after = Look::take(&self.proxy)?;
        let details = Details { keys, slow: self.proxy.slow()? };
        let seconds = after.at.duration_since(self.before.at).as_secs_f64().max(0.001);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        let report = report::compare(&self.before.samples, &after.samples, &details, seconds, now);
        self.before = after;
        report.map_err(|error| format!("{}: {error}", self.proxy.address))
    }

    /// Goes on in a thread of its own, also after errors.
    fn start(mut self) -> Receiver<Result<Report, String>> {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            loop {
                let outcome = self.next();
                if outcome.is_err() {
                    thread::sleep(Duration::from_secs(1));
                }
                if sender.send(outcome).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}
