//! YAML text to a tree that remembers where everything stands.
//!
//! The tree is what the file says and nothing more: no anchors, aliases, tags, merge keys or second documents,
//! all of which are refused, so that a small file cannot stand for a large one. Depth and size have limits.

use crate::diagnostic::{Diagnostic, Source, Span};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};
use std::borrow::Cow;
use std::collections::HashSet;

/// Bytes that a topology file may have.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Lists and mappings inside one another; the format itself needs nine.
pub(crate) const MAX_DEPTH: usize = 32;

/// Keys of a mapping that are compared with one another, to find one that is given twice; more are hashed.
const FEW: usize = 16;

/// A value and where it stands. Its texts are the file's own, but for those that stand there otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Node<'s> {
    /// Its first character; of a list or mapping in block style, the first item or key.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) value: Value<'s>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value<'s> {
    /// A text; `plain` when it was written without quotes and may so mean a number, a boolean or nothing.
    Scalar { text: Cow<'s, str>, plain: bool },
    /// A list.
    List(Vec<Node<'s>>),
    /// A mapping, in the file's order, no key twice.
    Map(Vec<Entry<'s>>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'s> {
    /// The key.
    pub(crate) key: Cow<'s, str>,
    /// Where the key stands.
    pub(crate) span: Span,
    /// What it is set to.
    pub(crate) value: Node<'s>,
}

/// What a node is to YAML's core schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nothing,
    Boolean,
    Integer,
    Number,
    String,
    List,
    Mapping,
}

impl<'s> Node<'s> {
    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match &self.value {
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Mapping,
            Value::Scalar { plain: false, .. } => Kind::String,
            Value::Scalar { text, .. } => match &**text {
                "" | "~" | "null" | "Null" | "NULL" => Kind::Nothing,
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
                number if is_integer(number) => Kind::Integer,
                number
                    if number
                        .starts_with(['-', '+', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                        && number.parse::<f64>().is_ok() =>
                {
                    Kind::Number
                }
                _ => Kind::String,
            },
        }
    }

    /// Its text, if it is a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Scalar { text, .. } = &self.value { Some(text) } else { None }
    }

    /// The items, if it is a list.
    pub(crate) fn items(&self) -> &[Node<'s>] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The value of a key, if it is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'s>> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// What stands at a path such as `networks[0].subnetworks[1].ipCidrRange`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node<'s>> {
        path.split('.').filter(|s| !s.is_empty()).try_fold(self, |node, segment| {
            let (key, indices) = segment.split_at(segment.find('[').unwrap_or(segment.len()));
            let node = if key.is_empty() { node } else { node.get(key)? };
            indices.split(['[', ']']).filter(|i| !i.is_empty()).try_fold(node, |node, index| {
                let index: usize = index.parse().ok()?;
                node.items().get(index)
            })
        })
    }
}

/// Decimal digits with or without a sign.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Reads the one document of a YAML file.
pub(crate) fn read(source: &Source) -> Result<Node<'_>, Diagnostic> {
    if source.text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than the {MAX_BYTES} allowed", source.text.len());
        return Err(source.diagnostic(Span::START, "", message));
    }
    let parser = Parser::new_from_str(&source.text);
    let mut builder = Builder { source, parser, nodes: Vec::new(), entries: Vec::new() };
    let mut root = None;
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
            (Event::DocumentStart(_), span) if root.is_some() => {
                return Err(source.diagnostic(span, "", "a second document: a topology file has only one"));
            }
            (Event::DocumentStart(_), _) => {
                let first = builder.next()?;
                root = Some(builder.node(first, 0)?);
            }
            (_, span) => return Err(source.diagnostic(span, "", "expected a YAML document")),
        }
    }
    Ok(root.unwrap_or(Node { span: Span::START, value: Value::Scalar { text: Cow::default(), plain: true } }))
}

/// Makes the tree from the parser's events.
struct Builder<'s> {
    source: &'s Source,
    parser: Parser<'s, StrInput<'s>>,
    /// Of the lists that have not ended, each behind the one that it is in: what has is as long as it has to be.
    nodes: Vec<Node<'s>>,
    /// Of the mappings that have not ended.
    entries: Vec<Entry<'s>>,
}

impl<'s> Builder<'s> {
    /// The next event and where it is.
    fn next(&mut self) -> Result<(Event<'s>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok((mut event, span))) => {
                if let Event::Scalar(text, ..) = &mut event
                    && let Some(written) = self.written(text, &span)
                {
                    *text = Cow::Borrowed(written);
                }
                Ok((event, self.source.span(&span)))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::START)),
        }
    }

    /// A scalar as it stands in the file, if it does: the parser copies each. Its places are counted in characters.
    fn written(&self, text: &str, span: &saphyr_parser::Span) -> Option<&'s str> {
        let (start, end) = (span.start.index(), span.end.index());
        let quoted = start + 1..end.saturating_sub(1);
        let mut stands = [start..end, quoted].into_iter().filter_map(|range| self.source.text.get(range));
        stands.find(|stands| *stands == text)
    }

    /// An error of the YAML itself.
    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let marker = error.marker();
        let span = Span::at(marker);
        let tab = error.info().contains("tab");
        let hint = if tab { " (YAML is indented with spaces, never with tabs)" } else { "" };
        self.source.diagnostic(span, "", format!("not YAML: {}{hint}", error.info()))
    }

    /// The node that begins with `event`, at `depth` lists and mappings.
    fn node(&mut self, (event, span): (Event<'s>, Span), depth: usize) -> Result<Node<'s>, Diagnostic> {
        let refuse = |message: &str| Err(self.source.diagnostic(span, "", message));
        if depth > MAX_DEPTH {
            return refuse(&format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag),
            Event::Alias(_) => return refuse("YAML aliases (*name) are not accepted: write the value out"),
            _ => return refuse("expected a value"),
        };
        if anchor != 0 {
            return refuse("YAML anchors (&name) are not accepted: write the value out where it is used");
        }
        if tag.is_some() {
            return refuse("YAML tags (!name) are not accepted");
        }
        let value = match event {
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Scalar(text, style, ..) => Value::Scalar { text, plain: style == ScalarStyle::Plain },
            _ => unreachable!("every other event was refused above"),
        };
        Ok(Node { span, value })
    }

    /// The items up to the end of the list.
    fn list(&mut self, depth: usize) -> Result<Value<'s>, Diagnostic> {
        let begin = self.nodes.len();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(self.nodes.split_off(begin))),
                first => {
                    let node = self.node(first, depth + 1)?;
                    self.nodes.push(node);
                }
            }
        }
    }

    /// The entries up to the end of the mapping.
    fn map(&mut self, depth: usize) -> Result<Value<'s>, Diagnostic> {
        let begin = self.entries.len();
        let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
        loop {
            let first = self.next()?;
            if matches!(first.0, Event::MappingEnd) {
                return Ok(Value::Map(self.entries.split_off(begin)));
            }
            let node = self.node(first, depth + 1)?;
            let Value::Scalar { text: key, .. } = node.value else {
                return Err(self.source.diagnostic(node.span, "", "a key must be a text"));
            };
            let entries = &self.entries[begin..];
            if entries.len() == FEW {
                seen.extend(entries.iter().map(|entry| entry.key.clone()));
            }
            let is_known = match entries.len() {
                ..FEW => entries.iter().any(|entry| entry.key == key),
                _ => !seen.insert(key.clone()),
            };
            if is_known {
                let message = format!("the key '{}' is given twice", crate::diagnostic::shorten(&key));
                return Err(self.source.diagnostic(node.span, "", message));
            }
            let first = self.next()?;
            let mut value = self.node(first, depth + 1)?;
            if value.kind() == Kind::Nothing {
                value.span = node.span; // nothing has no place of its own
            }
            self.entries.push(Entry { key, span: node.span, value });
        }
    }
}
