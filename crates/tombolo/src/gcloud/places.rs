//! `compute zones` and `compute regions`.

use super::args::{Listed, Named};
use super::client::encode;
use super::session::Session;
use anyhow::Result;

/// A collection of places and how it is shown.
pub(crate) struct Places {
    collection: &'static str,
    table: &'static str,
}

/// Zones. Nothing in a lab is deprecated or maintained, so there are columns that are always empty, as gcloud has them.
pub(crate) const ZONES: Places = Places {
    collection: "zones",
    table: "table(name, region.basename(), status():label=STATUS, maintenanceWindows:label=NEXT_MAINTENANCE, \
            deprecated.deleted:label=TURNDOWN_DATE)",
};

/// Regions. A lab has no quotas.
pub(crate) const REGIONS: Places = Places {
    collection: "regions",
    table: "table(name, quotas.cpus:label=CPUS, quotas.disks:label=DISKS_GB, quotas.addresses:label=ADDRESSES, \
            quotas.reserved:label=RESERVED_ADDRESSES, status():label=STATUS, \
            deprecated.deleted:label=TURNDOWN_DATE)",
};

/// What to do with places.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List them
    #[command(
        after_help = "Examples:\n  tombolo compute zones list --filter \"region:us-central1\"\n  tombolo compute regions list --limit 3"
    )]
    List(Listed),
    /// Show one
    #[command(
        after_help = "Examples:\n  tombolo compute zones describe us-central1-a\n  tombolo compute regions describe us-central1"
    )]
    Describe(Named),
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>, places: Places) -> Result<()> {
        let collection = session.compute(places.collection)?;
        match self {
            Verb::List(listed) => {
                session.show_list(session.client.list(&collection, "items")?, listed, places.table)
            }
            Verb::Describe(Named { name }) => {
                session.show(session.client.get(&format!("{collection}/{}", encode(name)))?)
            }
        }
    }
}
