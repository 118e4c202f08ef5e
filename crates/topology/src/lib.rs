//! The topology file: a lab as one YAML text, with the names that Google's REST API has.
//!
//! ```text
//!   text --node--> tree with places --form--> file --lower--> Topology { changes, checks }
//!     `-----------------`------------------------`---------> Vec<Diagnostic>   line, column, path
//!                                                  world() --> World, or the Diagnostic of the first refusal
//!   World --export--> text, and what it does not say
//! ```
//!
//! The crate is pure: text in, values out. [`parse`] finds every error of form it can in one go (unknown keys,
//! wrong types, bad addresses, names that are not in the file); [`Topology::world`] then applies the changes one
//! by one, and what the World refuses is pointed at in the file too.
//!
//! The keys are defined once, in the module `file`; the parser and [`json_schema`] both follow from there.

mod check;
mod diagnostic;
mod export;
mod file;
mod form;
mod forwarding;
mod lower;
mod lower_check;
mod managed_zone;
mod names;
mod node;
mod owners;
mod point;
mod router;
mod tags;
mod value;

pub use check::{Check, CheckKind, Probe, Target};
pub use diagnostic::{Diagnostic, closest, nearest};
pub use export::{Export, export};
pub use file::json_schema;

use diagnostic::{Source, Span};
use tombolo_model::{Change, Refusal, Timestamp, World};

/// A topology file that is well-formed.
#[derive(Clone, Debug)]
pub struct Topology {
    /// What makes the lab, in the order in which it can be made: projects, services, networks, subnetworks, tags,
    /// instances, firewalls, routes, peerings, redis, forwarding rules, routers, private zones.
    pub changes: Vec<Located<Change>>,
    /// What must and must not work in it, in the file's order.
    pub checks: Vec<Located<Check>>,
    /// What Google Cloud would accept and nobody is likely to mean, in the file's order; 100 at most.
    pub warnings: Vec<Diagnostic>,
    source: Source,
}

/// A value and the place in the file that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The path of what it comes from: `networks[0].subnetworks[1]`.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Reads a topology file. `file_name` is for the diagnostics only; nothing is opened.
///
/// Never panics, and refuses what is larger than 4 MiB or nested deeper than 32 levels. There is at least one error
/// and at most 100, in the order of the file.
pub fn parse(file_name: &str, text: &str) -> Result<Topology, Vec<Diagnostic>> {
    let source = Source { file: file_name.to_owned(), text: text.to_owned() };
    let root = node::read(&source).map_err(|error| vec![error])?;
    let read = form::Reader::root(&source, &root);
    let lowered = read.and_then(|file: file::File| lower::lower(&file, &source, &root));
    let lower::Lowered { changes, checks, warnings } = lowered.map_err(|mut errors| {
        errors.sort_by_key(|error| (error.line, error.column));
        errors
    })?;
    Ok(Topology { changes, checks, warnings, source })
}

impl Topology {
    /// The World that the file describes, made change by change; or where the first refusal comes from.
    pub fn world(&self, now: Timestamp) -> Result<World, Diagnostic> {
        self.changes.iter().try_fold(World::default(), |world, change| {
            world.applied(&change.value, now).map_err(|refusal| self.refused(change, &refusal))
        })
    }

    /// The diagnostic for a change of this file that a World refused: at the field that is to blame, or at the
    /// resource when none is.
    pub fn refused(&self, change: &Located<Change>, refusal: &Refusal) -> Diagnostic {
        // It was read before, and is not kept for what hardly ever happens.
        let root = match node::read(&self.source) {
            Ok(root) => root,
            Err(error) => return error,
        };
        let path = point::blame(&root, &change.path, &change.value, refusal);
        let span = root.find(&path).map_or(Span::START, |node| node.span);
        self.source.diagnostic(span, &path, refusal.to_string())
    }
}
