//! Arguments of kinds that gcloud has and that more than one verb takes.

use super::filter::Filter;
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// Values between commas; or between what stands between two `^` at the beginning, for values with commas in them.
/// Source: `gcloud topic escaping`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl FromStr for List {
    type Err = String;
    fn from_str(text: &str) -> Result<List, String> {
        let escaped = text.strip_prefix('^').and_then(|rest| rest.split_once('^'));
        let (delimiter, values) = escaped.filter(|(by, _)| !by.is_empty()).unwrap_or((",", text));
        // An empty list is how to take everything away.
        let values = values.split(delimiter).filter(|value| !value.is_empty());
        Ok(List(values.map(str::to_owned).collect()))
    }
}

/// Pairs of keys and values, `a=1,b=2`, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl FromStr for Pairs {
    type Err = String;
    fn from_str(text: &str) -> Result<Pairs, String> {
        let pair = |item: &String| match item.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
            None => Err(format!("'{item}': expected KEY=VALUE")),
        };
        text.parse::<List>()?.0.iter().map(pair).collect::<Result<_, _>>().map(Pairs)
    }
}

impl Pairs {
    /// As a map on the wire.
    pub(crate) fn map(&self) -> Value {
        self.0.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>().into()
    }
}

/// What to list and how.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Listed {
    /// Only what matches, as `gcloud topic filters` has it, such as "name~^vm AND status=RUNNING" or "labels.env:(a b)"
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) filter: Option<Filter>,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,
    /// In the order of these keys; ~KEY for backwards
    #[arg(long, value_name = "KEYS")]
    pub(crate) sort_by: Option<List>,
    /// Print links and nothing else
    #[arg(long)]
    pub(crate) uri: bool,
}

/// What to list of every zone, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ListedByZone {
    /// Of these zones only
    #[arg(long)]
    pub(crate) zones: Option<List>,
    #[command(flatten)]
    pub(crate) listed: Listed,
}

/// What to list of every region, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ListedByRegion {
    /// Of these regions only
    #[arg(long)]
    pub(crate) regions: Option<List>,
    #[command(flatten)]
    pub(crate) listed: Listed,
}

/// A name and what it is in.
#[derive(Debug, clap::Args)]
pub(crate) struct InZone {
    /// The name
    pub(crate) name: String,
    /// Its zone [default: $CLOUDSDK_COMPUTE_ZONE]
    #[arg(long)]
    pub(crate) zone: Option<String>,
}

/// Names and what they are in.
#[derive(Debug, clap::Args)]
pub(crate) struct AllInZone {
    /// The names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Their zone [default: $CLOUDSDK_COMPUTE_ZONE]
    #[arg(long)]
    pub(crate) zone: Option<String>,
}

/// A name and what it is in.
#[derive(Debug, clap::Args)]
pub(crate) struct InRegion {
    /// The name
    pub(crate) name: String,
    /// Its region [default: $CLOUDSDK_COMPUTE_REGION]
    #[arg(long)]
    pub(crate) region: Option<String>,
}

/// Names and what they are in.
#[derive(Debug, clap::Args)]
pub(crate) struct AllInRegion {
    /// The names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Their region [default: $CLOUDSDK_COMPUTE_REGION]
    #[arg(long)]
    pub(crate) region: Option<String>,
}

/// A name.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The name
    pub(crate) name: String,
}

/// Names.
#[derive(Debug, clap::Args)]
pub(crate) struct AllNamed {
    /// The names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// A body of a request, field by field.
#[derive(Debug, Default)]
pub(crate) struct Body(Map<String, Value>);

impl Body {
    /// A field.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Body {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// A field that is left out where there is nothing to say.
    pub(crate) fn maybe(self, field: &str, value: Option<impl Into<Value>>) -> Body {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON.
    pub(crate) fn json(self) -> Value {
        Value::Object(self.0)
    }
}

impl From<&List> for Value {
    fn from(list: &List) -> Value {
        json!(list.0)
    }
}

/// The value of a pair of flags, `--x` and `--no-x`: `None` when neither is said.
pub(crate) fn either(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

/// A constant of Google's that was said in whatever case: `IPV4_IPV6` for `ipv4-ipv6`.
pub(super) fn upper(text: impl AsRef<str>) -> String {
    text.as_ref().to_ascii_uppercase().replace('-', "_")
}

/// The same, as the parser of an argument.
pub(super) fn constant(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(upper(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_pairs() {
        for (text, want) in
            [("a,b", vec!["a", "b"]), ("^;^a,b;c", vec!["a,b", "c"]), ("", vec![]), ("^a", vec!["^a"])]
        {
            assert_eq!(
                text.parse::<List>().map(|list| list.0),
                Ok(want.iter().map(|s| s.to_string()).collect())
            );
        }
        let pairs: Pairs = "k=v=w,x=".parse().expect("pairs");
        assert_eq!(pairs.map(), json!({ "k": "v=w", "x": "" }));
        "k".parse::<Pairs>().expect_err("no value");
    }
}
