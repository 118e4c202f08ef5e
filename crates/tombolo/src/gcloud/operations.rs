//! `compute operations`.

use super::args::{List, Listed};
use super::client::encode;
use super::session::Session;
use anyhow::Result;

const TABLE: &str = "table(name, operationType:label=TYPE, targetLink.scope():label=TARGET, \
                     operation_http_status():label=HTTP_STATUS, status, insertTime:label=TIMESTAMP)";

/// What to do with operations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List operations: all, or those of some scopes
    #[command(
        after_help = "Examples:\n  tombolo compute operations list --global\n  tombolo compute operations list --zones us-central1-a"
    )]
    List(Scopes),
    /// Show an operation
    #[command(
        after_help = "Example:\n  tombolo compute operations describe operation-1 --zone us-central1-a"
    )]
    Describe(One),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scopes {
    /// Those of no region
    #[arg(long)]
    global: bool,
    /// Those of some regions
    #[arg(long, value_name = "REGIONS")]
    regions: Option<List>,
    /// Those of some zones
    #[arg(long, value_name = "ZONES")]
    zones: Option<List>,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Scope {
    /// It is of no region (the default)
    #[arg(long)]
    global: bool,
    /// Its region
    #[arg(long)]
    region: Option<String>,
    /// Its zone
    #[arg(long)]
    zone: Option<String>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::List(scopes) => {
                let mut items = Vec::new();
                for path in scopes.paths() {
                    items.extend(session.client.list(&session.compute(path)?, "operations")?);
                }
                session.show_list(items, &scopes.listed, TABLE)
            }
            Verb::Describe(One { name, scope }) => {
                let scope = match (&scope.region, &scope.zone) {
                    (Some(region), _) => format!("regions/{}", encode(region)),
                    (_, Some(zone)) => format!("zones/{}", encode(zone)),
                    _ => "global".to_owned(),
                };
                let path = session.compute(format!("{scope}/operations/{}", encode(name)))?;
                session.show(session.client.get(&path)?)
            }
        }
    }
}

impl Scopes {
    /// The lists that were asked for.
    fn paths(&self) -> Vec<String> {
        let of = |kind: &'static str, names: &Option<List>| {
            let names = names.clone().unwrap_or_default().0;
            names.into_iter().map(move |name| format!("{kind}/{}/operations", encode(&name)))
        };
        let global = self.global.then(|| "global/operations".to_owned());
        let said: Vec<String> =
            global.into_iter().chain(of("regions", &self.regions)).chain(of("zones", &self.zones)).collect();
        if said.is_empty() { vec!["aggregated/operations".to_owned()] } else { said }
    }
}
