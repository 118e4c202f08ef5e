//! A topology file as requests to the API, and as the State that they lead to.

use tombolo_api::{Request, State, after, ask};
use tombolo_model::{Change, Timestamp};
use tombolo_topology::{Located, Topology};

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
pub fn requests(topology: &Topology) -> impl Iterator<Item = Result<(String, Request), SeedError>> {
    topology.changes.iter().map(|Located { value, path, line, column }| {
        let place = format!("{line}:{column}: {path}");
        match ask(value) {
            Some(request) => Ok((place, request)),
            None => Err(SeedError::NoRequest { place, change: Box::new(value.clone()) }),
        }
    })
}

/// The State after every request of a file. Nothing is made real yet: that is done once, for all of it.
pub fn state(topology: &Topology, now: Timestamp) -> Result<State, SeedError> {
    requests(topology).try_fold(State::default(), |state, request| {
        let (place, request) = request?;
        after(state, &request, now).map_err(|failure| SeedError::Refused { place, message: failure.message })
    })
}
