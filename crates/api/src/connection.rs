//! Private services access: Service Networking v1, `servicenetworking.services.connections.*`.
//!
//! What gcloud's `services vpc-peerings` and Terraform's `google_service_networking_connection` ask for. The methods of
//! service producers, who make subnetworks in tenant networks, are Google's own services' and not here.

use crate::failure::Failure;
use crate::operation::Scope;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, project};
use serde_json::{Value, json};
use tombolo_model::connection::PEERING;
use tombolo_model::project::SERVICE_NETWORKING;
use tombolo_model::{Change, Connection, ConnectionSpec, NetworkKey, Refusal, World};

pub(crate) const HANDLERS: Handlers = &[
    ("servicenetworking.services.connections.create", create),
    ("servicenetworking.services.connections.deleteConnection", delete),
    ("servicenetworking.services.connections.list", list),
    ("servicenetworking.services.connections.patch", patch),
];

const METADATA: &str = "type.googleapis.com/google.cloud.servicenetworking.v1.OperationMetadata";
const CONNECTION: &str = "type.googleapis.com/google.cloud.servicenetworking.v1.Connection";
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

/// The one service that networks are connected to; other producers' connections are by agreements with them.
fn check_service(call: &Call<'_>, any: bool) -> Result<(), Failure> {
    match call.param("servicesId") {
        SERVICE_NETWORKING => Ok(()),
        "-" if any => Ok(()),
        other => Err(Failure::unsupported(format_args!("connections to the service '{other}'"))),
    }
}

/// The network that a text names; its project is there by its number, in requests and in answers.
fn network(call: &Call<'_>, field: &str, said: Option<&str>) -> Result<NetworkKey, Failure> {
    let said = said.ok_or_else(|| Failure::bad_request(format!("The field '{field}' is required.")))?;
    let malformed =
        || Refusal::invalid(field, said, "Must be projects/PROJECT_NUMBER/global/networks/NETWORK.");
    let named: NetworkKey = links::path_of(said).parse().map_err(|_| malformed())?;
    let (id, _) = project::find(call, &named.project)?;
    Ok(NetworkKey::new(id, named.name))
}

/// What a body says of a connection.
fn spec(call: &Call<'_>) -> Result<ConnectionSpec, Failure> {
    details::read(call, &[], &["network", "peering", "reservedPeeringRanges", "service"])?;
    let ranges = call.field("reservedPeeringRanges").and_then(Value::as_array).into_iter().flatten();
    // Terraform sends links where it has them, and names otherwise.
    let ranges = ranges.filter_map(Value::as_str).map(|range| links::last(range).to_owned());
    Ok(ConnectionSpec { network: network(call, "network", call.text("network"))?, ranges: ranges.collect() })
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    check_service(call, false)?;
    let spec = spec(call)?;
    Ok(commit(call, spec.network.clone(), Change::ConnectionCreate(spec), CONNECTION))
}

/// PATCH: the ranges. A connection is named by its network, and in the path by its peering's name or a dash.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    check_service(call, true)?;
    check_name(call)?;
    let mask = call.query("updateMask").unwrap_or("reservedPeeringRanges");
    let known = ["reservedPeeringRanges", "reserved_peering_ranges"];
    if let Some(field) = mask.split(',').map(str::trim).find(|field| !known.contains(field)) {
        return Err(Failure::unsupported(format_args!("a change of the field '{field}' of a connection")));
    }
    let spec = spec(call)?;
    let network = spec.network.clone();
    let change = Change::ConnectionUpdate { connection: spec, force: call.flag("force") };
    Ok(commit(call, network, change, CONNECTION))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    check_service(call, false)?;
    check_name(call)?;
    let network = network(call, "consumerNetwork", call.text("consumerNetwork"))?;
    Ok(commit(call, network.clone(), Change::ConnectionDelete(network), EMPTY))
}

fn commit(call: &Call<'_>, network: NetworkKey, change: Change, response: &'static str) -> Outcome {
    Commit::long_running(call, Scope::Service, network, vec![change], (METADATA, response), by_network)
}

fn check_name(call: &Call<'_>) -> Result<(), Failure> {
    match call.param("connectionsId") {
        PEERING | "-" => Ok(()),
        other => Err(Refusal::not_found(format!("services/{SERVICE_NETWORKING}/connections/{other}")).into()),
    }
}

/// The connections of a network: one or none.
fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    check_service(call, true)?;
    let network = network(call, "network", call.query("network"))?;
    tombolo_model::project::require(call.world(), &network.project, SERVICE_NETWORKING)?;
    let found = call.world().connections.get(&network);
    let connections: Vec<Value> =
        found.map(|found| wire(call.world(), &network, found)).into_iter().collect();
    // An empty list is no field, as in any message of protocol buffers.
    Ok(Outcome::Reply(if connections.is_empty() { json!({}) } else { json!({ "connections": connections }) }))
}

fn by_network(world: &World, path: &str) -> Value {
    let network = path.parse::<NetworkKey>().ok();
    let found = network.and_then(|network| Some(wire(world, &network, world.connections.get(&network)?)));
    found.unwrap_or_else(|| json!({}))
}

fn wire(world: &World, network: &NetworkKey, found: &Connection) -> Value {
    let number = world.projects.get(&network.project).map(|project| project::number(project));
    json!({
        "network": format!("projects/{}/global/networks/{}", number.unwrap_or_default(), network.name),
        "peering": PEERING,
        "reservedPeeringRanges": found.ranges,
        "service": format!("services/{SERVICE_NETWORKING}"),
    })
}
