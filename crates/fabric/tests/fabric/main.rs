//! What becomes of a packet: tables, an oracle that knows only Google's documentation, and the text that people read.

mod fixes;
mod forwarding;
mod ipv6;
mod oracle;
#[path = "../../../model/tests/model/support.rs"]
mod support;
mod tables;
mod text;
mod worlds;
