//! Filters that gcloud leaves to Compute's server.
//!
//! gcloud writes what it can of a filter in Compute's own language, where `eq` is a regular expression that matches the
//! whole of a value, and has the rest looked at by the client. So in some of Compute's lists `:` and `=` find whole words, with
//! their case, in text, and a constant or a number is nothing but itself. Terms between which is OR, lists of operands,
//! `<` and the like, labels and transforms are the client's. Source: what `gcloud compute … list --filter …
//! --log-http` asks.

use super::super::projection::Step;
use super::Filter;
use super::term::{Operator, Term};
use regex::Regex;
use serde_json::Value;

/// What the server is asked of a value.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Whether an expression matches somewhere.
    Finds(Regex),
    /// Whether the word is in it, or a constant is the operand.
    Word(Regex, String),
}

/// What the server answers.
pub(super) struct Answer {
    /// Whether the resource matches what was asked.
    pub(super) matches: bool,
    /// Whether all of the filter was asked.
    pub(super) whole: bool,
}

const NOTHING_ASKED: Answer = Answer { matches: true, whole: false };

/// What is in the lists that gcloud has filtered by the server: those of one collection. Of several zones or regions it
/// asks for all, and of firewall policies too.
const ASKED_FOR: [&str; 6] = ["firewall", "network", "operation", "region", "route", "zone"];

/// Whether a list of such resources is filtered by the server.
pub(super) fn filters(resource: &Value) -> bool {
    let kind = resource["kind"].as_str().and_then(|kind| kind.strip_prefix("compute#"));
    kind.is_some_and(|kind| ASKED_FOR.contains(&kind))
}

impl Filter {
    pub(super) fn by_server(&self, resource: &Value) -> Answer {
        match self {
            Filter::All(filters) => {
                let answers = filters.iter().map(|filter| filter.by_server(resource));
                answers.fold(Answer { matches: true, whole: true }, |all, one| Answer {
                    matches: all.matches && one.matches,
                    whole: all.whole && one.whole,
                })
            }
            Filter::Not(filter) => match &**filter {
                Filter::Term(term) => term.by_server(resource).map_or(NOTHING_ASKED, |answer| asked(!answer)),
                _ => NOTHING_ASKED,
            },
            Filter::Term(term) => term.by_server(resource).map_or(NOTHING_ASKED, asked),
            Filter::Any(_) | Filter::Anywhere(_) => NOTHING_ASKED,
        }
    }
}

fn asked(matches: bool) -> Answer {
    Answer { matches, whole: true }
}

impl Term {
    /// What the server says; `None` where it is not asked, as of what is no field with a value in it.
    fn by_server(&self, resource: &Value) -> Option<bool> {
        let question = self.question.as_ref()?;
        let values = values(resource, &self.column.key);
        if values.is_empty() || values.iter().any(|value| value.is_object()) {
            return None;
        }
        let found = values.iter().any(|value| question.holds(value));
        Some(found != matches!(self.operator, Operator::NotEqual | Operator::FindsNot))
    }
}

impl Question {
    /// The question that a term is for the server, if it is one.
    pub(super) fn new(key: &[Step], operator: Operator, text: &str) -> Result<Option<Question>, String> {
        // The server compares times as texts, and looks for no empty word: what neither finds, the client does.
        let is_label = key.first().is_some_and(|step| step.is("labels"));
        if is_label || key.last().is_some_and(Step::is_time) || text.is_empty() {
            return Ok(None);
        }
        let whole = |word: &str| format!(r"\b{}\b", regex::escape(word));
        let is_place = matches!(key, [step] if step.is("zone") || step.is("region"));
        let pattern = match (operator, text.strip_suffix('*')) {
            (Operator::Finds | Operator::FindsNot, _) if is_place => bounded(text),
            (Operator::Finds | Operator::FindsNot, _) => text.to_owned(),
            (Operator::Has, Some(start)) => format!(r"\b{}", regex::escape(start)),
            (Operator::Has | Operator::Equal | Operator::NotEqual, _) => whole(text),
            _ => return Ok(None),
        };
        let regex = Regex::new(&pattern)
            .map_err(|why| format!("expected a regular expression, not '{text}': {why}"))?;
        Ok(Some(match operator {
            Operator::Finds | Operator::FindsNot => Question::Finds(regex),
            _ => Question::Word(regex, text.to_owned()),
        }))
    }

    fn holds(&self, value: &Value) -> bool {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self {
            Question::Finds(regex) => regex.is_match(&text),
            Question::Word(regex, _) if value.is_string() && !is_constant(&text) => regex.is_match(&text),
            Question::Word(_, word) if value.is_boolean() => word.to_lowercase() == text || word == "*",
            Question::Word(_, word) => *word == text || word == "*",
        }
    }
}

/// Whether a text is a constant of an enumeration: `INGRESS`, `IPV4_ONLY`.
fn is_constant(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// An expression of zones or regions, which are links: `^` and `$` are the ends of a word.
fn bounded(pattern: &str) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars();
    let mut is_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '^' | '$' if !is_class => out.push_str(r"\b"),
            c => {
                is_class = c == '[' || (is_class && c != ']');
                out.push(c);
            }
        }
    }
    out
}

/// What is at a key; of lists every item's, whatever is in brackets.
fn values<'v>(value: &'v Value, key: &[Step]) -> Vec<&'v Value> {
    match (value, key.split_first()) {
        (Value::Array(items), _) => items.iter().flat_map(|item| values(item, key)).collect(),
        (Value::Null, _) => Vec::new(),
        (value, None) => vec![value],
        (value, Some((Step::Field(name), rest))) => {
            super::super::projection::field(value, name).map(|value| values(value, rest)).unwrap_or_default()
        }
        (value, Some((_, rest))) => values(value, rest),
    }
}
