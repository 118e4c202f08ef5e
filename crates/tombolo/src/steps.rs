//! Steps with an expectation each: how the demo and the checks print.

use crate::output::{bold, fit, green, print, red};
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    title: usize,
    expected: usize,
}

/// What is seen may be longer than what was expected.
const NARROWEST: usize = 22;
/// Longer titles and expectations are cut.
const WIDEST: usize = 56;

impl Layout {
    /// The layout for steps with these titles and expectations.
    pub(crate) fn of<'s>(steps: impl Iterator<Item = (&'s str, &'s str)>) -> Self {
        let wide = |text: &str| text.chars().count().clamp(NARROWEST, WIDEST);
        let start = Layout { title: NARROWEST, expected: NARROWEST };
        steps.fold(start, |layout, (title, expected)| Layout {
            title: layout.title.max(wide(title)),
            expected: layout.expected.max(wide(expected)),
        })
    }

    /// The heading over steps.
    pub(crate) fn heading(self) {
        let Layout { title, expected } = self;
        let text = format!("     {:title$}  {:expected$}  {:expected$}     TIME", "STEP", "EXPECTED", "SEEN");
        print(&format!("{}\n", bold(&text)));
    }

    /// A step as a line.
    pub(crate) fn line(self, step: &Step) {
        let mark = if step.ok { green("ok  ") } else { red("FAIL") };
        let Layout { title, expected } = self;
        let cells =
            [fit(&step.title, title), fit(&step.expected, expected), fit(&step.seen, expected)].join("  ");
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
