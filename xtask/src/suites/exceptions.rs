//! The tests that pass with the peer and not with the proxy, each with its reason; and the
//! comparison that knows them. Pure.

use super::table::Table;

/// A test that need not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// The runs that it is for.
    runs: Vec<String>,
    /// The test's name in the table.
    pub(crate) test: String,
    reason: String,
}

/// Reads a list: `[runs] test`, then its reason in indented lines. The word `skip` among the runs
/// keeps the test from being run at all, where its failure would not let others run.
pub(crate) fn parse(text: &str) -> Vec<Exception> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if let Some((runs, test)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            let runs = runs.split(' ').map(str::to_string).collect();
            exceptions.push(Exception { runs, test: test.to_string(), reason: String::new() });
        } else if let Some(last) = exceptions.last_mut() {
            last.reason.push_str(line.trim());
            last.reason.push(' ');
        }
    }
    exceptions
}

impl Exception {
    /// Whether it is for this run.
    pub(crate) fn is_for(&self, run: &str) -> bool {
        self.runs.iter().any(|own| own == run)
    }

    /// Whether the test is not to be run.
    pub(crate) fn is_skipped(&self) -> bool {
        self.is_for("skip")
    }
}

/// What is wrong with a run through the proxy, beside the same run without it.
pub(crate) fn complaints(direct: &Table, through: &Table, exceptions: &[&Exception]) -> Vec<String> {
    let passes = |test: &str| {
        let count = |table: &Table| table.0.get(test).copied().unwrap_or_default().passed;
        count(through) >= count(direct)
    };
    let mut complaints = Vec::new();
    for (test, count) in &direct.0 {
        let listed = exceptions.iter().any(|exception| exception.test == *test);
        if count.passed > 0 && !listed && !passes(test) {
            complaints.push(format!("fails, and passes without the proxy: {test}"));
        }
    }
    for exception in exceptions {
        if exception.reason.is_empty() {
            complaints.push(format!("is listed without a reason: {}", exception.test));
        } else if exception.is_skipped() {
            continue;
        } else if direct.0.get(&exception.test).is_none_or(|count| count.passed == 0) {
            complaints
                .push(format!("is listed, and does not pass without the proxy either: {}", exception.test));
        } else if passes(&exception.test) {
            complaints.push(format!("is listed, and passes: {}", exception.test));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "# why\n[a] known\n    It is so,\n    and stays so.\n[a b skip] never run\n    Hangs.\n[a] bare\n";

    fn table(passed: &[&str], failed: &[&str]) -> Table {
        let line = |verdict: &'static str| move |name: &&str| format!("{name} ... {verdict}\n");
        let passed: String = passed.iter().map(line("ok")).collect();
        Table::of_nose(&(passed + &failed.iter().map(line("FAIL")).collect::<String>()))
    }

    #[test]
    fn a_list_is_read() {
        let list = parse(LIST);
        let names: Vec<_> = list.iter().map(|entry| (entry.test.as_str(), entry.is_for("b"))).collect();
        assert_eq!(names, [("known", false), ("never run", true), ("bare", false)]);
        assert!(list[1].is_skipped() && !list[0].is_skipped());
    }

    #[test]
    fn what_fails_unlisted_and_what_is_listed_wrongly() {
        let list = parse(LIST);
        let list: Vec<&Exception> = list.iter().collect();
        let direct = table(&["known", "twice", "twice", "gone", "bare"], &["own fault"]);
        let found = complaints(&direct, &table(&["twice"], &["known", "own fault", "twice", "bare"]), &list);
        assert_eq!(
            found,
            [
                "fails, and passes without the proxy: gone",
                "fails, and passes without the proxy: twice",
                "is listed without a reason: bare"
            ]
        );
        let all = table(&["known", "twice", "twice", "gone"], &["bare"]);
        assert_eq!(
            complaints(&direct, &all, &list[..1]),
            ["is listed, and passes: known", "fails, and passes without the proxy: bare"]
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
        );
        assert_eq!(
            complaints(&table(&[], &["known"]), &all, &list[..1]),
            ["is listed, and does not pass without the proxy either: known"]
        );
    }

    #[test]
    fn the_lists_themselves_have_reasons() {
        for text in [super::super::REDIS, super::super::TWEMPROXY] {
            let list = parse(text);
            assert!(!list.is_empty());
            assert!(list.iter().all(|exception| exception.reason.len() > 20), "{list:?}");
        }
    }
}
