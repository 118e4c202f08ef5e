//! Projections: what `--format` says of a resource, in gcloud's language.
//!
//! ```text
//!  format = kind { "[" attribute "]" } [ "(" [ column { "," column } ] ")" ]
//!  column = [ key ] { "." transform "(" [ arguments ] ")" } { ":" attribute "=" value }
//!  key    = name { "." name | "[" [ index ] "]" }
//! ```
//!
//! Source: `gcloud topic formats`, `gcloud topic projections`.

use super::transform::{self, Transform};
use serde_json::Value;

/// What is printed of each resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// Its key; empty for the resource as a whole.
    pub(crate) key: Vec<Step>,
    transforms: Vec<Transform>,
    label: Option<String>,
}

/// A step of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A field.
    Field(String),
    /// An item of a list.
    Item(usize),
    /// Every item of a list.
    Every,
}

impl Step {
    /// Whether it is the field of this name.
    pub(crate) fn is(&self, field: &str) -> bool {
        matches!(self, Step::Field(name) if name == field)
    }

    /// Whether it is a field with a time in it, by its name: `creationTimestamp`, `createTime`.
    pub(crate) fn is_time(&self) -> bool {
        let ends = ["Timestamp", "_timestamp", "Time", "_time"];
        matches!(self, Step::Field(name) if ends.iter().any(|end| name.ends_with(end)))
    }
}

/// A format as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Format {
    /// `json`, `yaml`, `table`…
    pub(crate) kind: String,
    /// What is in brackets, such as `no-heading`.
    pub(crate) attributes: Vec<String>,
    /// What is in parentheses; `None` without any.
    pub(crate) columns: Option<Vec<Column>>,
}

impl Column {
    /// The value that a resource has for it; `Null` for none.
    pub(crate) fn of(&self, resource: &Value) -> Value {
        let mut value = get(resource, &self.key);
        let mut each = false;
        for transform in &self.transforms {
            value = match (transform.name.as_str(), value) {
                ("map", value) => {
                    each = true;
                    value
                }
                (_, Value::Array(items)) if std::mem::take(&mut each) => {
                    items.iter().map(|item| transform::apply(transform, item, resource)).collect()
                }
                (_, value) => transform::apply(transform, &value, resource),
            };
        }
        value
    }

    /// The same column of the key that a label of the table's columns stands for, made by that column's transforms
    /// first: `ID` is `name.basename()` in folders' table. Source: gcloud's aliases of projections.
    pub(crate) fn of_table(&self, table: &[Column]) -> Column {
        let Some(labelled) = labelled(&self.key, table) else { return self.clone() };
        Column {
            key: unlabelled(self.key.clone(), table),
            transforms: [labelled.transforms.as_slice(), &self.transforms].concat(),
            label: self.label.clone().or_else(|| Some(labelled.heading())),
        }
    }

    /// The same column of the key that a label of the table's columns stands for, and nothing of its transforms: how
    /// everything but text takes labels.
    pub(crate) fn key_of_table(&self, table: &[Column]) -> Column {
        Column { key: unlabelled(self.key.clone(), table), ..self.clone() }
    }

    /// Whether it is more than a key.
    pub(crate) fn is_transformed(&self) -> bool {
        !self.transforms.is_empty()
    }

    /// Its heading.
    pub(crate) fn heading(&self) -> String {
        let last = self.key.iter().rev().find_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        });
        let first = self.transforms.first().map(|transform| transform.name.as_str());
        self.label.clone().unwrap_or_else(|| angry_snake_case(last.or(first).unwrap_or_default()))
    }
}

/// The column whose label a key begins with.
fn labelled<'t>(key: &[Step], table: &'t [Column]) -> Option<&'t Column> {
    table.iter().find(|column| key.first().is_some_and(|step| step.is(&column.heading())))
}

/// A key in which a label of the table's columns is what it stands for.
pub(crate) fn unlabelled(mut key: Vec<Step>, table: &[Column]) -> Vec<Step> {
    if let Some(column) = labelled(&key, table) {
        key.splice(..1, column.key.iter().cloned());
    }
    key
}

/// A field by its name, also in `snake_case`; or the value of an item of metadata by its key, in `items` of `key` and
/// `value`. Source: gcloud's `resource_property.Get`.
pub(crate) fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let metadata = || {
        let item = value.get("items")?.as_array()?.iter().find(|item| item["key"] == name)?;
        item.get("value")
    };
    value.get(name).or_else(|| value.get(camel_case(name))).or_else(metadata)
}

/// `source_tags` as `sourceTags`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut out, word| {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out + chars.as_str()
    })
}

/// The value at a key; a list of values where it goes through every item of a list.
pub(crate) fn get(value: &Value, key: &[Step]) -> Value {
    match key.split_first() {
        None => value.clone(),
        Some((Step::Field(name), rest)) => match value {
            // A field of a list is the field of each item, as where the brackets are written.
            Value::Array(items) => items.iter().map(|item| get(item, key)).collect(),
            value => field(value, name).map_or(Value::Null, |value| get(value, rest)),
        },
        Some((Step::Item(index), rest)) => value.get(index).map_or(Value::Null, |value| get(value, rest)),
        Some((Step::Every, rest)) => match value.as_array() {
            Some(items) => items.iter().map(|item| get(item, rest)).collect(),
            None => Value::Null,
        },
    }
}

/// `networkIP` as `NETWORK_IP`: capitals that follow a small letter begin a word together; elsewhere one does that a
/// small letter follows. Source: gcloud's `_AngrySnakeCase`.
fn angry_snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut chars = name.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        let after_small = before.is_some_and(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let before_small = before.is_some() && chars.peek().is_some_and(char::is_ascii_lowercase);
        let begins = c.is_ascii_uppercase() && (after_small || before_small);
        if begins {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        before = Some(c);
        while let Some(c) = chars.next_if(|c| begins && after_small && c.is_ascii_uppercase()) {
            out.push(c);
            before = Some(c);
        }
    }
    out
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        let mut reader = Reader { text, at: 0 };
        let format = reader.format()?;
        match reader.peek() {
            None => Ok(format),
            Some(c) => Err(reader.unexpected(c)),
        }
    }
}

/// The key and transforms that begin at a place in a text, and where they end.
pub(crate) fn key_at(text: &str, at: usize) -> Result<(Column, usize), String> {
    let mut reader = Reader { text, at };
    reader.key().map(|column| (column, reader.at))
}

/// A key, such as `networkInterfaces[0].networkIP`.
pub(crate) fn parse_key(text: &str) -> Result<Vec<Step>, String> {
    let mut reader = Reader { text, at: 0 };
    let column = reader.key()?;
    match reader.peek() {
        None if column.transforms.is_empty() => Ok(column.key),
        _ => Err(format!("'{text}' is no key")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start().len();
        self.at += blanks;
        self.rest().chars().next()
    }

    /// Takes a character, if it is the next one.
    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    /// Takes a character, if it is the next one with no blank before it.
    fn follows(&mut self, wanted: char) -> bool {
        self.rest().starts_with(wanted) && self.take(wanted)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(format!("'{}': expected '{wanted}'", self.text)) }
    }

    fn unexpected(&self, c: char) -> String {
        format!("'{}': unexpected '{c}'", self.text)
    }

    /// Letters, digits, `_` and `-`.
    fn name(&mut self) -> String {
        self.peek();
        let good = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
        let name: String = self.rest().chars().take_while(good).collect();
        self.at += name.len();
        name
    }

    /// Text up to one of the characters, or in quotes.
    fn value(&mut self, ends: &str) -> Result<String, String> {
        if let Some(quote) = self.peek().filter(|c| "'\"".contains(*c)) {
            self.at += 1;
            let text = self.rest().split(quote).next().unwrap_or_default().to_owned();
            self.at += text.len();
            self.expect(quote)?;
            return Ok(text);
        }
        let text: String = self.rest().chars().take_while(|c| !ends.contains(*c)).collect();
        self.at += text.len();
        Ok(text.trim().to_owned())
    }

    fn format(&mut self) -> Result<Format, String> {
        let mut format = Format { kind: self.name(), ..Format::default() };
        while self.take('[') {
            loop {
                format.attributes.push(self.value(",]")?);
                if !self.take(',') {
                    break;
                }
            }
            self.expect(']')?;
        }
        if self.take('(') {
            let mut columns = Vec::new();
            while !self.take(')') {
                columns.push(self.column()?);
                if !self.take(',') {
                    self.expect(')')?;
                    break;
                }
            }
            format.columns = Some(columns);
        }
        Ok(format)
    }

    /// A key and its transforms.
    fn key(&mut self) -> Result<Column, String> {
        let mut column = Column { key: Vec::new(), transforms: Vec::new(), label: None };
        loop {
            let name = match self.peek() {
                Some('\'' | '"') => self.value("")?,
                _ => self.name(),
            };
            if name.is_empty() {
                return Err(format!("'{}': expected a key", self.text));
            }
            if self.follows('(') {
                column.transforms.push(self.transform(name)?);
            } else if column.transforms.is_empty() {
                column.key.push(Step::Field(name));
                while self.follows('[') {
                    column.key.push(self.index()?);
                }
            } else {
                return Err(format!("'{}': a key after a transform", self.text));
            }
            if !self.follows('.') {
                return Ok(column);
            }
        }
    }

    fn column(&mut self) -> Result<Column, String> {
        let mut column = self.key()?;
        while self.take(':') {
            let attribute = self.name();
            self.expect('=')?;
            let value = self.value(":,)")?;
            match attribute.as_str() {
                "label" => column.label = Some(value),
                // How to arrange columns, not what is in them.
                "align" | "wrap" | "width" | "sort" => {}
                other => return Err(format!("the attribute '{other}' of columns is not supported")),
            }
        }
        Ok(column)
    }

    fn index(&mut self) -> Result<Step, String> {
        let text = self.value("]")?;
        self.expect(']')?;
        match text.as_str() {
            "" => Ok(Step::Every),
            text => text.parse().map(Step::Item).map_err(|_| format!("'{text}' is no index")),
        }
    }

    fn transform(&mut self, name: String) -> Result<Transform, String> {
        let mut arguments = Vec::new();
        while !self.take(')') {
            arguments.push(self.value(",)")?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Transform::new(name, arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(format: &str, resource: &Value) -> Vec<Value> {
        let format: Format = format.parse().expect("a format");
        format.columns.unwrap_or_default().iter().map(|column| column.of(resource)).collect()
    }

    #[test]
    fn keys_and_transforms() {
        let vm = json!({
            "name": "vm-1",
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a",
            "networkInterfaces": [{ "networkIP": "10.1.0.2" }, { "networkIP": "10.2.0.2" }],
            "allowed": [{ "IPProtocol": "tcp", "ports": ["22", "80"] }, { "IPProtocol": "icmp" }],
        });
        for (column, want) in [
            ("name", json!("vm-1")),
            ("zone.basename()", json!("us-central1-a")),
            ("zone.scope(projects).segment(0)", json!("p")),
            ("networkInterfaces[0].networkIP", json!("10.1.0.2")),
            ("networkInterfaces[2].networkIP", Value::Null),
            ("networkInterfaces[].networkIP.list()", json!("10.1.0.2,10.2.0.2")),
            ("networkInterfaces.networkIP", json!(["10.1.0.2", "10.2.0.2"])),
            ("networkInterfaces[].none.notnull().list()", json!("")),
            ("allowed[].map().firewall_rule().list()", json!("tcp:22,tcp:80,icmp")),
            ("firstof(none, name)", json!("vm-1")),
            ("none.yesno(yes=true, no='-')", json!("-")),
        ] {
            assert_eq!(values(&format!("value({column})"), &vm), [want], "{column}");
        }
    }

    #[test]
    fn headings_are_angry() {
        let format: Format =
            "table[no-heading](networkInterfaces[].networkIP, gatewayIPv4, a.b.basename(), status():label=S)"
                .parse()
                .expect("a format");
        let headings: Vec<String> = format.columns.iter().flatten().map(Column::heading).collect();
        assert_eq!(headings, ["NETWORK_IP", "GATEWAY_IPV4", "B", "S"]);
        assert_eq!(format.attributes, ["no-heading"]);
    }

    #[test]
    fn labels_of_a_table_are_keys() {
        let table: Format =
            "table(displayName, name.basename():label=ID, nics[0].ip:label=IP)".parse().expect("a table");
        let table = table.columns.unwrap_or_default();
        let folder = json!({ "name": "folders/12", "displayName": "Prod", "nics": [{ "ip": "10.0.0.2" }] });
        for (column, value, of_key, heading) in [
            ("ID", json!("12"), json!("folders/12"), "ID"),
            ("ID.len()", json!(2), json!(10), "ID"),
            ("ID:label=NUMBER", json!("12"), json!("folders/12"), "NUMBER"),
            ("DISPLAY_NAME", json!("Prod"), json!("Prod"), "DISPLAY_NAME"),
            ("IP", json!("10.0.0.2"), json!("10.0.0.2"), "IP"),
            ("name", json!("folders/12"), json!("folders/12"), "NAME"),
            ("id", Value::Null, Value::Null, "ID"),
        ] {
            let format: Format = format!("value({column})").parse().expect("a format");
            let columns = format.columns.unwrap_or_default();
            let labelled = columns[0].of_table(&table);
            assert_eq!(labelled.of(&folder), value, "{column}");
            assert_eq!(labelled.heading(), heading, "{column}");
            assert_eq!(columns[0].key_of_table(&table).of(&folder), of_key, "{column}");
        }
    }

    #[test]
    fn fields_are_found_as_gcloud_finds_them() {
        let vm = json!({
            "machineType": "small",
            "snake_case": 1,
            "metadata": { "kind": "compute#metadata", "items": [{ "key": "os-login", "value": "TRUE" }] },
            "a b": 2,
        });
        for (column, want) in [
            ("machine_type", json!("small")),
            ("snake_case", json!(1)),
            ("metadata.os-login", json!("TRUE")),
            ("metadata.none", Value::Null),
            ("metadata.items[0].key", json!("os-login")),
            ("'a b'", json!(2)),
        ] {
            assert_eq!(values(&format!("value({column})"), &vm), [want], "{column}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("value(a", "expected ')'"),
            ("value(a))", "unexpected ')'"),
            ("value(a.huh())", "huh"),
            ("value(a:huh=1)", "huh"),
            ("value(a[x])", "'x' is no index"),
        ] {
            let error = text.parse::<Format>().expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
