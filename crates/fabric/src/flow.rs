//! A flow: the first packet of a connection, and where it starts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use tombolo_model::{NetworkKey, Protocol};

/// A packet about to leave an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The network that it starts in.
    pub network: NetworkKey,
    /// The interface that it leaves, by its IPv4 address in that network.
    pub nic: Ipv4Addr,
    /// The packet's source address: the interface's own unless it forwards or spoofs.
    pub source: IpAddr,
    /// The packet's destination address, of the same version of IP.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; 0 for protocols without ports.
    pub port: u16,
}

/// `tcp/6379` or `icmp`.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = Protocol::Number(self.protocol);
        if protocol.has_ports() { write!(f, "{protocol}/{}", self.port) } else { write!(f, "{protocol}") }
    }
}
