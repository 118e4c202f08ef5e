//! The terminal while reports are shown again and again: raw, so that keys are seen at once, on the
//! alternate screen, so that what was there comes back.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::text::{Line, text};

/// The terminal; as it was before once this is dropped.
pub(super) struct Screen {
    color: bool,
    signals: SignalFd,
}

/// What the user has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    Resize,
    Quit,
    /// Somebody wants the program to end, with a signal of this number.
    Signal(u8),
}

impl Screen {
    /// To be opened before a thread is started, which could be ended by a signal, and all with it: the
    /// terminal would stay as it is here.
    pub(super) fn open(color: bool) -> io::Result<Screen> {
        let ends: SigSet = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT].into_iter().collect();
        ends.thread_block()?;
        let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        enable_raw_mode()?;
        let screen = Screen { color, signals };
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size() -> (usize, usize) {
        size().map_or((80, 24), |(width, height)| (width.max(1).into(), height.max(1).into()))
    }

    pub(super) fn show(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, MoveTo(0, 0))?;
        let mut lines = lines.iter().peekable();
        while let Some(line) = lines.next() {
            let end = if lines.peek().is_some() { "\r\n" } else { "" };
            queue!(out, Clear(ClearType::UntilNewLine))?;
            out.write_all(text(std::slice::from_ref(line), self.color, end).as_bytes())?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }

    /// What the user does next, within `time`.
    pub(super) fn input(&self, time: Duration) -> io::Result<Input> {
        let polled = event::poll(time);
        if let Some(signal) = self.signals.read_signal()? {
            return Ok(Input::Signal(u8::try_from(signal.ssi_signo).unwrap_or(0)));
        }
        if !polled? {
            return Ok(Input::Nothing);
        }
        Ok(match event::read()? {
            Event::Resize(..) => Input::Resize,
            Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => Input::Quit,
                KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Input::Quit,
                _ => Input::Nothing,
            },
            _ => Input::Nothing,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
