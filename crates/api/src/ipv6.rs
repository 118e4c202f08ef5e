//! IPv6 on the wire: stack types, and addresses as Google writes them.

use crate::Call;
use crate::failure::Failure;
use ipnet::Ipv6Net;
use serde_json::Value;
use std::net::Ipv6Addr;
use tombolo_model::StackType;

/// An address in eight groups: Google leaves no zeroes out.
pub(crate) fn address(address: Ipv6Addr) -> String {
    address.segments().map(|group| format!("{group:x}")).join(":")
}

/// A range, with its address so.
pub(crate) fn range(range: Ipv6Net) -> String {
    format!("{}/{}", address(range.addr()), range.prefix_len())
}

/// The stack type that a value says; IPv4 alone when it says none.
pub(crate) fn stack(said: &Value) -> Result<StackType, Failure> {
    match said.as_str().unwrap_or_default() {
        "" | "IPV4_ONLY" => Ok(StackType::Ipv4Only),
        "IPV4_IPV6" => Ok(StackType::Ipv4Ipv6),
        other => Err(Failure::unsupported(format_args!("the stack type '{other}'"))),
    }
}

/// Refuses another kind of access than internal, which is all that there is here.
pub(crate) fn check_access(call: &Call<'_>) -> Result<(), Failure> {
    match call.text("ipv6AccessType").filter(|said| *said != INTERNAL) {
        Some(other) => Err(Failure::unsupported(format_args!("the IPv6 access type '{other}'"))),
        None => Ok(()),
    }
}

/// Addresses that the internet does not know.
pub(crate) const INTERNAL: &str = "INTERNAL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_eight_groups() {
        let text = |range: &str| super::range(range.parse().unwrap());
        assert_eq!(text("fd20:6bc:27e::/48"), "fd20:6bc:27e:0:0:0:0:0/48");
        assert_eq!(address(Ipv6Addr::LOCALHOST), "0:0:0:0:0:0:0:1");
        assert_eq!(text("fd20:6bc:27e:0:0:0:0:0/48").parse::<Ipv6Net>(), "fd20:6bc:27e::/48".parse());
    }
}
