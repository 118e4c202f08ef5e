//! Filters of lists, in the two languages that Google's APIs have.
//!
//! ```text
//!  any      = all { "OR" all }
//!  all      = term { ["AND"] term }
//!  term     = ["NOT" | "-"] ( "(" any ")" | field operator value )
//!  operator = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"     and "eq" | "ne": a whole match of a regular expression
//! ```
//!
//! `=` compares without case and takes `*` at the ends as a wildcard in Compute; `:` asks whether a text, list or map
//! has the value (in Resource Manager whether it is the value), and `:*` whether the field is there. Fields are paths
//! (`labels.env`, `networkInterfaces.network`); in a list any element may match. Source: the documentation of `filter` in
//! Compute's discovery document, AIP-160.

use regex::Regex;
use serde_json::Value;
use std::cmp::Ordering;

/// A filter.
#[derive(Debug)]
pub(crate) enum Filter {
    /// Every one matches.
    All(Vec<Filter>),
    /// One matches.
    Any(Vec<Filter>),
    /// It does not match.
    Not(Box<Filter>),
    /// A field compares so.
    Compare(Vec<String>, Operator, String),
    /// A field is the whole of what an expression matches.
    Matches(Vec<String>, Regex),
}

/// How a field and a value compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Has,
    /// What `:` is in Resource Manager.
    Is,
}

/// Operators, the longest first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    (":", Operator::Has),
];

/// The deepest that parentheses may be nested.
const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Minus,
    Operator(Operator),
    /// A word or a text; whether it was quoted.
    Word(String, bool),
}

impl Token {
    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word, false) if word == keyword)
    }
}

impl Filter {
    /// Reads a filter; the error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Filter, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let filter = parser.any()?;
        match parser.peek() {
            None => Ok(filter),
            Some(_) => Err("There is a closing parenthesis too many.".to_owned()),
        }
    }

    /// As a list of projects means it, in Resource Manager v1: fields are named in any case and a project's id is `id`,
    /// and `:` asks for the whole of a text. Source: the documentation of `filter` of `projects.list`; gcloud sends
    /// `lifecycleState:ACTIVE AND (id:project-*)`.
    pub(crate) fn of_projects(self) -> Filter {
        let all = |filters: Vec<Filter>| filters.into_iter().map(Filter::of_projects).collect();
        match self {
            Filter::All(filters) => Filter::All(all(filters)),
            Filter::Any(filters) => Filter::Any(all(filters)),
            Filter::Not(filter) => Filter::Not(Box::new(filter.of_projects())),
            Filter::Matches(path, regex) => Filter::Matches(project_path(path), regex),
            Filter::Compare(path, Operator::Has, wanted) => {
                Filter::Compare(project_path(path), Operator::Is, wanted)
            }
            Filter::Compare(path, operator, wanted) => Filter::Compare(project_path(path), operator, wanted),
        }
    }

    /// Whether an item of a list matches.
    pub(crate) fn matches(&self, item: &Value) -> bool {
        match self {
            Filter::All(filters) => filters.iter().all(|filter| filter.matches(item)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.matches(item)),
            Filter::Not(filter) => !filter.matches(item),
            Filter::Matches(path, regex) => {
                values(item, path).iter().any(|value| regex.is_match(&text(value))) || {
                    values(item, path).is_empty() && regex.is_match("")
                }
            }
            Filter::Compare(path, Operator::NotEqual, wanted) => {
                !values(item, path).iter().any(|value| equal(value, wanted))
            }
            Filter::Compare(path, operator, wanted) => {
                let found = values(item, path);
                found.iter().any(|value| compare(value, *operator, wanted))
                    // What is false or empty is not on the wire.
                    || (found.is_empty() && *operator == Operator::Equal && matches!(wanted.as_str(), "false" | "" | "0"))
            }
        }
    }
}

fn compare(value: &Value, operator: Operator, wanted: &str) -> bool {
    let ordering = || match (number(value), wanted.parse::<f64>()) {
        (Some(value), Ok(wanted)) => value.partial_cmp(&wanted),
        _ => Some(text(value).as_str().cmp(wanted)),
    };
    match operator {
        Operator::Equal => equal(value, wanted),
        Operator::NotEqual => !equal(value, wanted),
        Operator::Less => ordering() == Some(Ordering::Less),
        Operator::AtMost => ordering().is_some_and(Ordering::is_le),
        Operator::Greater => ordering() == Some(Ordering::Greater),
        Operator::AtLeast => ordering().is_some_and(Ordering::is_ge),
        Operator::Has | Operator::Is if wanted == "*" => true,
        Operator::Has => match value {
            Value::Object(map) => map.contains_key(wanted),
            _ if wanted.contains('*') => equal(value, wanted),
            _ => text(value).to_lowercase().contains(&wanted.to_lowercase()),
        },
        Operator::Is => match value {
            Value::Object(map) => map.contains_key(wanted),
            _ => equal(value, wanted),
        },
    }
}

/// The path of a project's field that is said in any case.
fn project_path(path: Vec<String>) -> Vec<String> {
    let known: &[&str] = match path.join(".").to_lowercase().as_str() {
        "createtime" => &["createTime"],
        "id" | "projectid" => &["projectId"],
        "lifecyclestate" => &["lifecycleState"],
        "name" => &["name"],
        "parent.id" => &["parent", "id"],
        "parent.type" => &["parent", "type"],
        "projectnumber" => &["projectNumber"],
        _ => return path,
    };
    known.iter().map(|name| (*name).to_owned()).collect()
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Equal without case; a `*` at an end of `wanted` stands for anything.
fn equal(value: &Value, wanted: &str) -> bool {
    if let (Some(value), Ok(wanted)) = (value.as_f64(), wanted.parse::<f64>()) {
        return value == wanted;
    }
    let (value, wanted) = (text(value).to_lowercase(), wanted.to_lowercase());
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(_), Some(_)) => value.contains(wanted.trim_matches('*')),
        (Some(end), None) => value.ends_with(end),
        (None, Some(start)) => value.starts_with(start),
        (None, None) => value == wanted,
    }
}

/// What is at a path; in lists, of every element.
fn values<'v>(item: &'v Value, path: &[String]) -> Vec<&'v Value> {
    match (item, path.split_first()) {
        (Value::Array(items), _) => items.iter().flat_map(|item| values(item, path)).collect(),
        (item, None) => vec![item],
        (item, Some((first, rest))) => item.get(first).map(|value| values(value, rest)).unwrap_or_default(),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_keyword(keyword));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut filters = vec![self.all()?];
        while self.take("OR") {
            filters.push(self.all()?);
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::Any(filters) })
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut filters = vec![self.term()?];
        while self.take("AND")
            || self.peek().is_some_and(|token| *token != Token::Close && !token.is_keyword("OR"))
        {
            filters.push(self.term()?);
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
    }

    fn term(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("It is nested too deeply.".to_owned());
        }
        let term = if self.take("NOT") || self.peek() == Some(&Token::Minus) {
            self.at += usize::from(self.peek() == Some(&Token::Minus));
            Filter::Not(Box::new(self.term()?))
        } else if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let inner = self.any()?;
            if self.next() != Some(Token::Close) {
                return Err("A closing parenthesis is missing.".to_owned());
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let Some(Token::Word(field, false)) = self.next() else {
            return Err("A field's name is missing.".to_owned());
        };
        let path = field.split('.').map(str::to_owned).collect();
        let Some(operator) = self.next() else {
            return Err(format!("An operator after '{field}' is missing."));
        };
        let Some(Token::Word(value, _)) = self.next() else {
            return Err(format!("A value for '{field}' is missing."));
        };
        match operator {
            Token::Operator(operator) => Ok(Filter::Compare(path, operator, value)),
            token if token.is_keyword("eq") || token.is_keyword("ne") => {
                let regex = Regex::new(&format!("^(?:{value})$"))
                    .map_err(|_| format!("'{value}' is no expression."))?;
                let matches = Filter::Matches(path, regex);
                Ok(if token.is_keyword("ne") { Filter::Not(Box::new(matches)) } else { matches })
            }
            _ => Err(format!("An operator after '{field}' is missing.")),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let operator = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
        let used = match (first, operator) {
            ('(', _) => push(&mut tokens, Token::Open, 1),
            (')', _) => push(&mut tokens, Token::Close, 1),
            (_, Some((sign, operator))) => push(&mut tokens, Token::Operator(*operator), sign.len()),
            ('-', _) if !matches!(tokens.last(), Some(Token::Operator(_))) => {
                push(&mut tokens, Token::Minus, 1)
            }
            ('"' | '\'', _) => {
                let (word, used) = quoted(rest, first)?;
                push(&mut tokens, Token::Word(word, true), used)
            }
            _ => {
                // A value may have signs in it that are operators elsewhere: links, times.
                let is_value = matches!(tokens.last(), Some(Token::Operator(_)));
                let ends =
                    |c: char| c.is_whitespace() || "()".contains(c) || (!is_value && "=!<>:".contains(c));
                let used = rest.find(ends).unwrap_or(rest.len()).max(first.len_utf8());
                push(&mut tokens, Token::Word(rest[..used].to_owned(), false), used)
            }
        };
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

fn push(tokens: &mut Vec<Token>, token: Token, used: usize) -> usize {
    tokens.push(token);
    used
}

/// A quoted text at the start of `text`, and its length with the quotes.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut word = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                // Escapes of expressions stay as they are.
                if c != quote && c != '\\' {
                    word.push('\\');
                }
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Ok((word, at + 1)),
            c => word.push(c),
        }
    }
    Err("A quotation mark is missing.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_match_as_documented() {
        let item = json!({
            "name": "vm-1",
            "status": "RUNNING",
            "priority": 1000,
            "labels": { "env": "prod" },
            "tags": { "items": ["web", "ssh"] },
            "networkInterfaces": [{ "network": "https://x/compute/v1/projects/p/global/networks/vpc-1" }],
            "creationTimestamp": "2026-01-02T03:04:05.000+00:00",
        });
        for (filter, matches) in [
            ("name = vm-1", true),
            ("name=\"VM-1\"", true),
            ("name != vm-1", false),
            ("name eq 'vm-.*'", true),
            ("name eq vm", false),
            ("name ne \"vm-[0-9]\"", false),
            ("name:vm*", true),
            ("name : m-", true),
            ("name=vm*", true),
            ("(name = vm-2) OR (status = RUNNING)", true),
            ("(name = vm-1) (status = STOPPED)", false),
            ("name = vm-1 AND NOT status = STOPPED", true),
            ("-status = RUNNING", false),
            ("priority > 999", true),
            ("priority <= 999", false),
            ("priority = 1000", true),
            ("labels.env = prod", true),
            ("labels.env:*", true),
            ("labels.color:*", false),
            ("labels:env", true),
            ("tags.items = ssh", true),
            ("tags.items:db", false),
            ("networkInterfaces.network:vpc-1", true),
            ("networkInterfaces.network = https://x/compute/v1/projects/p/global/networks/vpc-1", true),
            ("creationTimestamp > 2026-01-01T00:00:00Z", true),
            ("disabled = false", true),
            ("disabled = true", false),
        ] {
            assert_eq!(Filter::parse(filter).expect(filter).matches(&item), matches, "{filter}");
        }
    }

    #[test]
    fn projects_are_filtered_as_documented() {
        let item = json!({
            "projectId": "project-1",
            "projectNumber": "100000000001",
            "name": "Howl",
            "lifecycleState": "ACTIVE",
            "parent": { "type": "folder", "id": "12" },
            "labels": { "color": "red", "size": "big" },
        });
        for (filter, matches) in [
            ("id:project-1", true),
            ("ID=project-1", true),
            ("id:project-*", true),
            // A whole one, and not a part of it.
            ("id:project", false),
            ("projectId:project-1", true),
            ("projectid!=project-1", false),
            ("projectNumber=100000000001", true),
            ("name:how*", true),
            ("name:howl", true),
            ("NAME:HOWL", true),
            ("name:how", false),
            ("labels.color:*", true),
            ("labels.shape:*", false),
            ("labels.shape:0", false),
            ("labels.color:red labels.size:big", true),
            ("labels.color:red labels.size:small", false),
            ("labels:color", true),
            ("lifecycleState:DELETE_REQUESTED", false),
            ("parent.type:folder parent.id:12", true),
            ("parent.type:folder parent.id:1", false),
            // As gcloud sends them.
            ("lifecycleState:ACTIVE AND (( id:project-2 OR id:project-1 ))", true),
            ("lifecycleState:ACTIVE AND (NOT (id=project-1))", false),
        ] {
            let found = Filter::parse(filter).expect(filter).of_projects().matches(&item);
            assert_eq!(found, matches, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_why() {
        for (filter, error) in [
            ("name", "An operator after 'name' is missing."),
            ("name =", "A value for 'name' is missing."),
            ("(name = a", "A closing parenthesis is missing."),
            ("name = a)", "There is a closing parenthesis too many."),
            ("name = 'a", "A quotation mark is missing."),
            ("name eq '['", "'[' is no expression."),
            ("= a", "A field's name is missing."),
            ("", "A field's name is missing."),
        ] {
            let found = Filter::parse(filter).map(|_| ());
            assert_eq!(found, Err(error.to_owned()), "{filter}");
        }
        assert!(Filter::parse(&"(".repeat(100_000)).is_err());
        assert!(Filter::parse(&"-".repeat(100_000)).is_err());
    }
}
