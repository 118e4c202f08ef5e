//! What is wrong with a file, and where: one value per error, printed as compilers print theirs.

use std::collections::BTreeSet;
use std::fmt;

/// An error in a topology file.
///
/// `Display` is `FILE:LINE:COLUMN: PATH: MESSAGE`, then the line itself with a caret below the place:
/// ```text
/// lab.yaml:12:22: networks[0].subnetworks[1].ipCidrRange: Invalid value for field 'resource.ipCidrRange': …
///    |
/// 12 |         ipCidrRange: 10.1.0.0/33
///    |                      ^^^^^^^^^^^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, as it was given to [`crate::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path of the field (`networks[0].subnetworks[1].ipCidrRange`), or of the resource where no field is
    /// to blame. Empty for the file as a whole, such as when it is not YAML.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The line of the file.
    pub source_line: String,
    /// How many characters are wrong.
    pub width: usize,
}

/// The longest source line that is shown.
const MAX_SHOWN: usize = 160;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if self.source_line.trim().is_empty() || self.column > MAX_SHOWN {
            return Ok(());
        }
        let shown: String = self.source_line.chars().take(MAX_SHOWN).collect();
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.column - 1);
        let room = (shown.chars().count() + 1).saturating_sub(self.column).max(1);
        let caret = "^".repeat(self.width.clamp(1, room));
        write!(f, "\n{gutter} |\n{number} | {shown}\n{gutter} | {indent}{caret}")
    }
}

impl std::error::Error for Diagnostic {}

/// A stretch of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) width: u32,
}

impl Span {
    /// The file's first character.
    pub(crate) const START: Span = Span { line: 1, column: 1, width: 1 };

    /// One character. A file has fewer than [`crate::node::MAX_BYTES`].
    pub(crate) fn at(marker: &saphyr_parser::Marker) -> Span {
        Span { line: marker.line() as u32, column: marker.col() as u32 + 1, width: 1 }
    }
}

/// A file's name and text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Source {
    /// The diagnostic for a place in this file.
    pub(crate) fn diagnostic(&self, span: Span, path: &str, message: impl Into<String>) -> Diagnostic {
        // What is shown on a terminal must not be able to steer it.
        let clean = |text: &str| text.replace(char::is_control, " ");
        Diagnostic {
            file: self.file.clone(),
            line: span.line.max(1) as usize,
            column: span.column.max(1) as usize,
            path: clean(path),
            message: clean(&message.into()),
            source_line: clean(self.line(span.line as usize)).trim_end().to_owned(),
            width: span.width as usize,
        }
    }

    /// A line by its number from 1; empty where there is none. Lines end where YAML's do.
    pub(crate) fn line(&self, number: usize) -> &str {
        let mut rest = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        for _ in 1..number {
            let Some(end) = rest.find(['\n', '\r']) else { return "" };
            let ending = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            rest = &rest[end + ending..];
        }
        rest.split(['\n', '\r']).next().unwrap_or_default()
    }

    /// The parser's span as one of ours: what goes over several lines is marked by its first character.
    pub(crate) fn span(&self, span: &saphyr_parser::Span) -> Span {
        let (start, end) = (&span.start, &span.end);
        let one_line = start.line() == end.line() && end.col() > start.col();
        let width = if one_line { end.col() - start.col() } else { 1 };
        Span { width: width as u32, ..Span::at(start) }
    }
}

/// A value as messages quote it: its first 80 characters.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The word that the user most likely meant: the closest, if it is close.
pub fn closest<'w>(given: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if given.len() > LONGEST {
        return None;
    }
    let limit = if given.len() <= 3 { 1 } else { given.len() / 3 };
    let near = |word| Some((distance(given, word), word)).filter(|(distance, _)| *distance <= limit);
    words.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Words, each once, those first that the user more likely meant.
pub fn nearest<'w>(given: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let mut words: Vec<_> = words.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if given.len() <= LONGEST {
        words.sort_by_cached_key(|word| distance(given, word));
    }
    words
}

/// What is longer is no word that somebody mistyped.
const LONGEST: usize = 64;

/// How far a word is from what was given.
fn distance(given: &str, word: &str) -> usize {
    let (lower, target) = (given.to_ascii_lowercase(), word.to_ascii_lowercase());
    // `subnets` for `subnetworks`, `ipCidr` for `ipCidrRange`: as good as one letter wrong.
    let common = lower.bytes().zip(target.bytes()).take_while(|(a, b)| a == b).count();
    let begins = common >= 3.max(lower.len().saturating_sub(1));
    if begins { 1 } else { edit_distance(&lower, &target) }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above = &rows[i - 1];
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_is_suggested() {
        let keys = ["name", "region", "ipCidrRange", "project", "subnetworks"];
        for (given, want) in [
            ("nmae", Some("name")),
            ("nam", Some("name")),
            ("ipCidr", Some("ipCidrRange")),
            ("ipcidrrange", Some("ipCidrRange")),
            ("subnets", Some("subnetworks")),
            ("regoin", Some("region")),
            ("zone", None),
            ("", None),
        ] {
            assert_eq!(closest(given, keys), want, "{given}");
        }
    }

    #[test]
    fn lines_end_where_those_of_yaml_do() {
        let source = Source { file: "f".into(), text: "a\r\nb\rc\n\nd".into() };
        let lines: Vec<_> = (1..=6).map(|n| source.line(n)).collect();
        assert_eq!(lines, ["a", "b", "c", "", "d", ""]);
    }
}
