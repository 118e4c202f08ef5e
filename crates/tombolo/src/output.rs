//! What people see: aligned columns, a little colour where it is wanted, JSON on request.

use anstyle::{AnsiColor, Style};
use std::io::{ErrorKind, IsTerminal, Write};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints text to stdout. A reader that went away (`| head`) is no error, and changes nothing of the exit status.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: stdout: {error}");
            std::process::exit(2);
        }
        _ => {}
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Rows in aligned columns, the first row being the heading. No blanks at line ends.
pub(crate) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or_default();
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(i));
        cells.map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or_default()).collect();
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Whether colour is wanted: a terminal, and no NO_COLOR (no-color.org).
fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
}

/// Text in a style, where colour is wanted.
fn paint(style: Style, text: &str) -> String {
    if coloured() { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// For what is as it should be.
pub(crate) fn green(text: &str) -> String {
    paint(AnsiColor::Green.on_default(), text)
}

/// For what is not.
pub(crate) fn red(text: &str) -> String {
    paint(AnsiColor::Red.on_default().bold(), text)
}

/// For what waits, or is neither.
pub(crate) fn yellow(text: &str) -> String {
    paint(AnsiColor::Yellow.on_default(), text)
}

/// For headings.
pub(crate) fn bold(text: &str) -> String {
    paint(Style::new().bold(), text)
}

/// Text of a certain width: longer text is cut and marked.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let line: String = text.lines().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return format!("{line:width$}");
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}
