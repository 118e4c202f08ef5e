//! Steps with an expectation each: how the demo and the checks print.

use crate::output::{bold, columns, fit, green, line, print, red};
use serde::Serialize;

/// A step and what came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Its number, from 1.
    pub(crate) id: usize,
    /// What is done.
    pub(crate) title: String,
    /// What should happen.
    pub(crate) expected: String,
    /// What did.
    pub(crate) seen: String,
    /// Why that, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// Whether the two agree.
    pub(crate) ok: bool,
    /// Milliseconds that it took.
    pub(crate) millis: u64,
}

/// The widths of the columns, which are known before the first step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    title: usize,
    /// Of what is expected and of what is seen.
    outcome: usize,
    /// Whether there is a column of what was expected. Of a step that failed it is told in any case.
    expected: bool,
    /// Whether what is longer is cut.
    cut: bool,
}

/// What is seen may be longer than what was expected.
const ROOMY: usize = 22;
/// The least for an outcome: `unreachable`.
const NARROWEST: usize = 11;
/// The least for a title beside both outcomes, and with one.
const TITLES: [usize; 2] = [30, 10];
/// The mark before a step, and the time after it, with their gaps.
const AROUND: usize = 5 + 2 + 7;

impl Layout {
    /// The layout for steps with these titles and expectations, on what stdout is.
    pub(crate) fn of<'s>(steps: impl Iterator<Item = (&'s str, &'s str)>) -> Self {
        Self::within(columns(), steps)
    }

    /// The same within so many columns: whole where there is room, with titles cut where that is enough, and else without
    /// what is expected.
    fn within<'s>(columns: Option<usize>, steps: impl Iterator<Item = (&'s str, &'s str)>) -> Self {
        let wide = |text: &str| text.chars().count();
        let (title, outcome) = steps.fold((ROOMY, NARROWEST), |(title, outcome), (one, other)| {
            (title.max(wide(one)), outcome.max(wide(other)))
        });
        let Some(columns) = columns else {
            return Layout { title, outcome: outcome.max(ROOMY), expected: true, cut: false };
        };
        let all = |title: usize, outcome: usize| AROUND + title + 2 * (outcome + 2);
        for outcome in [outcome.max(ROOMY), outcome] {
            if all(title, outcome) <= columns {
                return Layout { title, outcome, expected: true, cut: true };
            }
        }
        if all(TITLES[0], outcome) <= columns {
            return Layout { title: columns - all(0, outcome), outcome, expected: true, cut: true };
        }
        let room = columns.saturating_sub(AROUND + 2);
        let outcome = outcome.min(room.saturating_sub(title).max(room / 2)).max(NARROWEST);
        let title = title.min(room.saturating_sub(outcome).max(TITLES[1]));
        Layout { title, outcome, expected: false, cut: true }
    }

    /// A line of cells.
    fn cells(self, title: &str, expected: &str, seen: &str) -> String {
        let cell = |text: &str, width: usize| {
            if self.cut { fit(text, width) } else { format!("{:width$}", line(text)) }
        };
        let expected = self.expected.then(|| cell(expected, self.outcome));
        let cells = [Some(cell(title, self.title)), expected, Some(cell(seen, self.outcome))];
        cells.into_iter().flatten().collect::<Vec<_>>().join("  ")
    }

    /// The heading over steps.
    pub(crate) fn heading(self) {
        let text = format!("     {}     TIME", self.cells("STEP", "EXPECTED", "SEEN"));
        print(&format!("{}\n", bold(&text)));
    }

    /// A step as a line.
    pub(crate) fn line(self, step: &Step) {
        let mark = if step.ok { green("ok  ") } else { red("FAIL") };
        let cells = self.cells(&step.title, &step.expected, &step.seen);
        print(&format!("{mark} {cells}  {:>4} ms\n", step.millis));
        // What was cut is what one needs to know of a step that failed.
        if !step.ok {
            let why = step.why.as_ref().map(|why| format!("     why:      {why}\n"));
            let why = why.unwrap_or_default();
            print(&format!("     expected: {}\n     seen:     {}\n{why}", step.expected, step.seen));
        }
    }
}

/// The last line: `8/8 as expected in 2.1 s`.
pub(crate) fn summary(steps: &[Step], planned: usize, seconds: f64) {
    let good = steps.iter().filter(|step| step.ok).count();
    let text = format!("{good}/{planned} as expected in {seconds:.1} s");
    print(&format!("{}\n", if good == planned { green(&text) } else { red(&text) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fit_their_terminal() {
        let layout =
            |columns, title: &str, expected: &str| Layout::within(columns, [(title, expected)].into_iter());
        let width = |layout: Layout| {
            let cells = layout.cells(&"t".repeat(200), &"e".repeat(200), &"s".repeat(200));
            format!("ok   {cells}  1000 ms").chars().count()
        };
        let (long, demo) = ("t".repeat(100), "10.34.175.91:6379 READY, ACTIVE");
        // All of it, where there is room and where nobody counts.
        assert_eq!(layout(Some(400), &long, "OK"), Layout { cut: true, ..layout(None, &long, "OK") });
        assert!(layout(None, &long, "OK").cells(&long, "", "").contains(&long));
        for columns in [40, 60, 80, 100, 120, 160] {
            for (title, expected) in
                [("short", "reachable"), (&long, "reachable"), ("short", demo), (&long, &long)]
            {
                let layout = layout(Some(columns), title, expected);
                assert!(width(layout) <= columns, "{columns} {layout:?}");
            }
        }
        assert!(layout(Some(80), &long, "unreachable").expected);
        assert_eq!(
            layout(Some(80), &"t".repeat(33), demo),
            Layout { title: 33, outcome: 31, expected: false, cut: true }
        );
    }
}
