//! Metadata as a tree, and its three forms: a listing, lines, JSON.

use serde_json::{Map, Value};
use std::fmt::Write;

/// A directory, or a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A text.
    Text(String),
    /// A number: a text that JSON has without quotes.
    Number(u64),
    /// A text on several lines, of which JSON has an array.
    Lines(Vec<String>),
    /// A list that is JSON even when nobody asks for JSON.
    List(Vec<String>),
    /// Made for who asks for it alone: listed, and in nothing else.
    Made,
    /// A directory whose names are `0/`, `1/`, ….
    Array(Vec<Node>),
    /// A directory whose names JSON has in its own way: `machine-type` is `machineType`.
    Fields(Vec<(&'static str, Node)>),
    /// A directory whose names users choose.
    Named(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn text_of(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Fields(_) | Self::Named(_))
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self, Self::List(_))
    }

    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        self.children().into_iter().find(|(found, _)| found == name).map(|(_, child)| child)
    }

    fn children(&self) -> Vec<(String, &Node)> {
        match self {
            Self::Array(items) => items.iter().enumerate().map(|(i, node)| (i.to_string(), node)).collect(),
            Self::Fields(fields) => fields.iter().map(|(name, node)| ((*name).to_owned(), node)).collect(),
            Self::Named(named) => named.iter().map(|(name, node)| (name.clone(), node)).collect(),
            Self::Text(_) | Self::Number(_) | Self::Lines(_) | Self::List(_) | Self::Made => Vec::new(),
        }
    }

    /// A value as it is; of a directory its names, those of directories with a slash.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Lines(lines) => lines.join("\n"),
            Self::List(_) => self.json().to_string(),
            _ => self.children().iter().fold(String::new(), |mut text, (name, child)| {
                let slash = if child.is_directory() { "/" } else { "" };
                let _ = writeln!(text, "{name}{slash}");
                text
            }),
        }
    }

    /// All values below, a line each: its path and itself.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        self.add_lines("", &mut text);
        text
    }

    fn add_lines(&self, path: &str, text: &mut String) {
        let mut line = |value: &str| {
            let _ = writeln!(text, "{path} {value}");
        };
        match self {
            Self::Made => {}
            Self::Lines(lines) => lines.iter().for_each(|value| line(value)),
            Self::Array(_) | Self::Fields(_) | Self::Named(_) => {
                let slash = if path.is_empty() { "" } else { "/" };
                for (name, child) in self.children() {
                    child.add_lines(&format!("{path}{slash}{name}"), text);
                }
            }
            value => line(&value.text()),
        }
    }

    /// All of it.
    pub(super) fn json(&self) -> Value {
        let object = |fields: Vec<(String, &Node)>| {
            let kept = fields.into_iter().filter(|(_, node)| **node != Self::Made);
            Value::Object(kept.map(|(name, node)| (name, node.json())).collect::<Map<_, _>>())
        };
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Lines(list) | Self::List(list) => list.as_slice().into(),
            Self::Made => Value::Null,
            Self::Array(items) => items.iter().map(Self::json).collect(),
            Self::Fields(fields) => {
                object(fields.iter().map(|(name, node)| (camel_case(name), node)).collect())
            }
            Self::Named(named) => object(named.iter().map(|(name, node)| (name.clone(), node)).collect()),
        }
    }
}

/// `network-interfaces` as `networkInterfaces`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let large = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &large.into_iter().chain(letters).collect::<String>()
    })
}
