//! Redis's access control lists toward clients: users, what they may run, and on which keys and
//! channels (<https://redis.io/docs/management/security/acl/>). Pure: lines of text in, decisions
//! out.
//!
//! ```text
//!  "app on >secret ~app:* +@read" ─▶ rules ─▶ User ─▶ check(command, request) ─▶ Ok or Denied
//! ```
//!
//! The proxy speaks to servers as one user, so what a server would still check for a user must be
//! checked here or be refused: scripts, whose commands only the server sees, and SORT's BY and GET,
//! whose keys it makes up. Where it is not certain what a request does, it is denied.

mod check;
mod glob;
mod rules;
mod users;

pub use check::Denied;
pub use rules::RuleError;
pub use users::{User, Users};
