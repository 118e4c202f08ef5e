//! No text makes the parser panic, and every diagnostic points into the text.

use proptest::prelude::*;
use std::sync::LazyLock;
use tombolo_model::Timestamp;
use tombolo_topology::parse;

const ARTICLE: &str = include_str!("../../../examples/article.yaml");

static SCHEMA: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&tombolo_topology::json_schema()).unwrap());

/// Pieces of YAML and of topology files.
const PIECES: &[&str] = &[
    "projects",
    "networks",
    "instances",
    "redis",
    "checks",
    "name",
    "project-i-1",
    "vpc-1",
    "subnetworks",
    "firewalls",
    "allowed",
    "to",
    "from",
    "expect",
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a",
    "*a",
    "!!int ",
    "? ",
    "# ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\t",
    "\r",
    "\u{feff}",
    "\u{0}",
    "\u{85}",
    "\u{2028}",
    "é",
    "🦀",
    "~",
    "null",
    "1",
    "-1",
    "1e9",
    "10.1.0.0/16",
    "0.0.0.0/0",
    "<<",
    "@",
    "`",
    "\\",
    "\\x",
];

fn survives(text: &str) -> Result<(), TestCaseError> {
    let errors = match parse("f.yaml", text) {
        Ok(topology) => topology.world(Timestamp(0)).err().into_iter().collect(),
        Err(errors) => {
            prop_assert!(!errors.is_empty() && errors.len() <= 100);
            errors
        }
    };
    for error in errors {
        let shown = error.to_string();
        prop_assert!(error.line >= 1 && error.column >= 1, "{shown}");
        let characters = error.source_line.chars().count();
        prop_assert!(!error.source_line.is_empty() || !shown.contains('^'), "{shown} {characters}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_characters(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        survives(&pieces.concat())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// A good file with a few stretches replaced by pieces.
    #[test]
    fn a_mutated_file(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), 0usize..12, prop::sample::select(PIECES)), 1..6)
    ) {
        let mut text: Vec<char> = ARTICLE.chars().collect();
        for (at, length, piece) in edits {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        survives(&text)?;
        // What the parser takes fits the schema (which knows less, so the reverse need not hold).
        let value = serde_saphyr::from_str::<serde_json::Value>(&text);
        if let (Ok(_), Ok(value)) = (parse("f.yaml", &text), value) {
            prop_assert!(SCHEMA.is_valid(&value), "{text}");
        }
    }
}
