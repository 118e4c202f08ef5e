//! YAML text to a tree that remembers where everything stands.
//!
//! The tree is what the file says and nothing more: no anchors, aliases, tags, merge keys or second documents,
//! all of which are refused, so that a small file cannot stand for a large one. Depth and size have limits.

use crate::diagnostic::{Diagnostic, Source, Span};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

/// Bytes that a topology file may have.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Lists and mappings inside one another; the format itself needs nine.
pub(crate) const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its first character; of a list or mapping in block style, the first item or key.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A text; `plain` when it was written without quotes and may so mean a number, a boolean or nothing.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the file's order, no key twice.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) span: Span,
    /// What it is set to.
    pub(crate) value: Node,
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

impl Node {
    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match &self.value {
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Mapping,
            Value::Scalar { plain: false, .. } => Kind::String,
            Value::Scalar { text, .. } => match text.as_str() {
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
    pub(crate) fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The value of a key, if it is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// What stands at a path such as `networks[0].subnetworks[1].ipCidrRange`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
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
pub(crate) fn read(source: &Source) -> Result<Node, Diagnostic> {
    if source.text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than the {MAX_BYTES} allowed", source.text.len());
        return Err(source.diagnostic(Span::START, "", message));
    }
    let mut builder = Builder { source, parser: Parser::new_from_str(&source.text) };
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
    Ok(root.unwrap_or(Node { span: Span::START, value: Value::Scalar { text: String::new(), plain: true } }))
}

/// Makes the tree from the parser's events.
struct Builder<'s> {
    source: &'s Source,
    parser: Parser<'s, StrInput<'s>>,
}

impl<'s> Builder<'s> {
    /// The next event and where it is.
    fn next(&mut self) -> Result<(Event<'s>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.source.span(&span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::START)),
        }
    }

    /// An error of the YAML itself.
    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let marker = error.marker();
        let span = Span { line: marker.line(), column: marker.col() + 1, width: 1 };
        let tab = error.info().contains("tab");
        let hint = if tab { " (YAML is indented with spaces, never with tabs)" } else { "" };
        self.source.diagnostic(span, "", format!("not YAML: {}{hint}", error.info()))
    }

    /// The node that begins with `event`, at `depth` lists and mappings.
    fn node(&mut self, (event, span): (Event<'s>, Span), depth: usize) -> Result<Node, Diagnostic> {
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
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            _ => unreachable!("every other event was refused above"),
        };
        Ok(Node { span, value })
    }

    /// The items up to the end of the list.
    fn list(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                first => items.push(self.node(first, depth + 1)?),
            }
        }
    }

    /// The entries up to the end of the mapping.
    fn map(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        loop {
            let first = self.next()?;
            if matches!(first.0, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let node = self.node(first, depth + 1)?;
            let Value::Scalar { text: key, .. } = node.value else {
                return Err(self.source.diagnostic(node.span, "", "a key must be a text"));
            };
            if !seen.insert(key.clone()) {
                let message = format!("the key '{}' is given twice", crate::diagnostic::shorten(&key));
                return Err(self.source.diagnostic(node.span, "", message));
            }
            let first = self.next()?;
            let mut value = self.node(first, depth + 1)?;
            if value.kind() == Kind::Nothing {
                value.span = node.span; // nothing has no place of its own
            }
            entries.push(Entry { key, span: node.span, value });
        }
    }
}
