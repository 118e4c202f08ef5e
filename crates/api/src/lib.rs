//! Google's REST APIs over a World.
//!
//! ```text
//!  Request ─▶ methods: which of Google's methods ─▶ schema: is the body one ─▶ a noun's handler
//!                                                                                │
//!             Failure (Google's words and body) ◀── Outcome ◀───────────────────┘
//!                                                    ├ Reply   what is there
//!                                                    ├ Commit  changes, and the operation that reports them
//!                                                    └ Effect  what only the lab can answer
//! ```
//!
//! Everything here is pure: a request and a [`State`] in, an [`Outcome`] out; the time is an argument. Whoever owns the
//! lab carries a [`Commit`] out and answers with its operation when the packets obey. One file per noun, with the
//! name that the noun has in `tombolo-model`; each lists the methods that it implements.

pub mod ask;
pub mod call;
pub mod failure;
pub mod fields;
pub mod grpc;
pub mod links;
pub mod methods;
pub mod operation;
pub mod outcome;
pub mod request;
pub mod schema;
pub mod state;

mod address;
mod connection;
mod details;
mod disk;
mod filter;
mod firewall;
mod firewall_policy;
mod folder;
mod forwarding_rule;
mod hierarchical_policy;
mod image;
mod instance;
mod interface;
mod ipv6;
mod list;
mod managed_zone;
mod metadata;
mod network;
mod next_hop;
mod numbered;
mod peering;
mod project;
mod record_set;
mod redis;
mod route;
mod router;
mod service;
mod service_attachment;
mod shared_vpc;
mod subnetwork;
mod tag_binding;
mod tag_key;
mod tag_value;
mod target_instance;
mod zone;

pub use ask::{after, ask};
pub use call::Call;
pub use failure::Failure;
pub use instance::serial_port_output;
pub use methods::{Api, Method};
pub use operation::{Operation, Operations, Scope};
pub use outcome::{Commit, Effect, Outcome};
pub use request::{Request, Verb};
pub use state::State;

use std::collections::HashMap;
use std::sync::LazyLock;

/// Answers a request, or says what has to be done first.
pub fn answer(state: &State, request: &Request, now: tombolo_model::Timestamp) -> Result<Outcome, Failure> {
    let (method, mut params) = methods::find(request)?;
    numbered::resolve(state, request, method, &mut params, now);
    let call = Call::new(state, request, method, params, now)?;
    let handler = handler(method.id).ok_or_else(|| Failure::not_implemented(method))?;
    handler(&call)
}

/// What answers a method.
pub(crate) type Handler = fn(&Call<'_>) -> Result<Outcome, Failure>;

/// A noun's methods.
pub(crate) type Handlers = &'static [(&'static str, Handler)];

/// Every noun's.
const NOUNS: &[Handlers] = &[
    address::HANDLERS,
    connection::HANDLERS,
    disk::HANDLERS,
    firewall::HANDLERS,
    firewall_policy::HANDLERS,
    folder::HANDLERS,
    forwarding_rule::HANDLERS,
    hierarchical_policy::HANDLERS,
    image::HANDLERS,
    instance::HANDLERS,
    interface::HANDLERS,
    managed_zone::HANDLERS,
    network::HANDLERS,
    operation::HANDLERS,
    peering::HANDLERS,
    project::HANDLERS,
    record_set::HANDLERS,
    redis::HANDLERS,
    route::HANDLERS,
    router::HANDLERS,
    service::HANDLERS,
    service_attachment::HANDLERS,
    shared_vpc::HANDLERS,
    subnetwork::HANDLERS,
    tag_binding::HANDLERS,
    tag_key::HANDLERS,
    tag_value::HANDLERS,
    target_instance::HANDLERS,
    zone::HANDLERS,
];

/// An instance as Compute shows it.
pub fn instance(world: &tombolo_model::World, key: &tombolo_model::InstanceKey) -> Option<serde_json::Value> {
    world.instances.get(key).map(|found| instance::wire(world, key, found))
}

/// The image that an instance's boot disk was made from, such as `projects/P/global/images/I`.
pub fn boot_image(world: &tombolo_model::World, key: &tombolo_model::InstanceKey) -> Option<String> {
    instance::boot_image(world, key)
}

/// A project's number as Google's APIs show it.
pub fn project_number(project: &tombolo_model::Project) -> String {
    project::number(project)
}

/// Whether a method is answered; one that is not is refused with 501.
pub fn implements(id: &str) -> bool {
    handler(id).is_some()
}

fn handler(id: &str) -> Option<Handler> {
    static BY_ID: LazyLock<HashMap<&str, Handler>> =
        LazyLock::new(|| NOUNS.iter().flat_map(|noun| noun.iter().copied()).collect());
    BY_ID.get(id).copied()
}
