//! `services`: Service Usage v1.

use super::args::{AllNamed, Listed};
use super::client::encode;
use super::session::Session;
use super::{Globals, Noun, vpc_peerings};
use anyhow::Result;
use hyper::Method;
use serde_json::json;

const TABLE: &str = "table(config.name, config.title)";

/// Services.
#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Enable services in a project
    #[command(after_help = "Example:\n  tombolo services enable compute.googleapis.com redis.googleapis.com")]
    Enable(AllNamed),
    /// Disable services in a project
    #[command(after_help = "Example:\n  tombolo services disable redis.googleapis.com")]
    Disable(AllNamed),
    /// List services: the enabled ones, or all
    #[command(after_help = "Example:\n  tombolo services list --enabled")]
    List(List),
    /// Private services access: networks' connections to Google's services
    #[command(subcommand)]
    VpcPeerings(vpc_peerings::Verb),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Those that are enabled (the default)
    #[arg(long)]
    enabled: bool,
    /// All that can be enabled
    #[arg(long, conflicts_with = "enabled")]
    available: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

impl Noun for Services {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        if let Verb::VpcPeerings(verb) = &self.verb {
            return verb.run(session);
        }
        let collection = format!("/serviceusage/v1/projects/{}/services", encode(session.project()?));
        match &self.verb {
            Verb::Enable(AllNamed { names }) => {
                let (path, body) = match names.as_slice() {
                    [name] => (format!("{collection}/{}:enable", encode(name)), json!({})),
                    names => (format!("{collection}:batchEnable"), json!({ "serviceIds": names })),
                };
                session.client.change(Method::POST, &path, Some(body)).map(drop)
            }
            Verb::Disable(AllNamed { names }) => {
                for name in names {
                    let path = format!("{collection}/{}:disable", encode(name));
                    session.client.change(Method::POST, &path, Some(json!({})))?;
                }
                Ok(())
            }
            // Of another API; see above.
            Verb::VpcPeerings(_) => Ok(()),
            Verb::List(list) => {
                let filter = if list.available { "" } else { "?filter=state:ENABLED" };
                let listed = Listed { limit: list.limit, ..Listed::default() };
                let mut items = session.client.list(&format!("{collection}{filter}"), "services")?;
                items.sort_by_cached_key(|service| service["config"]["name"].to_string());
                session.show_list(items, &listed, TABLE)
            }
        }
    }
}
