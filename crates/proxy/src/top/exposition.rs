//! Reading metrics in Prometheus's and OpenMetrics' text format: as much of it as a proxy sends.

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric, with its suffix.
    pub name: String,
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty when there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// The samples in `text`, or the first line that is none.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).ok_or_else(|| format!("this is no metric: {line}"))).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.push((label.to_string(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let word = |text: &str, more: &str| {
        let mut chars = text.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|char| char.is_ascii_alphanumeric() || char == '_' || more.contains(char))
    };
    let good = word(name, ":") && labels.iter().all(|(label, _)| word(label, ""));
    let value = rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
    good.then(|| Sample { name: name.to_string(), labels, value })
}

/// The text up to the quotation mark that ends it, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_refused() {
        let text = "# HELP a b\na_total{pool=\"p\\\"\\\\\\n}\",le=\"+Inf\"} 3\nb 1.5e-5\n# EOF\n";
        let samples = parse(text).expect("good");
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a_total", 3.0));
        assert_eq!((samples[0].label("pool"), samples[0].label("le")), ("p\"\\\n}", "+Inf"));
        assert_eq!((samples[1].value, samples[1].label("pool")), (1.5e-5, ""));
        for bad in ["a", "a b", "a{x=\"y} 1", "a{x} 1", "9a 1", "a{x-y=\"\"} 1", "{} 1", "a{}1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
