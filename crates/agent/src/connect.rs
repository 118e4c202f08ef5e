//! TCP connections from within the lab, for a program outside of it.

use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc::ETIMEDOUT;
use tombolo_dataplane::linux::netns;

use crate::dispatch::Reply;
use crate::lab::Lab;
use crate::message::Response;

/// Connects from a network namespace. The connection stays in it, whoever holds it.
pub(crate) fn connect(lab: &Lab, name: &str, to: SocketAddrV4, limit: u32) -> Result<Reply> {
    let namespace = lab.netns_of(name).with_context(|| format!("the lab has no network namespace {name}"))?;
    let limit = Duration::from_millis(limit.max(1).into());
    let connected = netns::with(namespace.as_fd(), || TcpStream::connect_timeout(&to.into(), limit))?;
    Ok(match connected {
        Ok(stream) => Reply { response: Response::Done, fds: vec![stream.into()] },
        // Out of its time, which is not an error of the kernel's.
        Err(error) => Response::NotConnected { errno: error.raw_os_error().unwrap_or(ETIMEDOUT) }.into(),
    })
}
