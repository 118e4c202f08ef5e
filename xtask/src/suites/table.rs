//! What a suite says: how often each test passed. Pure.

use std::collections::BTreeMap;

/// How often a test of one name passed and failed; some names are used twice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

/// The tests of a run, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) BTreeMap<String, Count>);

impl Table {
    fn add(&mut self, name: String, passed: bool) {
        let count = self.0.entry(name).or_default();
        *(if passed { &mut count.passed } else { &mut count.failed }) += 1;
    }

    /// Takes over the tests of another run.
    pub(crate) fn extend(&mut self, other: Table) {
        for (name, count) in other.0 {
            let sum = self.0.entry(name).or_default();
            (sum.passed, sum.failed) = (sum.passed + count.passed, sum.failed + count.failed);
        }
    }

    /// How many passed.
    pub(crate) fn passed(&self) -> u32 {
        self.0.values().map(|count| count.passed).sum()
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u32 {
        self.0.values().map(|count| count.failed).sum()
    }

    /// Redis's suite on one unit: `[ok]: name (3 ms)`, `[err]: name in tests/unit/x.tcl`.
    pub(crate) fn of_redis(unit: &str, output: &str) -> Table {
        let mut table = Table::default();
        // Behind it, failures are listed a second time.
        for line in plain(output).lines().take_while(|line| line.trim() != "The End") {
            if let Some(rest) = line.strip_prefix("[ok]: ") {
                let name = rest.rsplit_once(" (").map_or(rest, |(name, _)| name);
                table.add(format!("{unit}: {name}"), true);
            } else if let Some(rest) = line.strip_prefix("[err]: ") {
                let name = rest.rsplit_once(" in tests/").map_or(rest, |(name, _)| name);
                table.add(format!("{unit}: {name}"), false);
            } else if line.starts_with("[exception]: ") || line.starts_with("[TIMEOUT]: ") {
                table.add(format!("{unit}: the unit ends"), false);
            }
        }
        table
    }

    /// nose: `test_redis.test_auth.test_auth_basic ... ok`.
    pub(crate) fn of_nose(output: &str) -> Table {
        let mut table = Table::default();
        for (name, verdict) in output.lines().filter_map(|line| line.split_once(" ... ")) {
            table.add(name.to_string(), verdict == "ok");
        }
        table
    }

    /// The compatibility suite: `test: del command passed`.
    pub(crate) fn of_compat(output: &str) -> Table {
        let mut table = Table::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test: ")) {
            match line.rsplit_once(' ') {
                Some((name, "passed")) => table.add(name.to_string(), true),
                Some((name, "failed")) => table.add(name.to_string(), false),
                _ => {}
            }
        }
        table
    }
}

/// Without a terminal's colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_string();
    parts.for_each(|part| plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest)));
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &Table, expected: &[(&str, u32, u32)]) {
        let found: Vec<_> =
            table.0.iter().map(|(name, count)| (name.as_str(), count.passed, count.failed)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn redis() {
        let output = "[\x1b[0;32;49mok\x1b[0m]: A (with brackets) (3 ms)\n[ok]: twice (0 ms)\n[ok]: twice (1 ms)\n\
                      [ignore]: other: Tag: slow denied\n[err]: B in tests/unit/x.tcl\nExpected 1\n[TIMEOUT]: clients\n\n\
                      \x20        The End\n\n[err]: B in tests/unit/x.tcl\n";
        let expected = [
            ("unit/x: A (with brackets)", 1, 0),
            ("unit/x: B", 0, 1),
            ("unit/x: the unit ends", 0, 1),
            ("unit/x: twice", 2, 0),
        ];
        check(&Table::of_redis("unit/x", output), &expected);
    }

    #[test]
    fn nose_and_the_compatibility_suite() {
        let nose = Table::of_nose(
            "test_a.test_b ... ok\ntest_a.test_c ... FAIL\ntest_a.test_d ... ERROR\nFAIL: x\n",
        );
        check(&nose, &[("test_a.test_b", 1, 0), ("test_a.test_c", 0, 1), ("test_a.test_d", 0, 1)]);
        assert_eq!((nose.passed(), nose.failed()), (1, 2));
        let compat = Table::of_compat(
            "connecting\ntest: del command passed\ntest: a b failed\ntest: c version skipped\n",
        );
        check(&compat, &[("a b", 0, 1), ("del command", 1, 0)]);
    }
}
