//! Terms: how a key and its operands compare on the client's side.

use super::super::print::repr;
use super::super::projection::{Column, Step};
use super::super::session::last;
use super::super::transform::plain;
use super::compute::Question;
use jiff::civil::DateTime;
use jiff::{Span, Timestamp, Zoned};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::cmp::Ordering;

/// How a key and an operand compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Has,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Finds,
    FindsNot,
}

/// A key and what it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(super) column: Column,
    pub(super) operator: Operator,
    operands: Vec<Operand>,
    /// What the server is asked instead; `None` where it cannot be.
    pub(super) question: Option<Question>,
}

/// What a value is compared with, in every form that it may be compared in.
#[derive(Clone, Debug)]
struct Operand {
    text: String,
    number: Option<Number>,
    time: Option<Timestamp>,
    pattern: Option<Regex>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    /// Of these an f64 would not have every digit: numeric ids.
    Whole(i128),
    Real(f64),
}

impl Term {
    pub(super) fn new(
        column: Column,
        operator: Operator,
        texts: &[String],
        is_list: bool,
        now: &Zoned,
    ) -> Result<Term, String> {
        let operand = |text: &String| -> Result<Operand, String> {
            let number = match text.to_lowercase().as_str() {
                "true" => Some(Number::Whole(1)),
                "false" => Some(Number::Whole(0)),
                text => Number::of(text),
            };
            Ok(Operand {
                text: text.clone(),
                number,
                time: time(text, now),
                pattern: pattern(operator, text)?,
            })
        };
        let operands = texts.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        let is_ordered =
            matches!(operator, Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast);
        let is_time = column.key.last().is_some_and(Step::is_time) && !column.is_transformed();
        if let Some(operand) = operands.iter().find(|operand| is_ordered && is_time && operand.time.is_none())
        {
            let text = &operand.text;
            return Err(format!("expected a time, such as 2026-01-31 or -P2W, not '{text}'"));
        }
        let question = match texts {
            [text] if !is_list && !column.is_transformed() => Question::new(&column.key, operator, text)?,
            _ => None,
        };
        Ok(Term { column, operator, operands, question })
    }

    pub(super) fn with_columns(mut self, table: &[Column]) -> Term {
        self.column = self.column.key_of_table(table);
        if let (Some(_), [operand]) = (&self.question, self.operands.as_slice()) {
            // What is asked depends on the key; that it can be asked is known.
            self.question = Question::new(&self.column.key, self.operator, &operand.text).ok().flatten();
        }
        self
    }

    /// Whether any value of the key, in lists that of any item, and any operand compare so.
    pub(super) fn by_client(&self, resource: &Value) -> bool {
        let value = self.column.of(resource);
        let values = match &value {
            Value::Array(items) if !items.is_empty() => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        values.iter().any(|value| self.operands.iter().any(|operand| self.holds(value, operand)))
    }

    fn holds(&self, value: &Value, operand: &Operand) -> bool {
        let ordering = || compare(value, operand);
        let found = || {
            let is_text = !value.is_array() && !value.is_object();
            is_text.then(|| operand.pattern.as_ref().is_some_and(|regex| regex.is_match(&plain(value))))
        };
        match self.operator {
            Operator::Has | Operator::Equal => self.has(value, operand),
            Operator::NotEqual => !self.has(value, operand),
            Operator::Less => ordering() == Some(Ordering::Less),
            Operator::AtMost => ordering().is_some_and(Ordering::is_le),
            Operator::Greater => ordering() == Some(Ordering::Greater),
            Operator::AtLeast => ordering().is_some_and(Ordering::is_ge),
            Operator::Finds => found() == Some(true),
            Operator::FindsNot => found() == Some(false),
        }
    }

    /// Whether a value, an item of a list, or a name or value in a map is the operand or contains it.
    fn has(&self, value: &Value, operand: &Operand) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.is(item, operand)),
            Value::Object(map) => {
                map.iter().any(|(key, value)| self.finds(key, operand) || self.is(value, operand))
            }
            value => self.is(value, operand),
        }
    }

    fn is(&self, value: &Value, operand: &Operand) -> bool {
        let is_equal = || compare_numbers(value, operand) == Some(Ordering::Equal);
        match value {
            Value::Null if self.operator == Operator::Has && operand.text == "*" => false,
            Value::Null => operand.text.is_empty() || self.finds("null", operand),
            Value::String(text) if *text == operand.text => true,
            Value::Array(_) | Value::Object(_) => self.finds(&repr(value), operand),
            Value::Number(number) => {
                is_equal() || self.finds(number.to_string().trim_end_matches(".0"), operand)
            }
            value => {
                is_equal() || compare_times(value, operand).is_some_and(Ordering::is_eq) || {
                    self.finds(&plain(value), operand)
                }
            }
        }
    }

    fn finds(&self, text: &str, operand: &Operand) -> bool {
        // Zones and regions are links, and said by their names.
        let is_place = matches!(&self.column.key[..], [step] if step.is("zone") || step.is("region"));
        let text = text.to_lowercase();
        operand
            .pattern
            .as_ref()
            .is_some_and(|regex| regex.is_match(&text) || (is_place && regex.is_match(last(&text))))
    }
}

impl Number {
    fn of(text: &str) -> Option<Number> {
        text.parse().map(Number::Whole).or_else(|_| text.parse().map(Number::Real)).ok()
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        let real = |number| match number {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        };
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => Some(a.cmp(&b)),
            (a, b) => real(a).partial_cmp(&real(b)),
        }
    }
}

/// The expression that an operator and an operand stand for: `:` is contained, or from end to end with a `*` in it;
/// `=` is the same text; neither looks at case.
fn pattern(operator: Operator, text: &str) -> Result<Option<Regex>, String> {
    let small = regex::escape(&text.to_lowercase());
    let pattern = match operator {
        Operator::Finds | Operator::FindsNot => text.to_owned(),
        Operator::Equal | Operator::NotEqual => format!("^{small}$"),
        Operator::Has if text == "*" => ".".to_owned(),
        Operator::Has => match small.split(r"\*").collect::<Vec<_>>()[..] {
            [part] => part.to_owned(),
            [start, ""] => format!("^{start}"),
            ["", end] => format!("{end}$"),
            [start, end] => format!("^{start}.*{end}$"),
            _ => return Err(format!("expected one * at most in '{text}'")),
        },
        _ => return Ok(None),
    };
    let is_plain = matches!(operator, Operator::Finds | Operator::FindsNot);
    let regex = RegexBuilder::new(&pattern).multi_line(!is_plain).build();
    regex.map(Some).map_err(|why| format!("expected a regular expression, not '{text}': {why}"))
}

/// By number, by time, else as texts; maps and lists are neither less nor more.
fn compare(value: &Value, operand: &Operand) -> Option<Ordering> {
    match value {
        Value::Array(_) | Value::Object(_) => None,
        Value::Null if operand.time.is_some() && operand.number.is_none() => None,
        value => compare_numbers(value, operand)
            .or_else(|| compare_times(value, operand))
            .or_else(|| Some(plain(value).cmp(&operand.text))),
    }
}

fn compare_numbers(value: &Value, operand: &Operand) -> Option<Ordering> {
    let number = match value {
        Value::Bool(yes) => Number::Whole(i128::from(*yes)),
        Value::Number(number) => Number::of(&number.to_string())?,
        Value::String(text) => Number::of(text)?,
        _ => return None,
    };
    number.compare(operand.number?)
}

fn compare_times(value: &Value, operand: &Operand) -> Option<Ordering> {
    value.as_str()?.parse::<Timestamp>().ok()?.partial_cmp(&operand.time?)
}

/// A moment, as RFC 3339 has it; as a date, or a date and a time, of the zone that we are in; or as a duration from now
/// on, such as `-P2W`.
fn time(text: &str, now: &Zoned) -> Option<Timestamp> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(now.time_zone().clone()).ok();
    let relative = || {
        let is_duration = text.trim_start_matches(['-', '+']).starts_with(['P', 'p']);
        is_duration.then(|| text.parse::<Span>().ok()).flatten().and_then(|span| now.checked_add(span).ok())
    };
    let moment = || local().or_else(relative).map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>().ok().or_else(moment)
}
