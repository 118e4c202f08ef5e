//! nftables: loading rules by the `nft` program, and the kernel's generation counter.

use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

/// Where `nft` is: an ordinary user's PATH often lacks the folder.
fn program() -> PathBuf {
    let known = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].map(Path::new);
    known.into_iter().find(|p| p.exists()).unwrap_or(Path::new("nft")).to_owned()
}

/// Runs a script in the calling thread's network namespace, as one transaction.
pub fn load(script: &str) -> Result<(), String> {
    let mut child = Command::new(program())
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("nft cannot be run ({e}): install the package nftables"))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|e| format!("nft: {e}"))?;
    if !output.status.success() {
        return Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    written.unwrap_or(Ok(())).map_err(|e| format!("nft: {e}"))
}

/// The generation of the calling thread's namespace's rules: another one after every change by anybody.
pub fn generation() -> Result<u32, Error> {
    const NFT_MSG_GETGEN: u16 = (10 << 8) | 16; // NFNL_SUBSYS_NFTABLES, linux/netfilter/nf_tables.h
    const NFTA_GEN_ID: u16 = 1;
    let mut request = Vec::with_capacity(20);
    request.extend(20u32.to_ne_bytes());
    request.extend(NFT_MSG_GETGEN.to_ne_bytes());
    request.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
    request.extend([0; 8]); // sequence and port
    request.extend([0; 4]); // nfgenmsg: any family, version 0
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let attributes = answer.get(20..).unwrap_or_default();
    let found = attribute(attributes, NFTA_GEN_ID).and_then(|value| value.try_into().ok());
    found.map(u32::from_be_bytes).ok_or_else(|| Error::other("nf_tables told no generation"))
}

/// The value of the first attribute of a kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}
