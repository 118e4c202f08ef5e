//! Filters: what `--filter` says of a resource, in gcloud's language.
//!
//! ```text
//!  filter   = either { either }
//!  either   = both { "OR" both }
//!  both     = not { "AND" not }
//!  not      = [ "NOT" ] term
//!  term     = "(" filter ")" | [ "-" ] ( key operator operand | text )
//!  operator = ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~"
//!  operand  = text | "(" { text } ")"                 the latter after ":" and "=" alone
//! ```
//!
//! A text alone is looked for everywhere in a resource. AND and OR together want parentheses, since OR binds tighter
//! than where terms stand one after the other. Source: `gcloud topic filters`; for what it leaves open, what gcloud
//! itself finds.

mod compute;
mod term;

use super::projection::{self, Column};
use jiff::Zoned;
use serde_json::Value;
use term::{Operator, Term};

/// The deepest that parentheses may be nested.
const MAX_DEPTH: usize = 32;

/// A filter.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// Every one matches.
    All(Vec<Filter>),
    /// One matches.
    Any(Vec<Filter>),
    /// It does not match.
    Not(Box<Filter>),
    /// A key and an operand compare so.
    Term(Term),
    /// A text, in small letters, is in some value.
    Anywhere(String),
}

impl Filter {
    /// Reads a filter. `now` is what durations in it count from, and has the time zone of times without one.
    pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Filter, String> {
        let mut parser = Parser { text, at: 0, depth: 0, now };
        if parser.peek().is_none() {
            return Ok(Filter::All(Vec::new()));
        }
        let filter = parser.filter()?;
        match parser.peek() {
            None => Ok(filter),
            Some(_) => Err(parser.expected("nothing more")),
        }
    }

    /// The same filter with the keys that labels of a table's columns stand for.
    pub(crate) fn with_columns(self, table: &[Column]) -> Filter {
        let each = |filters: Vec<Filter>| filters.into_iter().map(|one| one.with_columns(table)).collect();
        match self {
            Filter::All(filters) => Filter::All(each(filters)),
            Filter::Any(filters) => Filter::Any(each(filters)),
            Filter::Not(filter) => Filter::Not(Box::new(filter.with_columns(table))),
            Filter::Term(term) => Filter::Term(term.with_columns(table)),
            Filter::Anywhere(text) => Filter::Anywhere(text),
        }
    }

    /// Whether a resource matches, as gcloud would list it: what Compute's server can be asked is its to answer, and
    /// the client looks at the rest.
    pub(crate) fn matches(&self, resource: &Value) -> bool {
        if !compute::filters(resource) {
            return self.by_client(resource);
        }
        let asked = self.by_server(resource);
        asked.matches && (asked.whole || self.by_client(resource))
    }

    fn by_client(&self, resource: &Value) -> bool {
        match self {
            Filter::All(filters) => filters.iter().all(|filter| filter.by_client(resource)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.by_client(resource)),
            Filter::Not(filter) => !filter.by_client(resource),
            Filter::Term(term) => term.by_client(resource),
            Filter::Anywhere(text) => is_anywhere(text, resource),
        }
    }
}

impl std::str::FromStr for Filter {
    type Err = String;
    fn from_str(text: &str) -> Result<Filter, String> {
        Filter::parse(text, &Zoned::now())
    }
}

/// Whether a text is in some value of a resource; fields' names are none.
fn is_anywhere(text: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => items.iter().any(|item| is_anywhere(text, item)),
        Value::Object(map) => map.values().any(|value| is_anywhere(text, value)),
        value => super::transform::plain(value).to_lowercase().contains(text),
    }
}

/// How terms hang together in a pair of parentheses.
#[derive(Default)]
struct Group {
    has_and: bool,
    has_or: bool,
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    now: &'t Zoned,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// Takes a character, if it is the next one.
    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += if is_next { wanted.len_utf8() } else { 0 };
        is_next
    }

    /// Whether AND, OR or NOT is next.
    fn is_word(&mut self, word: &str) -> bool {
        self.peek();
        let after = self.rest().strip_prefix(word);
        after.is_some_and(|after| after.chars().next().is_none_or(|c| c.is_whitespace() || c == '('))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = self.is_word(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// An error about what is next.
    fn expected(&self, what: &str) -> String {
        match self.rest().trim() {
            "" => format!("'{}': expected {what} at the end", self.text),
            rest => format!("'{}': expected {what} instead of '{rest}'", self.text),
        }
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let mut group = Group::default();
        let mut filters = vec![self.either(&mut group)?];
        while self.peek().is_some_and(|c| c != ')') {
            filters.push(self.either(&mut group)?);
        }
        Ok(one_or(filters, Filter::All))
    }

    fn either(&mut self, group: &mut Group) -> Result<Filter, String> {
        let mut filters = vec![self.both(group)?];
        while self.take_word("OR") {
            group.has_or = true;
            self.check(group)?;
            filters.push(self.both(group)?);
        }
        Ok(one_or(filters, Filter::Any))
    }

    fn both(&mut self, group: &mut Group) -> Result<Filter, String> {
        let mut filters = vec![self.not()?];
        while self.take_word("AND") {
            group.has_and = true;
            self.check(group)?;
            filters.push(self.not()?);
        }
        Ok(one_or(filters, Filter::All))
    }

    fn check(&self, group: &Group) -> Result<(), String> {
        match group.has_and && group.has_or {
            true => Err(format!("'{}': AND and OR together need parentheses", self.text)),
            false => Ok(()),
        }
    }

    fn not(&mut self) -> Result<Filter, String> {
        match self.take_word("NOT") {
            true => Ok(Filter::Not(Box::new(self.term()?))),
            false => self.term(),
        }
    }

    fn term(&mut self) -> Result<Filter, String> {
        if self.peek().is_none() || ["AND", "OR", "NOT"].iter().any(|word| self.is_word(word)) {
            return Err(self.expected("a term"));
        }
        let is_inverted = self.take('-');
        let filter = if self.take('(') { self.in_parentheses()? } else { self.comparison()? };
        Ok(if is_inverted { Filter::Not(Box::new(filter)) } else { filter })
    }

    fn in_parentheses(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("'{}': parentheses are nested too deeply", self.text));
        }
        let filter = self.filter()?;
        self.depth -= 1;
        match self.take(')') {
            true => Ok(filter),
            false => Err(self.expected("')'")),
        }
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let start = self.at;
        let key = projection::key_at(self.text, start);
        self.at = key.as_ref().map_or(start, |(_, end)| *end);
        match (self.operator()?, key) {
            (Some(operator), Ok((column, _))) => self.operands(column, operator),
            (None, Ok((column, _))) if column.is_transformed() => Err(self.expected("an operator")),
            // No key, or a key that is compared with nothing: a text.
            (_, key) => {
                self.at = start;
                let text = self.text_until(":=!<>~()")?.filter(|text| !text.is_empty());
                // A transform that there is none of is no text either.
                match (text, self.operator()?.is_none() && !self.rest().starts_with('('), key) {
                    (Some(text), true, _) => Ok(Filter::Anywhere(text.to_lowercase())),
                    (_, _, Err(why)) => Err(why),
                    _ => Err(self.expected("a key")),
                }
            }
        }
    }

    /// The operator that is next, if any.
    fn operator(&mut self) -> Result<Option<Operator>, String> {
        self.peek();
        let len = self.rest().find(|c| !":=!<>~".contains(c)).unwrap_or(self.rest().len());
        let sign = self.rest().get(..len).unwrap_or_default();
        let operator = match sign {
            "" => return Ok(None),
            ":" => Operator::Has,
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::AtMost,
            ">" => Operator::Greater,
            ">=" => Operator::AtLeast,
            "~" => Operator::Finds,
            "!~" => Operator::FindsNot,
            _ => return Err(self.expected("one of : = != < <= > >= ~ !~")),
        };
        self.at += len;
        Ok(Some(operator))
    }

    fn operands(&mut self, column: Column, operator: Operator) -> Result<Filter, String> {
        let is_list = matches!(operator, Operator::Has | Operator::Equal) && self.peek() == Some('(');
        let texts = if is_list {
            self.at += 1;
            let mut texts = Vec::new();
            while !self.take(')') {
                match self.text_until("(),")? {
                    Some(text) => texts.push(text),
                    None if self.take(',') => {}
                    None => return Err(self.expected("a value or ')'")),
                }
            }
            texts.retain(|text| !["AND", "OR", "NOT"].contains(&text.as_str()));
            texts
        } else {
            if ["AND", "OR", "NOT"].iter().any(|word| self.is_word(word)) {
                return Err(self.expected("a value"));
            }
            vec![self.text_until("()")?.ok_or_else(|| self.expected("a value"))?]
        };
        let term = Term::new(column, operator, &texts, is_list, self.now);
        term.map(Filter::Term).map_err(|why| format!("'{}': {why}", self.text))
    }

    /// A text up to a blank or one of the characters; between quotes, these are part of it. `None` if there is none.
    fn text_until(&mut self, ends: &str) -> Result<Option<String>, String> {
        self.peek();
        let mut found = None;
        let mut quote = None;
        let mut used = self.rest().len();
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (c, quote) {
                ('\\', _) => {
                    let text = found.get_or_insert_with(String::new);
                    let escaped = chars.next_if(|(_, c)| match quote {
                        Some(quote) => *c == '\\' || *c == quote,
                        None => "\\'\"".contains(*c),
                    });
                    text.push(escaped.map_or('\\', |(_, c)| c));
                }
                (c, Some(end)) if c == end => quote = None,
                ('\'' | '"', None) => {
                    quote = Some(c);
                    found.get_or_insert_with(String::new);
                }
                (c, None) if c.is_whitespace() || ends.contains(c) => {
                    used = at;
                    break;
                }
                (c, _) => found.get_or_insert_with(String::new).push(c),
            }
        }
        if let Some(quote) = quote {
            return Err(self.expected(&format!("a second {quote}")));
        }
        self.at += used;
        Ok(found)
    }
}

fn one_or(mut filters: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.len() {
        1 => filters.remove(0),
        _ => several(filters),
    }
}

#[cfg(test)]
mod tests;
