//! IPv4 ranges: what a subnetwork may have, what is reserved in it, what overlaps.
//!
//! Source: Google's documentation of subnets ("Valid IPv4 ranges", "Unusable addresses in every IPv4 subnet").

use crate::refusal::Refusal;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Ranges that no subnetwork may touch.
const PROHIBITED: [([u8; 4], u8); 7] = [
    ([0, 0, 0, 0], 8),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([224, 0, 0, 0], 4),
    ([199, 36, 153, 4], 30),
    ([199, 36, 153, 8], 30),
    ([255, 255, 255, 255], 32),
];

/// Where the subnetworks that auto mode makes have their ranges from.
pub const AUTOMATIC: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9);

/// Whether two ranges share an address: equal, containing or contained.
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The ranges that are private to an organisation as Google sees it: those of RFC 1918 and RFC 6598, and others that are
/// never routed to the internet.
pub const PRIVATE: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Whether the address is in one of the [`PRIVATE`] ranges. Peerings always exchange subnet routes of such ranges.
pub fn is_private(address: Ipv4Addr) -> bool {
    PRIVATE.iter().any(|range| range.contains(&address))
}

/// Checks a subnetwork's primary range: /8 to /29, no host bits, not prohibited.
pub fn check_subnet_range(field: &str, range: Ipv4Net) -> Result<(), Refusal> {
    if range.addr() != range.network() {
        let expected = format!("Must be a CIDR range with no host bits set, such as '{}'.", range.trunc());
        return Err(Refusal::invalid(field, range, expected));
    }
    if !(8..=29).contains(&range.prefix_len()) {
        return Err(Refusal::invalid(field, range, "The prefix length must be between 8 and 29."));
    }
    for (base, len) in PROHIBITED {
        let prohibited = Ipv4Net::new_assert(Ipv4Addr::from(base), len);
        if overlap(&range, &prohibited) {
            let expected = format!("The range must not overlap the prohibited range '{prohibited}'.");
            return Err(Refusal::invalid(field, range, expected));
        }
    }
    Ok(())
}

/// The subnetwork's gateway: the first usable address.
pub fn gateway(range: Ipv4Net) -> Ipv4Addr {
    nth(range, 1)
}

/// The four addresses of a primary range that no instance gets: network, gateway, second-to-last, broadcast.
pub fn reserved(range: Ipv4Net) -> [Ipv4Addr; 4] {
    let last = u32::from(range.broadcast());
    [range.network(), gateway(range), Ipv4Addr::from(last - 1), range.broadcast()]
}

/// Checks an address that is asked for: in the range, and none of the reserved ones.
pub(crate) fn check_address(field: &str, range: Ipv4Net, address: Ipv4Addr) -> Result<(), Refusal> {
    if !range.contains(&address) {
        let expected = "Requested internal IP is outside the subnetwork CIDR range.";
        return Err(Refusal::invalid(field, address, expected));
    }
    if reserved(range).contains(&address) {
        let expected = format!("The address must be an unreserved one of '{range}'.");
        return Err(Refusal::invalid(field, address, expected));
    }
    Ok(())
}

/// The address at `offset` in the range.
pub fn nth(range: Ipv4Net, offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).wrapping_add(offset))
}

/// The first address of the range, in order, that is neither reserved nor `taken`.
pub fn first_free(range: Ipv4Net, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let (first, last) = (u32::from(range.network()) + 2, u32::from(range.broadcast()) - 2);
    (first..=last).map(Ipv4Addr::from).find(|a| !taken(*a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn overlap_is_equal_or_contained() {
        for (a, b, want) in [
            ("10.1.0.0/16", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.255.255.248/29", true),
            ("10.255.255.248/29", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("10.0.0.0/9", "10.128.0.0/9", false),
        ] {
            assert_eq!(overlap(&net(a), &net(b)), want, "{a} {b}");
        }
    }

    #[test]
    fn four_addresses_are_reserved() {
        let range = net("10.34.175.88/29");
        let want = ["10.34.175.88", "10.34.175.89", "10.34.175.94", "10.34.175.95"];
        assert_eq!(reserved(range).map(|a| a.to_string()), want);
        assert_eq!(first_free(range, |_| false), Some(Ipv4Addr::new(10, 34, 175, 90)));
        assert_eq!(first_free(range, |a| a.octets()[3] != 93), Some(Ipv4Addr::new(10, 34, 175, 93)));
        assert_eq!(first_free(range, |_| true), None);
    }

    #[test]
    fn ranges_are_checked() {
        for good in ["10.0.0.0/8", "192.168.0.0/29", "100.64.0.0/10", "8.8.8.0/24"] {
            assert!(check_subnet_range("ipCidrRange", net(good)).is_ok(), "{good}");
        }
        for bad in
            ["10.1.0.1/16", "10.0.0.0/30", "8.0.0.0/7", "127.0.0.0/24", "169.254.0.0/20", "224.0.0.0/24"]
        {
            assert!(check_subnet_range("ipCidrRange", net(bad)).is_err(), "{bad}");
        }
    }
}
