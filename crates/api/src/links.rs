//! Names of resources on the wire: `selfLink`, ids, fingerprints.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::Serialize;
use tombolo_model::{NetworkKey, SubnetworkKey};

/// What every link to a resource of Compute begins with, whatever the client was pointed at: clients and Terraform
/// compare and parse links, and Google's own have this.
pub const COMPUTE: &str = "https://www.googleapis.com/compute/v1/";

/// The link to a resource by its path, such as `projects/p/global/networks/n`.
pub fn link(path: impl std::fmt::Display) -> String {
    format!("{COMPUTE}{path}")
}

/// The path in a link or a partial link: everything from `projects/` on, or the text itself. Clients send links that
/// begin with the address that they were pointed at.
pub fn path_of(link: &str) -> &str {
    let start =
        link.match_indices("projects/").map(|(at, _)| at).find(|at| *at == 0 || link[..*at].ends_with('/'));
    start.map_or(link.trim_start_matches('/'), |at| &link[at..])
}

/// The network that a link names; relative ones (`global/networks/n`, `n`) are of `project`.
pub fn network(project: &str, link: &str) -> Option<NetworkKey> {
    let path = path_of(link);
    let relative = path.strip_prefix("global/networks/").unwrap_or(path);
    path.parse().ok().or_else(|| (!relative.contains('/')).then(|| NetworkKey::new(project, relative)))
}

/// The subnetwork that a link names; relative ones are of `project`, and bare names of `region`.
pub fn subnetwork(project: &str, region: &str, link: &str) -> Option<SubnetworkKey> {
    let path = path_of(link);
    let full =
        if path.starts_with("projects/") { path.to_owned() } else { format!("projects/{project}/{path}") };
    full.parse().ok().or_else(|| (!path.contains('/')).then(|| SubnetworkKey::new(project, region, path)))
}

/// The resource that a link names; relative ones are of `project`.
pub fn resource<K: std::str::FromStr>(project: &str, link: &str) -> Option<K> {
    let path = path_of(link);
    let full =
        if path.starts_with("projects/") { path.to_owned() } else { format!("projects/{project}/{path}") };
    full.parse().ok()
}

/// The last part of a link: a zone, a machine type, a region.
pub fn last(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or_default()
}

/// A resource's id as Google shows it: 19 digits that tell nothing. It follows from the World's number, one to one.
pub fn id(number: u64) -> String {
    (1_000_000_000_000_000_000 + (mix(number) & ((1 << 61) - 1))).to_string()
}

/// A fingerprint of what can be changed about something: eight bytes in base64, as Google's are, with the alphabet that
/// discovery documents mean by `"format": "byte"` (RFC 4648, section 5), which some clients decode.
pub fn fingerprint(of: &impl Serialize) -> String {
    let text = serde_json::to_string(of).unwrap_or_default();
    // FNV-1a, then mixed: it protects against races, not against malice.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    URL_SAFE.encode(mix(hash).to_be_bytes())
}

/// A permutation of the 64-bit numbers, and of the lower 61 bits among themselves (xor-shifts and odd factors).
fn mix(number: u64) -> u64 {
    const MASK: u64 = (1 << 61) - 1;
    let mut x = number;
    for factor in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9_u64] {
        let low = x & MASK;
        x = (low ^ (low >> 31)).wrapping_mul(factor) & MASK | (x & !MASK);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn links_come_in_many_forms() {
        let key = NetworkKey::new("p", "n");
        for text in [
            "https://www.googleapis.com/compute/v1/projects/p/global/networks/n",
            "http://127.0.0.1:8080/compute/v1/projects/p/global/networks/n",
            "projects/p/global/networks/n",
            "global/networks/n",
            "n",
        ] {
            assert_eq!(network("p", text), Some(key.clone()), "{text}");
        }
        for text in ["projects/p/global/firewalls/n", "global/networks/n/x", "a/b"] {
            assert_eq!(network("p", text), None, "{text}");
        }
        let key = SubnetworkKey::new("p", "r", "s");
        for text in
            ["https://x/compute/v1/projects/p/regions/r/subnetworks/s", "regions/r/subnetworks/s", "s"]
        {
            assert_eq!(subnetwork("p", "r", text), Some(key.clone()), "{text}");
        }
    }

    #[test]
    fn ids_and_fingerprints() {
        let ids: BTreeSet<String> = (0..10_000).map(id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 19));
        assert_ne!(fingerprint(&"a"), fingerprint(&"b"));
        assert_eq!(fingerprint(&"a").len(), 12);
        // In a hundred of 11 characters each, the 62 that both alphabets share are not all.
        let all: String = (0..100).map(|n| fingerprint(&n)).collect();
        assert!(all.contains(['-', '_']) && !all.contains(['+', '/']), "{all}");
    }
}
