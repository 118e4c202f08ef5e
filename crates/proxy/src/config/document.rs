//! From YAML to pools, keys and values that know their lines. Scalars stay text: twemproxy reads
//! them so, and a password such as `0123` must not become a number.

use std::borrow::Cow;

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser};

use super::error::{ConfigError, Problem};

/// How deep a file may nest, which needs three: deeper ones would end the stack, not the parse.
const MAX_DEPTH: usize = 16;

/// One pool as it is written.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) keys: Vec<Key>,
}

/// One key of a pool as it is written.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) value: Value,
}

/// A value and its line, from 1.
pub(super) struct Value {
    pub(super) line: usize,
    pub(super) data: Data,
}

pub(super) enum Data {
    Scalar(String),
    List(Vec<Value>),
    Other,
}

impl Value {
    /// The value as an error message shows it.
    pub(super) fn shown(&self) -> String {
        match &self.data {
            Data::Scalar(text) => format!("'{text}'"),
            Data::List(_) => "a list".to_string(),
            Data::Other => "a map".to_string(),
        }
    }
}

impl Entry {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.keys.iter().find(|key| key.name == name).map(|key| &key.value)
    }

    /// An error about the key `name`; `found` is quoted.
    pub(super) fn problem(
        &self,
        file: &str,
        name: &str,
        problem: Problem,
        found: &str,
        expected: &str,
    ) -> ConfigError {
        ConfigError::Pool {
            file: file.to_string(),
            line: self.get(name).map_or(self.line, |value| value.line),
            pool: self.name.clone(),
            key: name.to_string(),
            problem,
            found: format!("'{found}'").into(),
            expected: expected.into(),
        }
    }
}

/// The pools of `text`, in order; at least one.
pub(super) fn pools(file: &str, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let document =
        |line: usize, reason: String| ConfigError::Document { file: file.to_string(), line, reason };
    let text = spaced(text);
    let docs = load(&text).map_err(|(line, reason)| document(line, reason))?;
    let [root] = &docs[..] else {
        return Err(document(1, format!("found {} documents; expected one map of pools", docs.len())));
    };
    let YamlData::Mapping(map) = &root.data else {
        return Err(document(line_of(root), "expected a map of pool names to pools".to_string()));
    };
    if map.is_empty() {
        return Err(document(line_of(root), "no pools; expected at least one".to_string()));
    }
    map.iter()
        .map(|(name, pool)| {
            let line = line_of(name);
            let Some(name) = scalar(name) else {
                return Err(document(line, "the name of a pool must be a string".to_string()));
            };
            if name.is_empty() {
                return Err(document(line, "the name of a pool must not be empty".to_string()));
            }
            let YamlData::Mapping(keys) = &pool.data else {
                return Err(document(
                    line_of(pool),
                    format!("pool '{name}': expected a map of keys to values"),
                ));
            };
            let keys = keys.iter().map(|(key, value)| match scalar(key) {
                Some(name) => Ok(Key { name, value: convert(value) }),
                None => Err(document(line_of(key), format!("pool '{name}': a key must be a string"))),
            });
            Ok(Entry { keys: keys.collect::<Result<_, _>>()?, line, name })
        })
        .collect()
}

/// Tabs behind a key's `:` as spaces, which mean the same to YAML, and which our parser wants. One
/// character for one outside of scalars: no value changes, and no place of an error.
fn spaced(text: &str) -> Cow<'_, str> {
    if !text.contains(":\t") {
        return Cow::Borrowed(text);
    }
    let everywhere = text.replace(":\t", ": ");
    // Where scalars are, in characters; they are in order, and what follows an error is not read.
    let scalars = Parser::new_from_str(&everywhere).map_while(Result::ok).filter_map(|(event, span)| {
        matches!(event, Event::Scalar(..)).then(|| span.start.index()..span.end.index())
    });
    let mut scalars = scalars.peekable();
    let characters = text.chars().zip(everywhere.chars()).enumerate().map(|(at, (old, new))| {
        while scalars.next_if(|scalar| scalar.end <= at).is_some() {}
        if scalars.peek().is_some_and(|scalar| scalar.contains(&at)) { old } else { new }
    });
    Cow::Owned(characters.collect())
}

fn load(text: &str) -> Result<Vec<MarkedYaml<'_>>, (usize, String)> {
    let explain = |error: &saphyr::ScanError| (error.marker().line(), error.info().to_string());
    check_depth(text)?;
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    loader.early_parse(false);
    Parser::new_from_str(text).load(&mut loader, true).map_err(|error| explain(&error))?;
    if let Some(error) = loader.error() {
        return Err(explain(error));
    }
    Ok(loader.into_documents())
}

/// Refuses deep files before there is a tree, since trees are walked and freed by recursion.
fn check_depth(text: &str) -> Result<(), (usize, String)> {
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        // What is no YAML is told by the loader.
        let Ok((event, span)) = event else { return Ok(()) };
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err((span.start.line(), format!("nested deeper than {MAX_DEPTH}; a pool needs 3")));
        }
    }
    Ok(())
}

fn line_of(node: &MarkedYaml<'_>) -> usize {
    node.span.start.line()
}

fn scalar(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Representation(text, ..) => Some(text.to_string()),
        YamlData::Value(saphyr::Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(saphyr::Scalar::Null) => Some(String::new()),
        YamlData::Tagged(_, inner) => scalar(inner),
        _ => None,
    }
}

fn convert(node: &MarkedYaml<'_>) -> Value {
    let data = match &node.data {
        YamlData::Sequence(items) => Data::List(items.iter().map(convert).collect()),
        _ => scalar(node).map_or(Data::Other, Data::Scalar),
    };
    Value { line: line_of(node), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a pool with their lines and values.
    fn keys(lines: &str) -> Vec<(String, usize, String)> {
        let entry =
            pools("f", &format!("p:\n{lines}")).map_err(|error| error.to_string()).expect(lines).remove(0);
        entry.keys.into_iter().map(|key| (key.name, key.value.line, key.value.shown())).collect()
    }

    #[test]
    fn tabs_separate_as_spaces_do() {
        let tabs = "  listen:\tlocalhost:1\n  ключ:\t\tfalse\t# no\tone:\tcares\n  hash: \tmd5\n  n:\t7\n  \"q\":\t'a'\n  o:\t-x\n  l:\t[a, b]\n";
        let spaces = tabs.replace(":\t", ": ");
        assert_eq!(keys(tabs), keys(&spaces));
        assert_eq!(keys(tabs)[1], ("ключ".to_string(), 3, "'false'".to_string()));
    }

    #[test]
    fn tabs_in_values_stay() {
        for (lines, value) in [
            ("  k:\t'ключ:\tb-\tc'\n", "ключ:\tb-\tc"),
            ("  k:\t\"a:\tb\\tc:\t\\u003a\t\"\n", "a:\tb\tc:\t:\t"),
            ("  k:\ta-\tb#:x\n", "a-\tb#:x"),
            ("  k:\t|\n    a:\tb\n    -\tc\n", "a:\tb\n-\tc\n"),
            ("  k:\t>-\n    a:\tb\n    c:\td\n", "a:\tb c:\td"),
            ("  k:\t!!str 'a:\tb'\n", "a:\tb"),
            ("  k:\t'a:\tb\n    c:\td'\n", "a:\tb c:\td"),
            ("  # it's\n  k:\t'a:\tb' # \"\n", "a:\tb"),
        ] {
            let all = format!("{lines}  'last:\t':\tone\n");
            let found = keys(&all);
            assert_eq!((found.len(), found[0].2.as_str()), (2, format!("'{value}'").as_str()), "{all}");
            assert_eq!((found[1].0.as_str(), found[1].2.as_str()), ("last:\t", "'one'"), "{all}");
        }
    }

    #[test]
    fn errors_are_where_they_were() {
        for text in
            ["p:\n  a:\tb\n  c:\t'd:\t\n", "p:\n  a:\tb\n\tc:\td\n", "p:\n  a:\tb\n  c:\t]\n  d:\te\n"]
        {
            let error = |text: &str| match pools("f", text) {
                Err(error) => error.to_string(),
                Ok(_) => panic!("{text}"),
            };
            assert_eq!(error(text), error(&text.replace(":\t", ": ")), "{text}");
        }
    }
}
