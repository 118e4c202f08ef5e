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

/// The width of the terminal that stdout is; none where it is a file or a pipe, which have room for all.
pub(crate) fn columns() -> Option<usize> {
    let size = tombolo_agent::terminal_size(std::io::stdout())?;
    Some(usize::from(size.cols)).filter(|columns| *columns > 0)
}

/// A flexible column is not made narrower than this.
const NARROWEST: usize = 12;

/// A [`table`] that fits so many columns, where that can be had by cutting cells of some columns: the first first.
pub(crate) fn table_in<const N: usize>(
    columns: Option<usize>,
    rows: &[[String; N]],
    flexible: &[usize],
) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or_default();
    let all = (0..N).map(width).sum::<usize>() + 2 * N.saturating_sub(1);
    let mut over = columns.map_or(0, |columns| all.saturating_sub(columns));
    let mut rows = rows.to_vec();
    for &i in flexible {
        let before = width(i);
        let narrow = before.saturating_sub(over).max(NARROWEST).min(before);
        over -= before - narrow;
        rows.iter_mut()
            .filter(|row| row[i].chars().count() > narrow)
            .for_each(|row| row[i] = fit(&row[i], narrow));
    }
    table(&rows)
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

/// Text in one line.
pub(crate) fn line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

/// Text of a certain width: longer text is cut and marked.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let line = line(text);
    if line.chars().count() <= width {
        return format!("{line:width$}");
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_only_where_it_must_be_and_may() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows =
            [row(["NAME", "PEER", "STATE"]), row(["peering-to-vpc-2", "project-12345/network", "ACTIVE"])];
        let last = |columns| table_in(columns, &rows, &[1, 0]).lines().last().unwrap_or_default().to_owned();
        let whole = "peering-to-vpc-2  project-12345/network  ACTIVE";
        assert_eq!([None, Some(80), Some(47)].map(last), [whole; 3]);
        assert_eq!(last(Some(40)), "peering-to-vpc-2  project-12345…  ACTIVE");
        assert_eq!(last(Some(36)), "peering-to-vp…  project-123…  ACTIVE");
        assert_eq!(last(Some(1)), "peering-to-…  project-123…  ACTIVE", "as narrow as it gets");
    }
}
