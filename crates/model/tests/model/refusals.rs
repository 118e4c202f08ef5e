//! Every refusal, with the text that a user reads.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    empty project-2
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    vm vm-1 subnet-1
    allow rule-1 vpc-1 tcp
    route route-1 vpc-1 192.168.0.0/16 gateway";

const REFUSALS: &[(&str, &str)] = &[
    // Projects and services.
    ("empty project-1", "The resource 'projects/project-1' already exists"),
    (
        "empty p",
        "Invalid value for field 'resource.project_id': 'p'. Must be 6 to 30 lowercase letters, digits or hyphens, \
         start with a letter and not end with a hyphen",
    ),
    ("enable compute.googleapis.com project-9", "The resource 'projects/project-9' was not found"),
    ("enable mars.googleapis.com project-1", "The resource 'services/mars.googleapis.com' was not found"),
    (
        "network project-2/vpc-1",
        "Compute Engine API has not been used in project project-2 before or it is disabled. Enable it by visiting \
         https://console.developers.google.com/apis/api/compute.googleapis.com/overview?project=project-2 then retry.",
    ),
    // Networks and subnetworks.
    ("network vpc-1", "The resource 'projects/project-1/global/networks/vpc-1' already exists"),
    (
        "network Vpc",
        "Invalid value for field 'resource.name': 'Vpc'. Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'",
    ),
    (
        "network vpc-2 mtu=1299",
        "Invalid value for field 'resource.mtu': '1299'. Must be between 1300 and 8896.",
    ),
    ("delete network vpc-9", "The resource 'projects/project-1/global/networks/vpc-9' was not found"),
    (
        "subnet subnet-1 vpc-1 10.9.0.0/16",
        "The resource 'projects/project-1/regions/us-central1/subnetworks/subnet-1' already exists",
    ),
    (
        "subnet s vpc-1 10.1.9.0/24",
        "Invalid value for field 'resource.ipCidrRange': '10.1.9.0/24'. Invalid IPCidrRange: 10.1.9.0/24 conflicts with \
         existing subnetwork 'subnet-1' in region 'us-central1'.",
    ),
    ("subnet s vpc-1 10.9.0.0/16 mars", "Invalid value for field 'resource.region': 'mars'. Unknown region."),
    ("subnet s vpc-9 10.9.0.0/16", "The resource 'projects/project-1/global/networks/vpc-9' was not found"),
    (
        "subnet s project-2/vpc-1 10.9.0.0/16",
        "Invalid value for field 'resource.network': 'projects/project-2/global/networks/vpc-1'. The network must be in \
         the subnetwork's project.",
    ),
    (
        "subnet s vpc-1 10.9.0.0/30",
        "Invalid value for field 'resource.ipCidrRange': '10.9.0.0/30'. The prefix length must be between 8 and 29.",
    ),
    (
        "subnet s vpc-1 169.254.0.0/20",
        "Invalid value for field 'resource.ipCidrRange': '169.254.0.0/20'. The range must not overlap the prohibited \
         range '169.254.0.0/16'.",
    ),
    ("delete subnet s", "The resource 'projects/project-1/regions/us-central1/subnetworks/s' was not found"),
    (
        "delete subnet subnet-1",
        "The subnetwork resource 'projects/project-1/regions/us-central1/subnetworks/subnet-1' is already being used by \
         'projects/project-1/zones/us-central1-a/instances/vm-1'",
    ),
    // Instances.
    (
        "vm vm-1 subnet-1",
        "The resource 'projects/project-1/zones/us-central1-a/instances/vm-1' already exists",
    ),
    (
        "vm vm-2 subnet-1 zone=us-central1-z",
        "Invalid value for field 'resource.zone': 'us-central1-z'. Unknown zone.",
    ),
    (
        "vm vm-2 subnet-1 zone=us-east1-b",
        "Invalid value for field 'resource.networkInterfaces[0].subnetwork': \
         'projects/project-1/regions/us-central1/subnetworks/subnet-1'. The subnetwork must be in the instance's region \
         'us-east1'.",
    ),
    (
        "vm vm-2 subnet-9",
        "Invalid value for field 'resource.networkInterfaces[0].subnetwork': \
         'projects/project-1/regions/us-central1/subnetworks/subnet-9'. The referenced subnetwork resource cannot be found.",
    ),
    ("vm vm-2 subnet-1=10.1.0.2", "IP '10.1.0.2' is already being used by another resource."),
    (
        "tags vm-1 Web",
        "Invalid value for field 'resource.tags.items[0]': 'Web'. Must be a match of regex \
         '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'",
    ),
    ("tags vm-9 web", "The resource 'projects/project-1/zones/us-central1-a/instances/vm-9' was not found"),
    ("delete vm vm-9", "The resource 'projects/project-1/zones/us-central1-a/instances/vm-9' was not found"),
    // Firewall rules: the field in question is the one that is misplaced.
    ("allow rule-1 vpc-1 tcp", "The resource 'projects/project-1/global/firewalls/rule-1' already exists"),
    (
        "allow r vpc-1 tcp destinations=10.2.0.1/16",
        "Invalid value for field 'resource.destinationRanges': '10.2.0.1/16'. Must be a CIDR range with no host bits \
         set, such as '10.2.0.0/16'.",
    ),
    // What is not said of a rule's far end is IPv4.
    (
        "allow r vpc-1 tcp destinations=fd20::/20",
        "Invalid value for field 'resource.destinationRanges': 'fd20::/20'. A rule can have either IPv4 or IPv6 ranges, \
         not a combination of both.",
    ),
    (
        "allow r vpc-1 tcp sources=fd20::/20 destinations=10.2.0.0/16",
        "Invalid value for field 'resource.destinationRanges': '10.2.0.0/16'. A rule can have either IPv4 or IPv6 \
         ranges, not a combination of both.",
    ),
    (
        "allow r vpc-1 tcp source-tags=a destinations=10.2.0.0/16,fd20::/20",
        "Invalid value for field 'resource.destinationRanges': 'fd20::/20'. A rule can have either IPv4 or IPv6 ranges, \
         not a combination of both.",
    ),
    (
        "allow r vpc-1 tcp egress sources=fd20::/20",
        "Invalid value for field 'resource.sourceRanges': 'fd20::/20'. A rule can have either IPv4 or IPv6 ranges, not \
         a combination of both.",
    ),
    (
        "deny r vpc-1 tcp egress source-tags=web",
        "Invalid value for field 'resource.sourceTags': 'web'. Cannot be specified for a rule whose direction is EGRESS.",
    ),
    (
        "allow r vpc-1 nothing",
        "Invalid value for field 'resource.allowed': ''. At least one protocol must be specified.",
    ),
    (
        "deny r vpc-1 nothing",
        "Invalid value for field 'resource.denied': ''. At least one protocol must be specified.",
    ),
    (
        "deny r vpc-1 tcp:80,icmp:8",
        "Invalid value for field 'resource.denied[1].ports': '8'. Ports may only be specified on TCP, UDP or SCTP, not on \
         'icmp'.",
    ),
    (
        "allow r vpc-1 tcp sources=10.0.0.1/8",
        "Invalid value for field 'resource.sourceRanges': '10.0.0.1/8'. Must be a CIDR range with no host bits set, such \
         as '10.0.0.0/8'.",
    ),
    (
        "allow r vpc-1 tcp targets=a,-",
        "Invalid value for field 'resource.targetTags[0]': '-'. Must be a match of regex \
         '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'",
    ),
    (
        "allow r vpc-1 tcp accounts=a@b",
        "Invalid value for field 'resource.targetServiceAccounts[0]': 'a@b'. Service accounts must be valid RFC 822 \
         email addresses.",
    ),
    (
        "allow r vpc-1 tcp accounts=web targets=a",
        "Invalid value for field 'resource.targetServiceAccounts': 'web@project-1.iam.gserviceaccount.com'. Network \
         tags and service accounts cannot be used in the same firewall rule.",
    ),
    (
        "allow r vpc-1 tcp source-tags=a accounts=web",
        "Invalid value for field 'resource.targetServiceAccounts': 'web@project-1.iam.gserviceaccount.com'. Network \
         tags and service accounts cannot be used in the same firewall rule.",
    ),
    (
        "allow r vpc-1 tcp source-accounts=web targets=a",
        "Invalid value for field 'resource.sourceServiceAccounts': 'web@project-1.iam.gserviceaccount.com'. Network \
         tags and service accounts cannot be used in the same firewall rule.",
    ),
    (
        "deny r vpc-1 tcp egress source-accounts=web",
        "Invalid value for field 'resource.sourceServiceAccounts': 'web@project-1.iam.gserviceaccount.com'. Cannot be \
         specified for a rule whose direction is EGRESS.",
    ),
    (
        "allow r vpc-1 tcp accounts=a,b,c,d,e,f,g,h,i,j,k",
        "Value for field 'resource.targetServiceAccounts' is too large: maximum size 10 element(s); actual size 11.",
    ),
    (
        "allow r project-2/vpc-1 tcp",
        "Invalid value for field 'resource.network': 'projects/project-2/global/networks/vpc-1'. The network must be in \
         the firewall rule's project.",
    ),
    ("delete rule r", "The resource 'projects/project-1/global/firewalls/r' was not found"),
    // Routes and peerings; more of them stand in networks.rs and peerings.rs.
    (
        "route route-1 vpc-1 192.168.0.0/16 gateway",
        "The resource 'projects/project-1/global/routes/route-1' already exists",
    ),
    (
        "route r project-2/vpc-1 192.168.0.0/16 gateway",
        "Invalid value for field 'resource.network': 'projects/project-2/global/networks/vpc-1'. The network must be in \
         the route's project.",
    ),
    ("delete route r", "The resource 'projects/project-1/global/routes/r' was not found"),
    (
        "unpeer p vpc-1",
        "Invalid value for field 'resource.name': 'p'. There is no peering with that name on the network.",
    ),
    ("peer p vpc-9 vpc-1", "The resource 'projects/project-1/global/networks/vpc-9' was not found"),
];

#[test]
fn every_refusal_has_googles_text() {
    let world = world(SETUP);
    for (line, want) in REFUSALS {
        assert_eq!(refusal(&world, line).to_string(), *want, "{line}");
    }
}

#[test]
fn a_refusal_knows_its_field() {
    let world = world(SETUP);
    for (line, want) in [
        ("allow r vpc-1 tcp destinations=10.2.0.1/16", Some("destinationRanges")),
        ("subnet s vpc-1 10.1.9.0/24", Some("ipCidrRange")),
        ("redis redis-1 project-2/vpc", Some("authorizedNetwork")),
        ("delete vm vm-9", None),
    ] {
        assert_eq!(refusal(&world, line).field(), want, "{line}");
    }
}

/// Two refusals are other crates' to give: no change leads to them.
#[test]
fn refusals_that_no_change_provokes_have_texts_too() {
    let missing = Refusal::NoSuchNetwork(network("default"));
    assert_eq!(missing.to_string(), "Project \"project-1\" has no network named \"default\".");
    assert_eq!(
        Refusal::PrivateServiceAccessMissing.to_string(),
        "Google private service access is not enabled. Enable private service access and try again"
    );
}

#[test]
fn at_most_64_tags() {
    let world = world(SETUP);
    let tags = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>().join(",");
    then(&world, &format!("tags vm-1 {}", tags(64)), 0);
    assert_eq!(
        refusal(&world, &format!("tags vm-1 {}", tags(65))),
        Refusal::invalid("tags.items", 65, "At most 64 tags are allowed.")
    );
}
