//! Steps with an expectation each: how the demo and the checks print.

use crate::output::{fit, green, print, red};
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
    /// Whether the two agree.
    pub(crate) ok: bool,
    /// Milliseconds that it took.
    pub(crate) millis: u64,
}

/// The widths of the columns of titles and of what was expected and seen.
const WIDTHS: [usize; 3] = [42, 34, 34];

/// The heading over steps.
pub(crate) fn heading() {
    let [title, expected, seen] = WIDTHS;
    print(&format!("      {:title$}  {:expected$}  {:seen$}  TIME\n", "STEP", "EXPECTED", "SEEN"));
}

/// A step as a line.
pub(crate) fn line(step: &Step) {
    let mark = if step.ok { green("ok  ") } else { red("FAIL") };
    let [title, expected, seen] = WIDTHS;
    let cells = [fit(&step.title, title), fit(&step.expected, expected), fit(&step.seen, seen)].join("  ");
    print(&format!("{mark} {cells}  {:>5} ms\n", step.millis));
}

/// The last line: `8/8 as expected in 2.1 s`.
pub(crate) fn summary(steps: &[Step], planned: usize, seconds: f64) {
    let good = steps.iter().filter(|step| step.ok).count();
    let text = format!("{good}/{planned} as expected in {seconds:.1} s");
    print(&format!("{}\n", if good == planned { green(&text) } else { red(&text) }));
}
