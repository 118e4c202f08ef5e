//! TLS, with rustls: what is presented and trusted (`context`, made of PEM `files` and made again
//! when they change), the connections themselves (`secure`), and why they fail (`failure`).
//!
//! ```text
//!  config::ClientTls ─┐                  ┌─▶ rustls::ServerConfig ─▶ Secure, of a client
//!                     ├─▶ Contexts ──────┤
//!  config::ServerTls ─┘   (reads files)  └─▶ rustls::ClientConfig ─▶ Secure, of a server
//! ```
//!
//! Versions are TLS 1.2 and 1.3, with sessions resumed and without early data, which could be
//! replayed.

mod context;
mod failure;
mod files;
mod secure;
mod watch;

pub use context::{Contexts, TlsError};
pub(super) use failure::explain;
pub(super) use secure::Secure;
