//! `compute firewall-rules`.

use super::args::{AllNamed, Body, List, Listed, Named, either};
use super::client::{encode, path_of};
use super::session::{Session, Usage};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const TABLE: &str = "table(name, network.basename(), direction, priority, \
                     allowed[].map().firewall_rule().list():label=ALLOW, \
                     denied[].map().firewall_rule().list():label=DENY, disabled)";

/// What to do with firewall rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a rule
    #[command(
        after_help = "Examples:\n  tombolo compute firewall-rules create vpc-1-allow-ssh --network vpc-1 \\\n    --allow tcp:22\n  tombolo compute firewall-rules create no-web --network vpc-1 \\\n    --direction EGRESS --action DENY --rules tcp:80,tcp:443"
    )]
    Create(Create),
    /// List rules
    #[command(after_help = "Example:\n  tombolo compute firewall-rules list --filter \"direction=INGRESS\"")]
    List(Listed),
    /// Show a rule
    #[command(after_help = "Example:\n  tombolo compute firewall-rules describe vpc-1-allow-ssh")]
    Describe(Named),
    /// Change a rule; what is not said stays
    #[command(
        after_help = "Example:\n  tombolo compute firewall-rules update vpc-1-allow-ssh --allow tcp:22,icmp \\\n    --source-ranges 10.0.0.0/8"
    )]
    Update(Update),
    /// Delete rules
    #[command(after_help = "Example:\n  tombolo compute firewall-rules delete vpc-1-allow-ssh")]
    Delete(AllNamed),
}

/// What can be said of a new rule and of one that is there.
#[derive(Debug, clap::Args)]
struct Fields {
    /// Protocols that it lets through, with ports: tcp:22,udp:5000-6000,icmp or all
    #[arg(long, value_name = "PROTOCOL[:PORT[-PORT]],…")]
    allow: Option<List>,
    /// Protocols that the action is for
    #[arg(long, value_name = "PROTOCOL[:PORT[-PORT]],…", conflicts_with = "allow")]
    rules: Option<List>,
    /// 0 (first) to 65535 (last)
    #[arg(long)]
    priority: Option<u16>,
    /// INGRESS: the sources. EGRESS: only what is sent from these
    #[arg(long, value_name = "RANGES")]
    source_ranges: Option<List>,
    /// INGRESS: instances of the network, by tag
    #[arg(long, value_name = "TAGS")]
    source_tags: Option<List>,
    /// The instances that it acts at, by tag
    #[arg(long, value_name = "TAGS")]
    target_tags: Option<List>,
    /// INGRESS: instances of the network, by service account; not together with tags
    #[arg(long, value_name = "EMAILS", conflicts_with_all = ["source_tags", "target_tags"])]
    source_service_accounts: Option<List>,
    /// The instances that it acts at, by service account; not together with tags
    #[arg(long, value_name = "EMAILS", conflicts_with_all = ["source_tags", "target_tags"])]
    target_service_accounts: Option<List>,
    /// EGRESS: the destinations. INGRESS: only what is for these
    #[arg(long, value_name = "RANGES")]
    destination_ranges: Option<List>,
    /// It does nothing
    #[arg(long, conflicts_with = "no_disabled")]
    disabled: bool,
    #[arg(long, hide = true)]
    no_disabled: bool,
    /// Connections that it decides about are logged: see `tombolo logs firewall`
    #[arg(long, conflicts_with = "no_enable_logging")]
    enable_logging: bool,
    #[arg(long, hide = true)]
    no_enable_logging: bool,
    /// What is logged beside the connection and the rule
    #[arg(long, value_enum, ignore_case = true, requires = "enable_logging")]
    logging_metadata: Option<Metadata>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// How much a rule logs.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Metadata {
    /// Instances, networks, and what the rule matches
    IncludeAll,
    /// Nothing else
    ExcludeAll,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Action {
    Allow,
    Deny,
}

/// Where a rule acts.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Direction {
    /// Where packets are received
    #[value(alias = "in")]
    Ingress,
    /// Where packets are sent
    #[value(alias = "out")]
    Egress,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// The network that it is in
    #[arg(long, default_value = "default")]
    network: String,
    /// Where it acts
    #[arg(long, value_enum, ignore_case = true, default_value = "ingress")]
    direction: Direction,
    /// What it does; with --rules
    #[arg(long, value_enum, ignore_case = true, conflicts_with = "allow", requires = "rules")]
    action: Option<Action>,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Its name
    name: String,
    #[command(flatten)]
    fields: Fields,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let collection = session.compute("global/firewalls")?;
        let path = |name: &str| format!("{collection}/{}", encode(name));
        match self {
            Verb::Create(create) => {
                let body = create.body(session)?;
                session.show_all(session.create(&collection, vec![body])?, TABLE)
            }
            Verb::List(listed) => {
                session.show_list(session.client.list(&collection, "items")?, listed, TABLE)?;
                if !session.has_format() && !listed.uri {
                    eprintln!(
                        "\nTo show all fields of the firewall, please show in JSON format: --format=json"
                    );
                }
                Ok(())
            }
            Verb::Describe(Named { name }) => session.show(session.client.get(&path(name))?),
            Verb::Update(update) => {
                let present = session.client.get(&path(&update.name))?;
                let body = update.body(present["denied"].is_array())?;
                let link = session.update(Method::PATCH, &path(&update.name), Some(body))?;
                // As gcloud: what came of it, only to who asks for a format.
                if session.has_format() { session.show(session.client.get(&path_of(&link))?) } else { Ok(()) }
            }
            Verb::Delete(AllNamed { names }) => session.delete("firewalls", &collection, names),
        }
    }
}

impl Create {
    fn body(&self, session: &Session<'_>) -> Result<Value> {
        let (allowed, denied) = match (&self.fields.allow, &self.fields.rules, self.action) {
            (Some(list), _, _) => (Some(entries(list)), None),
            (None, Some(list), Some(Action::Allow)) => (Some(entries(list)), None),
            (None, Some(list), Some(Action::Deny)) => (None, Some(entries(list))),
            (None, Some(_), None) => return Err(Usage("argument --action: Must be specified.".into()).into()),
            (None, None, _) => {
                let missing = "Exactly one of (--action | --allow) must be specified.";
                return Err(Usage(missing.into()).into());
            }
        };
        let body = Body::default()
            .with("name", self.name.as_str())
            .with("network", session.network(&self.network)?)
            .with("direction", if self.direction == Direction::Egress { "EGRESS" } else { "INGRESS" })
            .maybe("allowed", allowed)
            .maybe("denied", denied);
        Ok(self.fields.add(body).json())
    }
}

impl Update {
    /// What a PATCH says. `denies` is whether the rule denies now, which it does after it too.
    fn body(&self, denies: bool) -> Result<Value> {
        let entries = self.fields.allow.as_ref().or(self.fields.rules.as_ref()).map(entries);
        let field = if denies { "denied" } else { "allowed" };
        if denies && self.fields.allow.is_some() {
            return Err(Usage("argument --allow: the rule denies; say --rules.".into()).into());
        }
        let body = self.fields.add(Body::default().maybe(field, entries));
        if body.is_empty() {
            return Err(Usage("At least one property must be modified.".into()).into());
        }
        Ok(body.json())
    }
}

impl Fields {
    fn add(&self, body: Body) -> Body {
        body.maybe("priority", self.priority)
            .maybe("sourceRanges", self.source_ranges.as_ref())
            .maybe("sourceTags", self.source_tags.as_ref())
            .maybe("targetTags", self.target_tags.as_ref())
            .maybe("sourceServiceAccounts", self.source_service_accounts.as_ref())
            .maybe("targetServiceAccounts", self.target_service_accounts.as_ref())
            .maybe("destinationRanges", self.destination_ranges.as_ref())
            .maybe("disabled", either(self.disabled, self.no_disabled))
            .maybe("logConfig", self.log_config())
            .maybe("description", self.description.as_deref())
    }

    fn log_config(&self) -> Option<Value> {
        let enable = either(self.enable_logging, self.no_enable_logging)?;
        let mut config = json!({ "enable": enable });
        if let Some(metadata) = self.logging_metadata {
            let all = if metadata == Metadata::IncludeAll { "INCLUDE_ALL" } else { "EXCLUDE_ALL" };
            config["metadata"] = json!(format!("{all}_METADATA"));
        }
        Some(config)
    }
}

/// `tcp:22` and the like as entries of `allowed` or `denied`, one each, as gcloud sends them.
fn entries(list: &List) -> Vec<Value> {
    let entry = |text: &String| match text.split_once(':') {
        Some((protocol, ports)) => json!({ "IPProtocol": protocol, "ports": [ports] }),
        None => json!({ "IPProtocol": text }),
    };
    list.0.iter().map(entry).collect()
}
