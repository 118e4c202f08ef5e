//! Why a change was refused: one variant per Google error, with Google's text where it is known.

use crate::key::{InstanceKey, NetworkKey, SubnetworkKey};
use ipnet::Ipv4Net;

/// A change that was not made, and why. `Display` is the message that Google's API gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field of the request has a value that cannot be accepted (400 `invalid`).
    #[error("Invalid value for field 'resource.{field}': '{value}'. {expected}")]
    Invalid {
        /// The field's path inside the resource, as in Google's messages (`networkInterfaces[0].subnetwork`).
        field: String,
        /// The value given.
        value: String,
        /// What was expected instead: a sentence.
        expected: String,
    },
    /// A list of the request has more items than Google takes (413 `fieldSizeTooLarge`).
    #[error(
        "Value for field 'resource.{field}' is too large: maximum size {most} element(s); actual size {size}."
    )]
    TooLarge {
        /// The field's path inside the resource.
        field: String,
        /// The most items that it may have.
        most: usize,
        /// How many it has.
        size: usize,
    },
    /// A text of the request is longer than Google takes (413 `fieldSizeTooLarge`).
    #[error(
        "Value for field 'resource.{field}' is too large: maximum size {most} character(s); actual size {size}."
    )]
    TooLong {
        /// The field's path inside the resource.
        field: String,
        /// The most bytes that it may have.
        most: usize,
        /// How many it has.
        size: usize,
    },
    /// The resource that the change names does not exist (404 `notFound`).
    #[error("The resource '{resource}' was not found")]
    NotFound {
        /// The resource's path.
        resource: String,
    },
    /// The resource exists already (409 `alreadyExists`).
    #[error("The resource '{resource}' already exists")]
    AlreadyExists {
        /// The resource's path.
        resource: String,
    },
    /// The resource is in a state in which that cannot be done (400 `resourceNotReady`).
    #[error("The resource '{resource}' is not ready")]
    NotReady {
        /// The resource's path.
        resource: String,
    },
    /// What makes a VM can be changed only while it is none (400 `resourceNotReady`).
    #[error("The instance '{instance}' must be stopped before its {what} can be changed.")]
    MustBeStopped {
        /// The instance.
        instance: InstanceKey,
        /// What was to be changed.
        what: &'static str,
    },
    /// The resource cannot go while another one uses it (400 `resourceInUseByAnotherResource`).
    #[error("The {kind} resource '{resource}' is already being used by '{user}'")]
    InUse {
        /// Google's name of the kind: `network`, `subnetwork`, `instance`.
        kind: &'static str,
        /// The resource that was to be deleted.
        resource: String,
        /// The resource that uses it.
        user: String,
    },
    /// The new subnetwork overlaps one of the same network (400 `invalid`).
    #[error(
        "Invalid value for field 'resource.ipCidrRange': '{range}'. Invalid IPCidrRange: {range} conflicts with existing subnetwork '{}' in region '{}'.",
        existing.name, existing.region
    )]
    SubnetOverlap {
        /// The range asked for.
        range: Ipv4Net,
        /// The subnetwork that has it.
        existing: SubnetworkKey,
    },
    /// Two networks that are to be peers have overlapping ranges.
    #[error(
        "An IP range in the peer network ({peer_range}) overlaps with an IP range in the local network ({local_range}) allocated by resource ({resource})."
    )]
    PeerOverlap {
        /// The range on the other side.
        peer_range: Ipv4Net,
        /// The range on this side.
        local_range: Ipv4Net,
        /// The resource that has `local_range`.
        resource: SubnetworkKey,
    },
    /// A network and an active peer of its (would-be) peer have overlapping ranges: the peer would import both.
    #[error(
        "An IP range in the local network ({local_range}) allocated by resource ({resource}) overlaps with an IP range ({far_range}) in an active peer of the peer network."
    )]
    PeerOfPeerOverlap {
        /// The range on this side.
        local_range: Ipv4Net,
        /// The resource that has `local_range`.
        resource: SubnetworkKey,
        /// The range two peerings away.
        far_range: Ipv4Net,
    },
    /// An address is taken (400 `IP_IN_USE_BY_ANOTHER_RESOURCE`).
    #[error("IP '{address}' is already being used by another resource.")]
    AddressInUse {
        /// The address asked for.
        address: std::net::Ipv4Addr,
    },
    /// A range has no free address left.
    #[error("IP space of '{subnetwork}' is exhausted.")]
    AddressesExhausted {
        /// The subnetwork that is full.
        subnetwork: SubnetworkKey,
    },
    /// The project has no such network (the text that gcloud users know from a deleted `default`).
    #[error("Project \"{}\" has no network named \"{}\".", .0.project, .0.name)]
    NoSuchNetwork(NetworkKey),
    /// The API is not enabled in the project (403 `SERVICE_DISABLED`).
    #[error(
        "{title} has not been used in project {project} before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/{service}/overview?project={project} then retry."
    )]
    ServiceDisabled {
        /// The API's title, such as `Google Cloud Memorystore for Redis API`.
        title: &'static str,
        /// The service, such as `redis.googleapis.com`.
        service: &'static str,
        /// The project.
        project: String,
    },
    /// A Redis instance needs Private Service Access and the network has none.
    #[error("Google private service access is not enabled. Enable private service access and try again")]
    PrivateServiceAccessMissing,
    /// A managed service's network is neither its project's nor its project's Shared VPC host's.
    #[error(
        "Invalid network name {}. Project {} referenced is not the host project for {project}.",
        network.name, network.project
    )]
    NotTheHost {
        /// The network.
        network: NetworkKey,
        /// The service's project.
        project: String,
    },
    /// A connection to Google's services names a range that its network has not.
    #[error("Allocated IP range '{range}' not found in network.")]
    AllocatedRangeNotFound {
        /// The range's name.
        range: String,
    },
    /// The ranges of a connection to Google's services have no room for another instance.
    #[error(
        "Failed to create subnetwork. Couldn't find free blocks in allocated IP ranges. Please allocate new ranges for this service provider."
    )]
    AllocatedRangesExhausted,
    /// A network has a connection to Google's services already, with other ranges.
    #[error("Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection.")]
    ConnectionHasOtherRanges,
    /// A connection to Google's services cannot go while instances are behind it.
    #[error(
        "Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, etc.) are still using this connection."
    )]
    ConnectionInUse,
    /// A Redis instance's authorized network is elsewhere.
    #[error("authorized_network must exist in the same project as redis instance")]
    AuthorizedNetworkElsewhere,
    /// A project cannot stop being a Shared VPC's host while others use it (400 `badRequest`).
    #[error("Cannot disable project as a shared VPC host because it has active service projects.")]
    HostHasServiceProjects,
    /// What has something in it cannot go (400 `containerNotEmpty`).
    #[error("The resource named '{resource}' cannot be deleted because it contains one or more '{what}'.")]
    NotEmpty {
        /// The resource's name.
        resource: String,
        /// What is in it.
        what: &'static str,
    },
    /// What was to be replaced or deleted is not as the client has it (412 `conditionNotMet`).
    #[error("Precondition not met for '{field}'.")]
    PreconditionNotMet {
        /// What in the request.
        field: String,
    },
    /// A limit of Google's is reached (403 `quotaExceeded`).
    #[error("Quota '{quota}' exceeded. Limit: {limit}.0")]
    QuotaExceeded {
        /// The quota's name.
        quota: &'static str,
        /// Its limit.
        limit: usize,
    },
}

impl Refusal {
    /// An [`Refusal::Invalid`].
    pub fn invalid(field: &str, value: impl ToString, expected: impl ToString) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.to_string(), expected: expected.to_string() }
    }

    /// A [`Refusal::NotFound`].
    pub fn not_found(resource: impl ToString) -> Self {
        Self::NotFound { resource: resource.to_string() }
    }

    /// An [`Refusal::AlreadyExists`].
    pub fn already_exists(resource: impl ToString) -> Self {
        Self::AlreadyExists { resource: resource.to_string() }
    }

    /// An [`Refusal::InUse`].
    pub fn in_use(kind: &'static str, resource: impl ToString, user: impl ToString) -> Self {
        Self::InUse { kind, resource: resource.to_string(), user: user.to_string() }
    }

    /// The field of the resource that the refusal is about, where it is about one; for pointing at a line.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } | Self::TooLarge { field, .. } | Self::TooLong { field, .. } => {
                Some(field)
            }
            Self::SubnetOverlap { .. } => Some("ipCidrRange"),
            Self::AuthorizedNetworkElsewhere | Self::NotTheHost { .. } => Some("authorizedNetwork"),
            Self::AllocatedRangeNotFound { .. } => Some("reservedPeeringRanges"),
            _ => None,
        }
    }
}
