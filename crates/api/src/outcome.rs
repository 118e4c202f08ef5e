//! What a request comes to.

use crate::operation::{Operation, Operations, Scope};
use crate::state::State;
use crate::{Call, Failure};
use serde_json::Value;
use std::collections::BTreeSet;
use tombolo_model::{Change, InstanceKey, NetworkKey, Refusal, Timestamp, World};

/// What a request comes to.
#[derive(Debug)]
pub enum Outcome {
    /// The answer.
    Reply(Value),
    /// Something has to change first.
    Commit(Commit),
    /// Something has to be asked of the lab.
    Effect(Effect),
}

/// A question or a deed that is about processes, not about the World.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What an instance has printed on its serial port, from byte `start` on.
    SerialOutput {
        /// The instance.
        instance: InstanceKey,
        /// The first byte wanted.
        start: u64,
    },
}

/// Changes, all of which are made or none, and the operation that reports them.
#[derive(Debug)]
pub struct Commit {
    /// The changes, in their order. With none, the operation is done at once.
    pub changes: Vec<Change>,
    draft: Draft,
}

/// An operation to be.
#[derive(Debug)]
struct Draft {
    method: &'static str,
    api: crate::Api,
    project: String,
    scope: Scope,
    kind: String,
    target: String,
    request_id: Option<String>,
    shape: Shape,
}

impl Draft {
    /// Whether it is an operation that fails, not the request, when the resource is used by another one: Google looks for
    /// the users of a network after it has answered.
    fn is_refused_late(&self) -> bool {
        self.method == "compute.networks.delete"
    }
}

/// What the answer to a commit is.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// The operation itself.
    Operation,
    /// The operation, with what there is to be warned of.
    Warning(Warnings),
    /// Nothing, and the operation at the target's path is forgotten.
    Forget,
    /// The resource as it is then, without an operation.
    Resource(Render),
    /// An operation of the other APIs, with the resource as its response.
    LongRunning {
        /// Its metadata's `@type`.
        metadata: &'static str,
        /// Its response's `@type`.
        response: &'static str,
        render: Render,
    },
}

/// What is to be said of a resource, by its path, after a change that was made all the same.
pub(crate) type Warnings = fn(&World, &str) -> Vec<Value>;

/// A resource on the wire, by its path, after a change.
pub(crate) type Render = fn(&World, &str) -> Value;

impl Commit {
    /// Changes to a resource of Compute. `kind` is the operation's type, such as `insert`; `target` the resource's path. The
    /// operation is of the call's zone or region, if it has one; what is in no project is the organization's.
    pub(crate) fn compute(
        call: &Call<'_>,
        kind: &str,
        target: impl ToString,
        changes: Vec<Change>,
    ) -> Outcome {
        Commit::outcome(call, Commit::scope(call), kind, target.to_string(), changes, Shape::Operation)
    }

    /// As [`Commit::compute`], with warnings.
    pub(crate) fn warning(
        call: &Call<'_>,
        kind: &str,
        target: impl ToString,
        changes: Vec<Change>,
        warnings: Warnings,
    ) -> Outcome {
        let shape = Shape::Warning(warnings);
        Commit::outcome(call, Commit::scope(call), kind, target.to_string(), changes, shape)
    }

    /// Where a call of Compute's has its operation.
    fn scope(call: &Call<'_>) -> Scope {
        match (call.param("zone"), call.param("region")) {
            ("", "") if call.project().is_empty() => Scope::Organization,
            ("", "") => Scope::Global,
            ("", region) => Scope::Region(region.to_owned()),
            (zone, _) => Scope::Zone(zone.to_owned()),
        }
    }

    /// Changes that are answered with the resource itself.
    pub(crate) fn resource(
        call: &Call<'_>,
        target: impl ToString,
        changes: Vec<Change>,
        render: Render,
    ) -> Outcome {
        Commit::outcome(call, Scope::Global, "update", target.to_string(), changes, Shape::Resource(render))
    }

    /// Forgetting the operation at a path.
    pub(crate) fn forget(call: &Call<'_>, path: impl ToString) -> Outcome {
        Commit::outcome(call, Scope::Global, "delete", path.to_string(), Vec::new(), Shape::Forget)
    }

    /// Changes of one of the other APIs, answered with a long-running operation.
    pub(crate) fn long_running(
        call: &Call<'_>,
        scope: Scope,
        target: impl ToString,
        changes: Vec<Change>,
        (metadata, response): (&'static str, &'static str),
        render: Render,
    ) -> Outcome {
        let kind = call.method.id.rsplit('.').next().unwrap_or_default();
        let shape = Shape::LongRunning { metadata, response, render };
        Commit::outcome(call, scope, kind, target.to_string(), changes, shape)
    }

    fn outcome(
        call: &Call<'_>,
        scope: Scope,
        kind: &str,
        target: String,
        changes: Vec<Change>,
        shape: Shape,
    ) -> Outcome {
        let draft = Draft {
            method: call.method.id,
            api: call.method.api,
            project: call.project().to_owned(),
            scope,
            kind: kind.to_owned(),
            target,
            request_id: call.query("requestId").map(str::to_owned),
            shape,
        };
        Outcome::Commit(Commit { changes, draft })
    }

    /// The networks whose peerings it changes: those of Google's allow one such operation at a time, on either side.
    pub fn peers(&self, world: &World) -> BTreeSet<NetworkKey> {
        let by_name = |network: &NetworkKey, name: &str| {
            let peerings = world.networks.get(network).map(|network| network.peerings.as_slice());
            let peering = peerings.unwrap_or_default().iter().find(|peering| peering.name == name);
            [Some(network.clone()), peering.map(|peering| peering.peer.clone())]
        };
        let of = |change: &Change| match change {
            Change::PeeringAdd(spec) => [Some(spec.network.clone()), Some(spec.peer.clone())],
            Change::PeeringUpdate { network, name, .. } | Change::PeeringRemove { network, name } => {
                by_name(network, name)
            }
            Change::ConnectionCreate(spec) => [Some(spec.network.clone()), None],
            Change::ConnectionUpdate { connection, .. } => [Some(connection.network.clone()), None],
            Change::ConnectionDelete(network) => [Some(network.clone()), None],
            _ => [None, None],
        };
        self.changes.iter().flat_map(of).flatten().collect()
    }

    /// The operation that was answered to the same request before: the same method with the same `requestId`.
    pub fn earlier<'s>(&self, state: &'s State) -> Option<&'s Operation> {
        let id = self.draft.request_id.as_deref()?;
        state.operations.by_request(&self.draft.project, self.draft.method, id)
    }

    /// The operation as it begins, and the World as it will be; or why the changes are refused.
    pub fn begin(&self, state: &State, now: Timestamp) -> Result<(World, Operation), Failure> {
        self.begin_from(state.world.clone(), &state.operations, now)
    }

    /// As [`Commit::begin`], of a World that nobody needs as it was.
    pub(crate) fn begin_from(
        &self,
        world: World,
        operations: &Operations,
        now: Timestamp,
    ) -> Result<(World, Operation), Failure> {
        let draft = &self.draft;
        // What is deleted has no id any more afterwards.
        let deletes = self.changes.iter().any(Change::deletes);
        let id_before = deletes.then(|| world.id_of(&draft.target)).flatten();
        let before = draft.is_refused_late().then(|| world.clone());
        let made = self.changes.iter().try_fold(world, |world, change| world.applied(change, now));
        let (world, refused) = match (made, before) {
            (Ok(world), _) => (world, None),
            (Err(used @ Refusal::InUse { .. }), Some(before)) => (before, Some(used.into())),
            (Err(refusal), _) => return Err(refusal.into()),
        };
        let mut operation = operations.new_operation(draft.api, &draft.project, draft.scope.clone(), now);
        operation.method = draft.method.to_owned();
        operation.kind = draft.kind.clone();
        operation.target = draft.target.clone();
        operation.request_id = draft.request_id.clone();
        operation.target_id = world.id_of(&draft.target).or(id_before);
        operation.error = refused;
        if let Shape::LongRunning { metadata, .. } = draft.shape {
            operation.metadata_type = Some(metadata.to_owned());
        }
        Ok((world, operation))
    }

    /// The operation once the packets obey.
    pub fn done(&self, mut operation: Operation, world: &World, now: Timestamp) -> Operation {
        match self.draft.shape {
            Shape::LongRunning { response, render, .. } => {
                let mut value = render(world, &operation.target);
                if let Some(map) = value.as_object_mut() {
                    map.shift_insert(0, "@type".to_owned(), Value::from(response));
                }
                operation.response = Some(value);
            }
            Shape::Warning(warnings) => operation.warnings = warnings(world, &operation.target),
            _ => {}
        }
        operation.end_time = Some(now);
        operation
    }

    /// What the client is answered: the operation, or the resource when there is none.
    pub fn reply(&self, operation: &Operation, world: &World) -> Value {
        match self.draft.shape {
            Shape::Resource(render) => render(world, &operation.target),
            Shape::Forget => Value::Object(Default::default()),
            _ => operation.wire(),
        }
    }

    /// Whether clients may ask for the operation later.
    pub fn is_recorded(&self) -> bool {
        !matches!(self.draft.shape, Shape::Resource(_) | Shape::Forget)
    }

    /// Puts the operation, as it ended, among the others, if it belongs there; or forgets the one that is to go.
    pub fn record(&self, operations: &mut Operations, operation: Operation) {
        match self.draft.shape {
            Shape::Resource(_) => {}
            Shape::Forget => operations.remove(&operation.target),
            _ => operations.put(operation),
        }
    }
}
