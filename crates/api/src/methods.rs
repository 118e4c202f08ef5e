//! Which of Google's methods a request is: the table of all, and the look-up by host, verb and path.
//!
//! ```text
//!  redis.googleapis.com  /v1/projects/p/locations/r/instances         the host says which API
//!  127.0.0.1:8080        /redis/v1/projects/p/locations/r/instances   the first segment says it
//!  127.0.0.1:8080        /v1/projects/p                               nobody says it: the first API with such a path
//! ```

use crate::failure::Failure;
use crate::request::{Request, Verb, decode};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use tombolo_model::region::Region;

/// One of Google's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Compute Engine, v1.
    Compute,
    /// Cloud Resource Manager, v1.
    ResourceManagerV1,
    /// Cloud Resource Manager, v2: folders alone, as gcloud asks for them.
    ResourceManagerV2,
    /// Cloud Resource Manager, v3.
    ResourceManagerV3,
    /// Service Usage, v1.
    ServiceUsage,
    /// Memorystore for Redis, v1.
    Redis,
    /// Cloud DNS, v1.
    Dns,
    /// Service Networking, v1.
    ServiceNetworking,
    /// Cloud Billing, v1: whether a project has an account, and no more.
    CloudBilling,
}

impl Api {
    /// Every one, in the order in which a path without a host is looked for.
    pub const ALL: [Api; 9] = [
        Api::Compute,
        Api::ResourceManagerV1,
        Api::ResourceManagerV2,
        Api::ResourceManagerV3,
        Api::ServiceUsage,
        Api::Redis,
        Api::Dns,
        Api::ServiceNetworking,
        Api::CloudBilling,
    ];

    /// Its name and version in discovery.
    pub fn name(self) -> &'static str {
        match self {
            Api::Compute => "compute.v1",
            Api::ResourceManagerV1 => "cloudresourcemanager.v1",
            Api::ResourceManagerV2 => "cloudresourcemanager.v2",
            Api::ResourceManagerV3 => "cloudresourcemanager.v3",
            Api::ServiceUsage => "serviceusage.v1",
            Api::Redis => "redis.v1",
            Api::Dns => "dns.v1",
            Api::ServiceNetworking => "servicenetworking.v1",
            Api::CloudBilling => "cloudbilling.v1",
        }
    }

    /// The first label of its host, which is also the first segment of its paths on a host of our own.
    fn label(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

/// A method.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its API.
    pub api: Api,
    /// Its id, such as `compute.networks.insert`.
    pub id: &'static str,
    /// Its HTTP method.
    pub verb: Verb,
    path: Vec<Segment>,
    /// The schema of its body.
    pub request: Option<&'static str>,
    /// The schema of its answer.
    pub response: Option<&'static str>,
    /// The query parameters that it has beside those of every method.
    pub query: Vec<&'static str>,
}

impl Method {
    /// The last parameter of its path, and which of the path's segments it is.
    pub(crate) fn last_parameter(&self) -> Option<(usize, &'static str)> {
        self.path.iter().enumerate().rev().find_map(|(at, segment)| match segment {
            Segment::Parameter(name, _) => Some((at, *name)),
            Segment::Literal(_) => None,
        })
    }
}

/// A part of a path between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Itself.
    Literal(&'static str),
    /// A parameter, with what follows it (`:enable`, or nothing).
    Parameter(&'static str, &'static str),
}

impl Segment {
    fn parse(text: &'static str) -> Segment {
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, suffix)) => Segment::Parameter(name, suffix),
            None => Segment::Literal(text),
        }
    }
}

/// The values of a path's parameters by name, decoded.
pub type Params = BTreeMap<&'static str, String>;

static METHODS: LazyLock<Vec<Method>> =
    LazyLock::new(|| include_str!("../google/methods.tsv").lines().skip(1).filter_map(parse).collect());

fn parse(line: &'static str) -> Option<Method> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let api = next()?;
    let api = Api::ALL.into_iter().find(|known| known.name() == api)?;
    let (id, verb, path) = (next()?, Verb::parse(next()?)?, next()?);
    let schema = |name: &'static str| (name != "-").then_some(name);
    Some(Method {
        api,
        id,
        verb,
        path: path.trim_start_matches('/').split('/').map(Segment::parse).collect(),
        request: schema(next()?),
        response: schema(next()?),
        query: next().unwrap_or_default().split(',').filter(|name| !name.is_empty()).collect(),
    })
}

/// The methods of an API whose paths have so many segments, in the order of the table.
static BY_LENGTH: LazyLock<BTreeMap<(Api, usize), Vec<&'static Method>>> = LazyLock::new(|| {
    let mut map: BTreeMap<_, Vec<_>> = BTreeMap::new();
    METHODS.iter().for_each(|method| map.entry((method.api, method.path.len())).or_default().push(method));
    map
});

/// Every method, in the order of the table.
pub fn all() -> &'static [Method] {
    &METHODS
}

/// The method that a request is, and the parameters in its path.
pub fn find(request: &Request) -> Result<(&'static Method, Params), Failure> {
    let path = request.path.trim_matches('/');
    let label = everywhere(request.host.split(['.', ':']).next().unwrap_or_default());
    let named = |label: &str| Api::ALL.into_iter().filter(|api| api.label() == label).collect::<Vec<_>>();
    // Of Google's own hosts, `www` has several APIs by their paths, and every other one API.
    let is_googles = request.host.split(':').next().is_some_and(|host| host.ends_with(".googleapis.com"));
    if is_googles && label != "www" && named(label).is_empty() {
        return Err(Failure::unsupported(format_args!("the API of the host '{}'", request.host)));
    }
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    // Compute's own paths begin with its name already, and so do those of Cloud DNS.
    let (apis, path) = match (named(label), named(first)) {
        (by_host, _) if !by_host.is_empty() => (by_host, path),
        (_, by_path) if by_path == [Api::Compute] || by_path == [Api::Dns] => (by_path, path),
        (_, by_path) if !by_path.is_empty() => (by_path, rest),
        _ => (Api::ALL.to_vec(), path),
    };
    let segments: Vec<Cow<'_, str>> = path.split('/').map(decode).collect();
    let of_length =
        || apis.iter().filter_map(|api| BY_LENGTH.get(&(*api, segments.len()))).flatten().copied();
    let mut best: Option<(&Method, Params)> = None;
    for method in of_length().filter(|method| method.verb == request.verb) {
        let Some(params) = matched(&method.path, &segments) else { continue };
        // `services:batchEnable` is more exact than `{servicesId}`, and has fewer parameters.
        if best.as_ref().is_none_or(|(_, found)| params.len() < found.len()) {
            best = Some((method, params));
        }
    }
    best.ok_or_else(|| {
        let other_verb = of_length().any(|method| matched(&method.path, &segments).is_some());
        let missing = missing(&segments).filter(|_| apis.contains(&Api::Compute));
        match missing {
            Some(noun) => Failure::unsupported(format_args!("'{noun}' of Compute Engine")),
            None => Failure::no_such_method(request, other_verb),
        }
    })
}

/// Resources of Compute Engine of which no method is known here. Source: the reference of Compute Engine's API.
const MISSING: &[&str] = &[
    "autoscalers",
    "backendBuckets",
    "backendServices",
    "commitments",
    "externalVpnGateways",
    "futureReservations",
    "globalPublicDelegatedPrefixes",
    "healthCheckServices",
    "healthChecks",
    "httpHealthChecks",
    "httpsHealthChecks",
    "instanceGroupManagers",
    "instanceGroups",
    "instantSnapshots",
    "interconnectAttachments",
    "interconnectLocations",
    "interconnects",
    "licenseCodes",
    "machineImages",
    "networkEdgeSecurityServices",
    "nodeGroups",
    "nodeTemplates",
    "nodeTypes",
    "notificationEndpoints",
    "publicAdvertisedPrefixes",
    "publicDelegatedPrefixes",
    "reservations",
    "resourcePolicies",
    "securityPolicies",
    "sslCertificates",
    "sslPolicies",
    "storagePools",
    "targetGrpcProxies",
    "targetHttpProxies",
    "targetHttpsProxies",
    "targetPools",
    "targetSslProxies",
    "targetTcpProxies",
    "targetVpnGateways",
    "urlMaps",
    "vpnGateways",
];

/// The resource of Compute's that a path is about, if it is one of [`MISSING`]: to who reads it, that it is not found would
/// mean that it was deleted.
fn missing<'p>(segments: &'p [Cow<'_, str>]) -> Option<&'p str> {
    let projects = segments.iter().position(|segment| segment == "projects")?;
    let noun = match segments.get(projects + 2)?.as_ref() {
        "global" | "aggregated" => segments.get(projects + 3)?,
        "regions" | "zones" => segments.get(projects + 4)?,
        _ => return None,
    };
    MISSING.contains(&noun.as_ref()).then_some(noun.as_ref())
}

/// Resource Manager's label of its host in a region or zone, which is as good as the one everywhere
/// (`us-central1-a-cloudresourcemanager`); any other label as it is.
fn everywhere(label: &str) -> &str {
    let manager = Api::ResourceManagerV3.label();
    let place = label.strip_suffix(manager).and_then(|place| place.strip_suffix('-'));
    let known = |place: &str| Region::find(place).is_some() || Region::of_zone(place).is_some();
    if place.is_some_and(known) { manager } else { label }
}

fn matched(path: &[Segment], segments: &[Cow<'_, str>]) -> Option<Params> {
    let both = || path.iter().zip(segments);
    // Paths begin alike, and end in what they are about.
    let otherwise = |(want, have): (&Segment, &Cow<'_, str>)| matches!(want, Segment::Literal(literal) if literal != have);
    if path.len() != segments.len() || both().rev().any(otherwise) {
        return None;
    }
    let mut params = Params::new();
    for (want, have) in both() {
        let Segment::Parameter(name, suffix) = want else { continue };
        let value = have.strip_suffix(suffix)?;
        // A colon belongs to the method, except in names such as `domain.com:project`.
        if value.is_empty() || (suffix.is_empty() && is_custom(have)) {
            return None;
        }
        params.insert(name, value.to_owned());
    }
    Some(params)
}

/// Whether a segment ends in a custom verb, such as `:enable`.
fn is_custom(segment: &str) -> bool {
    segment.rsplit_once(':').is_some_and(|(_, verb)| {
        let suffix = |segment: &Segment| match segment {
            Segment::Parameter(_, suffix) => suffix.strip_prefix(':') == Some(verb),
            Segment::Literal(literal) => literal.rsplit_once(':').is_some_and(|(_, custom)| custom == verb),
        };
        METHODS.iter().any(|method| method.path.last().is_some_and(suffix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn found(host: &str, verb: Verb, target: &str) -> Result<(&'static str, Vec<String>), u16> {
        let request = Request::new(host, verb, target, Value::Null);
        find(&request)
            .map(|(method, params)| (method.id, params.into_values().collect()))
            .map_err(|failure| failure.code)
    }

    #[test]
    fn a_request_is_the_method_that_host_verb_and_path_say() {
        let local = "127.0.0.1:8080";
        for (host, verb, target, id) in [
            (local, Verb::Get, "/compute/v1/projects/p/global/networks", "compute.networks.list"),
            ("compute.googleapis.com", Verb::Get, "/compute/v1/projects/p", "compute.projects.get"),
            ("www.googleapis.com", Verb::Get, "/compute/v1/projects/p", "compute.projects.get"),
            (
                local,
                Verb::Get,
                "/redis/v1/projects/p/locations/r/instances/i",
                "redis.projects.locations.instances.get",
            ),
            (
                "redis.googleapis.com",
                Verb::Get,
                "/v1/projects/p/locations/-/instances",
                "redis.projects.locations.instances.list",
            ),
            (
                local,
                Verb::Post,
                "/serviceusage/v1/projects/p/services/redis.googleapis.com:enable",
                "serviceusage.services.enable",
            ),
            (
                local,
                Verb::Post,
                "/serviceusage/v1/projects/p/services:batchEnable",
                "serviceusage.services.batchEnable",
            ),
            (local, Verb::Get, "/dns/v1/projects/p/managedZones", "dns.managedZones.list"),
            ("dns.googleapis.com", Verb::Get, "/dns/v1/projects/p/managedZones/z", "dns.managedZones.get"),
            (local, Verb::Get, "/v1/projects/p", "cloudresourcemanager.projects.get"),
            (local, Verb::Get, "/cloudresourcemanager/v3/projects/p", "cloudresourcemanager.projects.get"),
            (local, Verb::Get, "/v1/projects/p/services", "serviceusage.services.list"),
            (
                "us-central1-a-cloudresourcemanager.googleapis.com:443",
                Verb::Delete,
                "/v3/tagBindings/%2F%2Fx%2Fy/tagValues/1",
                "cloudresourcemanager.tagBindings.delete",
            ),
            (
                "us-central1-cloudresourcemanager.googleapis.com",
                Verb::Get,
                "/v3/tagKeys/namespaced?name=a/b",
                "cloudresourcemanager.tagKeys.getNamespaced",
            ),
        ] {
            assert_eq!(found(host, verb, target).map(|(id, _)| id), Ok(id), "{target}");
        }
        let (_, params) =
            found(local, Verb::Get, "/compute/v1/projects/a%3Ab/zones/z/instances/i").expect("a method");
        assert_eq!(params, ["i", "a:b", "z"]);
    }

    #[test]
    fn what_is_no_method_is_not_found() {
        for (verb, target, code) in [
            (Verb::Get, "/compute/v1/projects/p/global/nonsense", 404),
            (Verb::Get, "/", 404),
            (Verb::Get, "/compute/v1/projects//global/networks", 404),
            (Verb::Put, "/compute/v1/projects/p/global/networks", 404),
            (Verb::Post, "/serviceusage/v1/projects/p/services/x:nonsense", 404),
        ] {
            assert_eq!(found("localhost", verb, target), Err(code), "{target}");
        }
        // Another of Google's APIs is not taken for one of these.
        assert_eq!(found("mars-1-cloudresourcemanager.googleapis.com", Verb::Get, "/v3/tagKeys/1"), Err(501));
        assert_eq!(found("storage.googleapis.com:443", Verb::Get, "/v1/projects/p"), Err(501));
    }

    #[test]
    fn the_table_is_whole() {
        assert_eq!(all().len() + 1, include_str!("../google/methods.tsv").lines().count());
    }
}
