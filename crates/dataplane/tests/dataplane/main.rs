//! Plans, applied to a kernel that exists only in memory.

mod kernel;
mod lazy;
mod plans;
mod render;
mod rerender;
mod signposts;
#[path = "../../../model/tests/model/support.rs"]
mod support;
#[path = "../../../fabric/tests/fabric/worlds.rs"]
mod worlds;
