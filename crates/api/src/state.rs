//! What the API answers from: the World, and the operations that tell how it became so.

use crate::operation::Operations;
use serde::{Deserialize, Serialize};
use tombolo_model::World;

/// An immutable snapshot, cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Everything that exists.
    pub world: World,
    /// The operations of the past, and those under way.
    pub operations: Operations,
}
