//! Regions, their zones, and the ranges that an auto-mode network has in each.
//!
//! Source: Google's table of auto mode IPv4 subnet ranges (documentation of VPC subnets) and its list of zones.

use crate::refusal::Refusal;
use std::net::Ipv4Addr;

/// What the ranges of all subnetworks of an auto-mode network are in.
pub const AUTO_RANGE: ipnet::Ipv4Net = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9);

/// A region of Google Cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name, such as `us-central1`.
    pub name: &'static str,
    /// The base address of its /20 in auto-mode networks.
    auto_base: Ipv4Addr,
    /// The letters of its zones.
    pub zones: &'static str,
}

impl Region {
    /// The range of the region's subnetwork in an auto-mode network.
    pub fn auto_range(&self) -> ipnet::Ipv4Net {
        ipnet::Ipv4Net::new_assert(self.auto_base, 20)
    }

    /// The region of that name.
    pub fn find(name: &str) -> Option<&'static Region> {
        REGIONS.iter().find(|r| r.name == name)
    }

    /// The region that the zone (`us-central1-a`) belongs to.
    pub fn of_zone(zone: &str) -> Option<&'static Region> {
        let (name, letter) = zone.rsplit_once('-')?;
        Region::find(name).filter(|r| letter.len() == 1 && r.zones.contains(letter))
    }
}

/// Refuses a region that there is not; `field` is where it was said.
pub(crate) fn check(field: &str, region: &str) -> Result<(), Refusal> {
    match Region::find(region) {
        Some(_) => Ok(()),
        None => Err(Refusal::invalid(field, region, "Unknown region.")),
    }
}

/// Makes a row of the table.
const fn region(name: &'static str, auto_base: [u8; 4], zones: &'static str) -> Region {
    let [a, b, c, d] = auto_base;
    Region { name, auto_base: Ipv4Addr::new(a, b, c, d), zones }
}

/// All regions, by name.
pub const REGIONS: &[Region] = &[
    region("africa-south1", [10, 218, 0, 0], "abc"),
    region("asia-east1", [10, 140, 0, 0], "abc"),
    region("asia-east2", [10, 170, 0, 0], "abc"),
    region("asia-northeast1", [10, 146, 0, 0], "abc"),
    region("asia-northeast2", [10, 174, 0, 0], "abc"),
    region("asia-northeast3", [10, 178, 0, 0], "abc"),
    region("asia-south1", [10, 160, 0, 0], "abc"),
    region("asia-south2", [10, 190, 0, 0], "abc"),
    region("asia-southeast1", [10, 148, 0, 0], "abc"),
    region("asia-southeast2", [10, 184, 0, 0], "abc"),
    region("australia-southeast1", [10, 152, 0, 0], "abc"),
    region("australia-southeast2", [10, 192, 0, 0], "abc"),
    region("europe-central2", [10, 186, 0, 0], "abc"),
    region("europe-north1", [10, 166, 0, 0], "abc"),
    region("europe-north2", [10, 226, 0, 0], "abc"),
    region("europe-southwest1", [10, 204, 0, 0], "abc"),
    region("europe-west1", [10, 132, 0, 0], "bcd"),
    region("europe-west10", [10, 214, 0, 0], "abc"),
    region("europe-west12", [10, 210, 0, 0], "abc"),
    region("europe-west2", [10, 154, 0, 0], "abc"),
    region("europe-west3", [10, 156, 0, 0], "abc"),
    region("europe-west4", [10, 164, 0, 0], "abc"),
    region("europe-west6", [10, 172, 0, 0], "abc"),
    region("europe-west8", [10, 198, 0, 0], "abc"),
    region("europe-west9", [10, 200, 0, 0], "abc"),
    region("me-central1", [10, 212, 0, 0], "abc"),
    region("me-west1", [10, 208, 0, 0], "abc"),
    region("northamerica-northeast1", [10, 162, 0, 0], "abc"),
    region("northamerica-northeast2", [10, 188, 0, 0], "abc"),
    region("northamerica-south1", [10, 224, 0, 0], "abc"),
    region("southamerica-east1", [10, 158, 0, 0], "abc"),
    region("southamerica-west1", [10, 194, 0, 0], "abc"),
    region("us-central1", [10, 128, 0, 0], "abcf"),
    region("us-east1", [10, 142, 0, 0], "bcd"),
    region("us-east4", [10, 150, 0, 0], "abc"),
    region("us-east5", [10, 202, 0, 0], "abc"),
    region("us-south1", [10, 206, 0, 0], "abc"),
    region("us-west1", [10, 138, 0, 0], "abc"),
    region("us-west2", [10, 168, 0, 0], "abc"),
    region("us-west3", [10, 180, 0, 0], "abc"),
    region("us-west4", [10, 182, 0, 0], "abc"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_belong_to_their_region() {
        assert_eq!(Region::of_zone("us-central1-f").map(|r| r.name), Some("us-central1"));
        assert_eq!(Region::of_zone("us-central1-z"), None);
        assert_eq!(Region::of_zone("us-east1-a"), None);
        assert_eq!(Region::of_zone("mars-1-a"), None);
    }

    #[test]
    fn auto_ranges_are_disjoint_and_in_10_128() {
        for (i, a) in REGIONS.iter().enumerate() {
            assert!(AUTO_RANGE.contains(&a.auto_range()), "{}", a.name);
            assert!(REGIONS[i + 1..].iter().all(|b| a.auto_range() != b.auto_range()), "{}", a.name);
        }
    }
}
