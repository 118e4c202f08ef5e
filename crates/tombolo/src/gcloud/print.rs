//! Resources on stdout, in the format that was asked for.

use super::projection::{Column, Format, Step, get};
use super::transform::plain;
use super::yaml;
use crate::output;
use serde_json::{Map, Value};

/// One resource; as YAML unless said otherwise.
pub(crate) fn one(resource: Value, format: Option<&Format>) -> Result<(), String> {
    let yaml = Format { kind: "yaml".into(), ..Format::default() };
    let format = format.unwrap_or(&yaml);
    let resource = normal(resource);
    let text = match (format.kind.as_str(), &format.columns) {
        ("json", columns) => format!("{:#}\n", kept(&resource, columns.as_deref())),
        ("yaml", columns) => yaml::document(&kept(&resource, columns.as_deref())),
        _ => several(std::slice::from_ref(&resource), format)?,
    };
    output::print(&text);
    Ok(())
}

/// Any number of resources; as a table unless said otherwise.
pub(crate) fn many(resources: Vec<Value>, format: Option<&Format>, table: &str) -> Result<(), String> {
    let resources: Vec<Value> = resources.into_iter().map(normal).collect();
    let default: Format = table.parse()?;
    let text = match format {
        Some(format) if format.kind == "table" && format.columns.is_none() => {
            several(&resources, &Format { attributes: format.attributes.clone(), ..default })?
        }
        Some(format) => {
            let table = default.columns.as_deref().unwrap_or_default();
            let of_table = match format.kind.as_str() {
                "json" | "yaml" => Column::key_of_table,
                _ => Column::of_table,
            };
            let columns = format.columns.as_ref();
            let columns =
                columns.map(|columns| columns.iter().map(|column| of_table(column, table)).collect());
            several(&resources, &Format { columns, ..format.clone() })?
        }
        None => several(&resources, &default)?,
    };
    output::print(&text);
    Ok(())
}

fn several(resources: &[Value], format: &Format) -> Result<String, String> {
    let kind = format.kind.as_str();
    for attribute in &format.attributes {
        if !(attribute == "no-heading" && ["table", "csv"].contains(&kind)) {
            return Err(format!("the attribute '{attribute}' of '{kind}' is not supported"));
        }
    }
    let heading = !format.attributes.iter().any(|attribute| attribute == "no-heading");
    let columns = format.columns.as_deref();
    let needed = || columns.ok_or_else(|| format!("'{kind}' needs columns, such as {kind}(name)"));
    Ok(match kind {
        "json" => {
            let all: Value = resources.iter().map(|resource| kept(resource, columns)).collect();
            format!("{all:#}\n")
        }
        "yaml" => {
            let each = resources.iter().map(|resource| yaml::document(&kept(resource, columns)));
            each.map(|document| format!("---\n{document}")).collect()
        }
        "table" => table(resources, needed()?, heading),
        "value" | "get" => {
            let line = |resource: &Value| cells(resource, columns.unwrap_or_default(), joined).join("\t");
            needed()?;
            resources.iter().map(|resource| line(resource) + "\n").collect()
        }
        "csv" => csv(resources, needed()?, heading),
        "none" | "disable" => String::new(),
        other => {
            return Err(format!(
                "the format '{other}' is not supported: expected json, yaml, table(…), value(…), csv(…) or none"
            ));
        }
    })
}

fn cells(resource: &Value, columns: &[Column], show: fn(&Value) -> String) -> Vec<String> {
    columns.iter().map(|column| show(&column.of(resource))).collect()
}

fn table(resources: &[Value], columns: &[Column], heading: bool) -> String {
    if resources.is_empty() {
        return String::new();
    }
    let heading = heading.then(|| columns.iter().map(Column::heading).collect::<Vec<_>>());
    let show = |value: &Value| match value {
        Value::Null => String::new(),
        value if value.is_array() || value.is_object() => repr(value),
        value => plain(value),
    };
    let rows = resources.iter().flat_map(|resource| lines(&cells(resource, columns, show)));
    output::table(&heading.into_iter().chain(rows).collect::<Vec<_>>())
}

/// The lines of a row, some of whose cells have more than one.
fn lines(cells: &[String]) -> Vec<Vec<String>> {
    let height = cells.iter().map(move |cell| cell.split('\n').count()).max().unwrap_or_default();
    let line =
        |at: usize| cells.iter().map(move |cell| cell.split('\n').nth(at).unwrap_or_default().to_owned());
    (0..height).map(|at| line(at).collect()).collect()
}

fn csv(resources: &[Value], columns: &[Column], heading: bool) -> String {
    let quoted = |cell: String| match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    let line = |cells: Vec<String>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
    let heading = heading.then(|| line(columns.iter().map(|c| c.heading().to_lowercase()).collect()));
    let rows = resources.iter().map(|resource| line(cells(resource, columns, joined)));
    heading.into_iter().chain(rows).collect()
}

/// A value in one cell, for programs: items and fields between semicolons.
fn joined(value: &Value) -> String {
    let item = |value: &Value| if value.is_array() || value.is_object() { repr(value) } else { plain(value) };
    match value {
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(";"),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("{key}={}", item(value)));
            fields.collect::<Vec<_>>().join(";")
        }
        value => plain(value),
    }
}

/// A value as Python writes it, which is how gcloud shows what is in lists.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::String(text) => {
            let escaped =
                text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
            match (text.contains('\''), text.contains('"')) {
                (true, false) => format!("\"{escaped}\""),
                _ => format!("'{}'", escaped.replace('\'', "\\'")),
            }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("'{key}': {}", repr(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        value => plain(value),
    }
}

/// A resource with its fields in order, and fingerprints in the alphabet that gcloud shows bytes in.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> = map.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            let field = |(key, value): (String, Value)| match value {
                Value::String(text) if key == "fingerprint" || key.ends_with("Fingerprint") => {
                    (key, text.replace('+', "-").replace('/', "_").into())
                }
                value => (key, normal(value)),
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => items.into_iter().map(normal).collect(),
        value => value,
    }
}

/// What columns leave of a resource, for formats that have structure; all of it without columns.
fn kept(resource: &Value, columns: Option<&[Column]>) -> Value {
    let Some(columns) = columns else { return resource.clone() };
    let each = columns.iter().map(|column| keep(resource, column, &column.key));
    each.fold(Value::Object(Map::new()), merge)
}

/// A value with nothing but what is at the key.
fn keep(value: &Value, column: &Column, key: &[Step]) -> Value {
    let field = |name: &str, value: Value| Value::Object([(name.to_owned(), value)].into_iter().collect());
    match (key, value) {
        // Transforms are for the resource as a whole: what they make stands where the key ends.
        ([], value) => value.clone(),
        ([Step::Field(name)], Value::Object(_)) if column.is_transformed() => field(name, column.of(value)),
        ([Step::Field(name), rest @ ..], Value::Object(map)) => match map.get(name) {
            Some(value) => field(name, keep(value, column, rest)),
            None => Value::Object(Map::new()),
        },
        ([Step::Item(index), rest @ ..], Value::Array(_)) => match value.get(index) {
            Some(item) => Value::Array(vec![keep(item, column, rest)]),
            None => Value::Array(Vec::new()),
        },
        ([Step::Every, rest @ ..], Value::Array(items)) => {
            items.iter().map(|item| keep(item, column, rest)).collect()
        }
        (key, Value::Array(items)) => items.iter().map(|item| keep(item, column, key)).collect(),
        _ => get(value, key),
    }
}

fn merge(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Object(mut a), Value::Object(b)) => {
            for (key, value) in b {
                let both = match a.shift_remove(&key) {
                    Some(have) => merge(have, value),
                    None => value,
                };
                a.insert(key, both);
            }
            Value::Object(a)
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.into_iter().zip(b).map(|(a, b)| merge(a, b)).collect()
        }
        (_, b) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(format: &str) -> String {
        let vms = [
            json!({
                "status": "RUNNING", "name": "vm-1", "labelFingerprint": "a/b+c=",
                "tags": { "items": ["a", "y"] },
                "metadata": { "items": [{ "key": "k", "value": "it's" }] },
                "nics": [{ "ip": "10.0.0.2", "name": "nic0" }, { "ip": "10.1.0.2", "name": "nic1" }],
                "ok": true,
            }),
            json!({ "status": "TERMINATED", "name": "vm-2" }),
        ];
        let vms: Vec<Value> = vms.into_iter().map(normal).collect();
        several(&vms, &format.parse().expect("a format")).unwrap_or_else(|error| error)
    }

    #[test]
    fn formats_are_as_gclouds() {
        for (format, want) in [
            ("value(name,tags.items,ok)", "vm-1\ta;y\tTrue\nvm-2\t\t\n"),
            ("value(nics[].ip,nics[1].name,labelFingerprint)", "10.0.0.2;10.1.0.2\tnic1\ta_b-c=\n\t\t\n"),
            ("value(metadata)", "items=[{'key': 'k', 'value': \"it's\"}]\n\n"),
            ("csv(name,tags.items)", "name,items\nvm-1,a;y\nvm-2,\n"),
            ("csv[no-heading](tags.items.list(),name)", "\"a,y\",vm-1\n,vm-2\n"),
            (
                "table(name,status,tags.items)",
                "NAME  STATUS      ITEMS\nvm-1  RUNNING     ['a', 'y']\nvm-2  TERMINATED\n",
            ),
            (
                "table[no-heading](name,nics[].ip.list(separator='\n'))",
                "vm-1  10.0.0.2\n      10.1.0.2\nvm-2\n",
            ),
            ("table[no-heading](name)", "vm-1\nvm-2\n"),
            ("yaml(status,name)", "---\nname: vm-1\nstatus: RUNNING\n---\nname: vm-2\nstatus: TERMINATED\n"),
            ("none", ""),
            ("value", "'value' needs columns, such as value(name)"),
            ("table[box](name)", "the attribute 'box' of 'table' is not supported"),
        ] {
            assert_eq!(shown(format), want, "{format}");
        }
        assert!(shown("flattened").contains("'flattened' is not supported"));
        let kept: Value = serde_json::from_str(&shown("json(name,nics[].ip)")).expect("JSON");
        assert_eq!(
            kept,
            json!([
                { "name": "vm-1", "nics": [{ "ip": "10.0.0.2" }, { "ip": "10.1.0.2" }] },
                { "name": "vm-2" },
            ])
        );
    }
}
