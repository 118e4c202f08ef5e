//! Keys: what names a resource, once and for all, in Google's partial-URL form.
//!
//! A key prints as the resource path that Google's messages use (`projects/p/global/networks/n`), parses from
//! the same text, and is that text when serialized, so that maps of resources are JSON objects.

use crate::refusal::Refusal;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Defines a key type whose text form is a path with placeholders.
macro_rules! key {
    ($(#[$doc:meta])* $name:ident { $($field:ident),+ } $path:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name {
            $(#[doc = concat!("The resource's ", stringify!($field), ".")] pub $field: String,)+
        }

        impl $name {
            /// Makes the key from its parts, in the order of the path. The parts are not checked here;
            /// [`crate::World::apply`] does.
            pub fn new($($field: impl Into<String>),+) -> Self {
                Self { $($field: $field.into()),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $path, $($field = self.$field),+)
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> String {
                key.to_string()
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let parts = parse_path($path, text)
                    .ok_or_else(|| format!("'{text}' is not of the form {}", $path))?;
                let mut parts = parts.into_iter();
                Ok(Self { $($field: parts.next().unwrap_or_default()),+ })
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}

/// Defines a key type of resources that are global or of a region.
macro_rules! scoped_key {
    ($(#[$doc:meta])* $name:ident $collection:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name {
            /// The resource's project.
            pub project: String,
            /// Its region; none for a global one.
            pub region: Option<String>,
            /// The resource's name.
            pub name: String,
        }

        impl $name {
            /// One of a region.
            pub fn regional(project: impl Into<String>, region: impl Into<String>, name: impl Into<String>) -> Self {
                Self { region: Some(region.into()), ..Self::global(project, name) }
            }

            /// A global one.
            pub fn global(project: impl Into<String>, name: impl Into<String>) -> Self {
                Self { project: project.into(), region: None, name: name.into() }
            }

            /// Its scope as paths and aggregated lists have it: `global`, or `regions/us-central1`.
            pub fn scope(&self) -> String {
                self.region.as_ref().map_or_else(|| "global".to_owned(), |region| format!("regions/{region}"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "projects/{}/{}/{}/{}", self.project, self.scope(), $collection, self.name)
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> String {
                key.to_string()
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let regional = concat!("projects/{project}/regions/{region}/", $collection, "/{name}");
                let global = concat!("projects/{project}/global/", $collection, "/{name}");
                let parts = parse_path(regional, text).or_else(|| parse_path(global, text)).unwrap_or_default();
                match parts.as_slice() {
                    [project, region, name] => Ok(Self::regional(project, region, name)),
                    [project, name] => Ok(Self::global(project, name)),
                    _ => Err(format!(
                        "'{text}' is not of the form projects/P/(regions/R|global)/{}/N",
                        $collection
                    )),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}

key!(
    /// A VPC network, global to its project.
    NetworkKey { project, name } "projects/{project}/global/networks/{name}"
);
key!(
    /// A subnetwork, regional.
    SubnetworkKey { project, region, name } "projects/{project}/regions/{region}/subnetworks/{name}"
);
key!(
    /// A VM instance, zonal.
    InstanceKey { project, zone, name } "projects/{project}/zones/{zone}/instances/{name}"
);
key!(
    /// A VPC firewall rule, global.
    FirewallKey { project, name } "projects/{project}/global/firewalls/{name}"
);
scoped_key!(
    /// An address.
    AddressKey "addresses"
);
scoped_key!(
    /// A network firewall policy.
    FirewallPolicyKey "firewallPolicies"
);
key!(
    /// A hierarchical firewall policy, which is named by its number.
    HierarchicalPolicyKey { name } "locations/global/firewallPolicies/{name}"
);
key!(
    /// A folder, which is named by its number.
    FolderKey { name } "folders/{name}"
);
key!(
    /// A tag key, which is named by its number.
    TagKeyKey { name } "tagKeys/{name}"
);
key!(
    /// A tag value, which is named by its number.
    TagValueKey { name } "tagValues/{name}"
);
key!(
    /// A route, global.
    RouteKey { project, name } "projects/{project}/global/routes/{name}"
);
key!(
    /// A Cloud Router, regional.
    RouterKey { project, region, name } "projects/{project}/regions/{region}/routers/{name}"
);
key!(
    /// A target instance, zonal.
    TargetInstanceKey { project, zone, name } "projects/{project}/zones/{zone}/targetInstances/{name}"
);
key!(
    /// A forwarding rule, regional.
    ForwardingRuleKey { project, region, name } "projects/{project}/regions/{region}/forwardingRules/{name}"
);
key!(
    /// A service attachment of Private Service Connect, regional.
    ServiceAttachmentKey { project, region, name } "projects/{project}/regions/{region}/serviceAttachments/{name}"
);
key!(
    /// A private zone of Cloud DNS.
    ManagedZoneKey { project, name } "projects/{project}/managedZones/{name}"
);
key!(
    /// A Memorystore for Redis instance, regional.
    RedisKey { project, region, name } "projects/{project}/locations/{region}/instances/{name}"
);

/// A firewall policy of either kind, as those of its rules' changes name it that are the same of both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyKey {
    /// A network firewall policy.
    Network(FirewallPolicyKey),
    /// A hierarchical one.
    Hierarchical(HierarchicalPolicyKey),
}

impl PolicyKey {
    /// The policy's name: its number if it is a hierarchical one.
    pub fn name(&self) -> &str {
        match self {
            PolicyKey::Network(key) => &key.name,
            PolicyKey::Hierarchical(key) => &key.name,
        }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyKey::Network(key) => key.fmt(f),
            PolicyKey::Hierarchical(key) => key.fmt(f),
        }
    }
}

impl From<FirewallPolicyKey> for PolicyKey {
    fn from(key: FirewallPolicyKey) -> PolicyKey {
        PolicyKey::Network(key)
    }
}

impl From<HierarchicalPolicyKey> for PolicyKey {
    fn from(key: HierarchicalPolicyKey) -> PolicyKey {
        PolicyKey::Hierarchical(key)
    }
}

/// Matches `text` against a path pattern segment by segment and returns what stood at the placeholders.
fn parse_path(pattern: &str, text: &str) -> Option<Vec<String>> {
    let (mut want, mut have) = (pattern.split('/'), text.split('/'));
    let mut found = Vec::new();
    loop {
        match (want.next(), have.next()) {
            (None, None) => return Some(found),
            (Some(w), Some(h)) if w.starts_with('{') && !h.is_empty() => found.push(h.to_owned()),
            (Some(w), Some(h)) if w == h => {}
            _ => return None,
        }
    }
}

/// Checks a resource name as compute does: RFC 1035, 1 to 63 characters.
pub fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let good = matches!(bytes.first(), Some(b) if b.is_ascii_lowercase())
        && bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes.last() != Some(&b'-');
    if good {
        return Ok(());
    }
    let expected = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'";
    Err(Refusal::invalid(field, name, expected))
}

/// Checks a project id: 6 to 30 lowercase letters, digits and hyphens, beginning with a letter and not ending
/// with a hyphen (resource manager's documentation of `projectId`).
pub fn check_project_id(id: &str) -> Result<(), Refusal> {
    if (6..=30).contains(&id.len()) && check_name("project_id", id).is_ok() {
        return Ok(());
    }
    let expected =
        "Must be 6 to 30 lowercase letters, digits or hyphens, start with a letter and not end with a hyphen";
    Err(Refusal::invalid("project_id", id, expected))
}

/// Checks an address of a service account, which firewall rules are compared by.
pub fn check_email(field: &str, email: &str) -> Result<(), Refusal> {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    match email.split_once('@') {
        Some((local, domain)) if word(local) && word(domain) && domain.contains('.') => Ok(()),
        _ => Err(Refusal::invalid(field, email, "Service accounts must be valid RFC 822 email addresses.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_path_both_ways() {
        let key = SubnetworkKey::new("project-i-1", "us-central1", "subnet-1");
        let path = "projects/project-i-1/regions/us-central1/subnetworks/subnet-1";
        assert_eq!(key.to_string(), path);
        assert_eq!(path.parse(), Ok(key));
        for path in ["projects/p/regions/r/addresses/a", "projects/p/global/addresses/a"] {
            assert_eq!(path.parse::<AddressKey>().map(|key| key.to_string()), Ok(path.to_owned()));
        }
        assert!("projects/p/zones/z/addresses/a".parse::<AddressKey>().is_err());
        assert!("projects/p/regions//addresses/a".parse::<AddressKey>().is_err());
        assert!("projects/p/global/networks".parse::<NetworkKey>().is_err());
        assert!("projects//global/networks/n".parse::<NetworkKey>().is_err());
        assert!("projects/p/global/networks/n/x".parse::<NetworkKey>().is_err());
    }

    #[test]
    fn names_are_rfc_1035() {
        for good in ["a", "vpc-1", "a1", &"a".repeat(63)] {
            assert!(check_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64), "é"] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
        for good in ["web@project-1.iam.gserviceaccount.com", "1-compute@developer.gserviceaccount.com"] {
            assert!(check_email("email", good).is_ok(), "{good}");
        }
        for bad in ["", "web", "web@", "@a.b", "web@project", "a b@c.d", "a@b@c.d", "a@b.c\"", "*@b.c"] {
            assert!(check_email("email", bad).is_err(), "{bad}");
        }
        assert!(check_project_id("abc").is_err());
        assert!(check_project_id("project-i-1").is_ok());
    }
}
