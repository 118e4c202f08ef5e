//! A topology file as requests to the API, and as the State that they lead to.

use tombolo_api::{Request, State, after, ask};
use tombolo_model::{Change, Timestamp, World};
use tombolo_topology::{Diagnostic, Located, Topology};

/// Why a file did not become a State.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is no request for something in it.
    #[error("{place}: the API has no request to {change}")]
    NoRequest {
        /// Where in the file.
        place: String,
        /// What would be done.
        change: Box<Change>,
    },
    /// A request was refused.
    #[error("{place}: {message}")]
    Refused {
        /// Where in the file.
        place: String,
        /// Why.
        message: String,
    },
}

/// The requests that make what a file describes, in their order, each with the place in the file that it is from.
pub fn requests(topology: &Topology) -> Result<Vec<(String, Request)>, SeedError> {
    let request = |Located { value, path, line, column }: &Located<Change>| {
        let place = format!("{line}:{column}: {path}");
        match ask(value) {
            Some(request) => Ok((place, request)),
            None => Err(SeedError::NoRequest { place, change: Box::new(value.clone()) }),
        }
    };
    topology.changes.iter().map(request).collect()
}

/// The State after every request of a file. Nothing is made real yet: that is done once, for all of it.
pub fn state(topology: &Topology, now: Timestamp) -> Result<State, SeedError> {
    requests(topology)?.iter().try_fold(State::default(), |state, (place, request)| {
        let refused = |failure: tombolo_api::Failure| SeedError::Refused {
            place: place.clone(),
            message: failure.message,
        };
        after(state, request, now).map_err(refused)
    })
}

/// What a lab is to begin with: what a file describes.
#[derive(Debug)]
pub struct First<'a> {
    topology: &'a Topology,
    world: World,
    now: Timestamp,
}

impl<'a> First<'a> {
    /// What a file describes, all of it made now; or where the first refusal of a World comes from.
    pub fn new(topology: &'a Topology, now: Timestamp) -> Result<Self, Diagnostic> {
        let world = topology.world(now)?;
        Ok(Self { topology, world, now })
    }

    /// The World by the file's changes, which is known long before [`First::state`].
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The State by the file's requests. Its World is the same: every request is for one change.
    pub(crate) fn state(&self) -> Result<State, SeedError> {
        state(self.topology, self.now)
    }
}
