//! Values as the YAML that gcloud prints: keys in order, lists as far out as their key, single quotes where a text
//! would be something else without.

use serde_json::Value;

/// A value as a document, without `---`.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => list(&mut out, items, 0),
        scalar => {
            out += &text(scalar, 0);
            out.push('\n');
        }
    }
    out
}

/// The fields of a map, each on a line that begins with `indent` blanks, except the first one, whose line has begun.
fn fields(out: &mut String, map: &Value, indent: usize) {
    let mut pairs: Vec<_> = map.as_object().into_iter().flatten().collect();
    pairs.sort_by_key(|(key, _)| key.as_str());
    for (at, (key, value)) in pairs.into_iter().enumerate() {
        if at > 0 {
            *out += &" ".repeat(indent);
        }
        *out += &format!("{}:", scalar(key, indent));
        match value {
            Value::Object(map) if !map.is_empty() => {
                *out += &format!("\n{}", " ".repeat(indent + 2));
                fields(out, value, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                *out += &format!("\n{}", " ".repeat(indent));
                list(out, items, indent);
            }
            value => *out += &format!(" {}\n", text(value, indent + 2)),
        }
    }
}

/// The items of a list, laid out as [`fields`] are.
fn list(out: &mut String, items: &[Value], indent: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            *out += &" ".repeat(indent);
        }
        *out += "- ";
        match item {
            Value::Object(map) if !map.is_empty() => fields(out, item, indent + 2),
            Value::Array(items) if !items.is_empty() => list(out, items, indent + 2),
            item => *out += &format!("{}\n", text(item, indent + 2)),
        }
    }
}

/// What is neither a map nor a list with something in it.
fn text(value: &Value, indent: usize) -> String {
    match value {
        Value::String(text) => scalar(text, indent),
        value => value.to_string(),
    }
}

/// A text; the lines of a longer one begin with `indent` blanks.
fn scalar(text: &str, indent: usize) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    // A text can always be written, in quotes if need be.
    let written = serde_saphyr::to_string_with_options(&text, options).unwrap_or_default();
    let written = written.strip_suffix('\n').unwrap_or(&written);
    if let Some(inner) = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !inner.contains(['\\', '\''])
    {
        // No number has two dots, and no boolean one letter: the library is more careful than gcloud's.
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_address = text.split('.').count() > 2 && text.split('.').all(digits);
        let is_letter = ["y", "Y", "n", "N"].contains(&text);
        return if is_address || is_letter { text.to_owned() } else { format!("'{text}'") };
    }
    let mut lines = written.split('\n');
    let first = lines.next().unwrap_or_default().to_owned();
    // The library indents the lines of a text by two.
    lines.fold(first, |all, line| match line.strip_prefix("  ") {
        Some(line) => format!("{all}\n{}{line}", " ".repeat(indent)),
        None => format!("{all}\n{line}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_as_gclouds() {
        let value = json!({
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/z",
            "allowed": [{ "ports": ["22", "80-90"], "IPProtocol": "tcp" }, { "IPProtocol": "icmp" }],
            "metadata": { "items": [{ "value": "#!/bin/sh\necho hello", "key": "startup-script" }] },
            "description": "",
            "disabled": false,
            "since": "2026-11-26T13:10:20.229+00:00",
            "state": "[x]: it's",
            "none": [],
            "networkIP": "10.1.0.1",
        });
        let want = "\
allowed:
- IPProtocol: tcp
  ports:
  - '22'
  - 80-90
- IPProtocol: icmp
description: ''
disabled: false
metadata:
  items:
  - key: startup-script
    value: |-
      #!/bin/sh
      echo hello
networkIP: 10.1.0.1
none: []
since: '2026-11-26T13:10:20.229+00:00'
state: \"[x]: it's\"
zone: https://www.googleapis.com/compute/v1/projects/p/zones/z
";
        assert_eq!(document(&value), want);
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        for text in [
            "", " a", "a ", "a\n", "a\n\n", "\na", "  a\nb", "x: y\nz", "\u{1b}", "a\r\nb", "é", "- a", "#",
            "no", "012",
        ] {
            let value = json!({ "a": [{ "b": text, "c": { "d": [text] } }], "e": text });
            let written = document(&value);
            let read: Value = serde_saphyr::from_str(&written).unwrap_or_else(|e| panic!("{e}:\n{written}"));
            assert_eq!(read, value, "{written}");
        }
    }
}
