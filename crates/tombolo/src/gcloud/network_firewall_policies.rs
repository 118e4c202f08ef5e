//! `compute network-firewall-policies`: global policies, and those of a region.

use super::args::{AllNamed, Body, List, Listed, Named, either};
use super::client::encode;
use super::session::{Session, Usage, last};
use super::tags;
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const TABLE: &str = "table(name, description)";

/// What to do with network firewall policies.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a policy, which has no rules and acts nowhere yet
    #[command(after_help = "Example:\n  tombolo compute network-firewall-policies create policy-1 --global")]
    Create(Create),
    /// List policies
    #[command(after_help = "Example:\n  tombolo compute network-firewall-policies list --region us-central1")]
    List(ListAll),
    /// Show a policy with its rules
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies describe policy-1 --global"
    )]
    Describe(One),
    /// Delete policies
    #[command(after_help = "Example:\n  tombolo compute network-firewall-policies delete policy-1 --global")]
    Delete(All),
    /// The rules of a policy
    #[command(subcommand)]
    Rules(Rules),
    /// The networks in which a policy acts
    #[command(subcommand)]
    Associations(Associations),
}

/// Where a policy is.
#[derive(Debug, clap::Args)]
struct Scope {
    /// Everywhere
    #[arg(long, conflicts_with = "region")]
    global: bool,
    /// In this region
    #[arg(long)]
    region: Option<String>,
}

impl Scope {
    /// gcloud wants to be told whether a policy is global or regional.
    fn collection(&self, session: &Session<'_>) -> Result<String> {
        collection(session, self.global, self.region.as_deref(), ["--global", "--region"])
    }
}

fn collection(session: &Session<'_>, global: bool, region: Option<&str>, flags: [&str; 2]) -> Result<String> {
    match (global, region) {
        (true, _) => session.compute("global/firewallPolicies"),
        (false, Some(region)) => {
            session.compute(format!("regions/{}/firewallPolicies", encode(last(region))))
        }
        (false, None) => {
            let expected = format!("Exactly one of ({}) must be specified.", flags.join(" | "));
            Err(Usage(expected).into())
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: Scope,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListAll {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, clap::Args)]
pub(crate) struct All {
    #[command(flatten)]
    named: AllNamed,
    #[command(flatten)]
    scope: Scope,
}

/// What to do with rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Rules {
    /// Add a rule
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies rules create 1000 \\\n    --firewall-policy policy-1 --global-firewall-policy --direction INGRESS \\\n    --action goto_next --src-ip-ranges 10.0.0.0/8 --layer4-configs tcp:22,icmp"
    )]
    Create(Rule),
    /// Change a rule; what is not said stays
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies rules update 1000 \\\n    --firewall-policy policy-1 --global-firewall-policy --action deny"
    )]
    Update(Rule),
    /// Show a rule
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies rules describe 1000 \\\n    --firewall-policy policy-1 --global-firewall-policy"
    )]
    Describe(At),
    /// Delete a rule
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies rules delete 1000 \\\n    --firewall-policy policy-1 --global-firewall-policy"
    )]
    Delete(At),
}

/// A rule of a policy.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// Its priority
    priority: u32,
    #[command(flatten)]
    of: Of,
}

/// A policy.
#[derive(Debug, clap::Args)]
struct Of {
    /// The policy
    #[arg(long)]
    firewall_policy: String,
    /// It is a global one
    #[arg(long, conflicts_with = "firewall_policy_region")]
    global_firewall_policy: bool,
    /// It is one of this region
    #[arg(long, value_name = "REGION")]
    firewall_policy_region: Option<String>,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Action {
    Allow,
    Deny,
    /// What comes after the policy decides
    #[value(name = "goto_next")]
    GotoNext,
}

/// Where a rule acts.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Direction {
    /// Where packets are received
    Ingress,
    /// Where packets are sent
    Egress,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rule {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    says: Says,
}

/// What a rule says, of a policy of either kind.
#[derive(Debug, clap::Args)]
pub(super) struct Says {
    /// What it does
    #[arg(long, value_enum, ignore_case = true)]
    action: Option<Action>,
    /// Where it acts
    #[arg(long, value_enum, ignore_case = true)]
    direction: Option<Direction>,
    /// INGRESS: the sources. EGRESS: only what is sent from these
    #[arg(long, value_name = "RANGES")]
    src_ip_ranges: Option<List>,
    /// EGRESS: the destinations. INGRESS: only what is for these
    #[arg(long, value_name = "RANGES")]
    dest_ip_ranges: Option<List>,
    /// Protocols, with ports: tcp:22,udp:5000-6000,icmp or all
    #[arg(long, value_name = "PROTOCOL[:PORT[-PORT]],…")]
    layer4_configs: Option<List>,
    /// INGRESS: instances whose packets match too, by tag values: tagValues/NUMBER or PARENT/KEY/VALUE
    #[arg(long, value_name = "TAG_VALUES")]
    src_secure_tags: Option<List>,
    /// The instances that it acts at, by tag values
    #[arg(long, value_name = "TAG_VALUES", conflicts_with = "target_service_accounts")]
    target_secure_tags: Option<List>,
    /// The instances that it acts at, by service account
    #[arg(long, value_name = "EMAILS")]
    target_service_accounts: Option<List>,
    /// Connections that it decides about are logged: see `tombolo logs firewall`
    #[arg(long, conflicts_with = "no_enable_logging")]
    enable_logging: bool,
    #[arg(long, hide = true)]
    no_enable_logging: bool,
    /// It does nothing
    #[arg(long, conflicts_with = "no_disabled")]
    disabled: bool,
    #[arg(long, hide = true)]
    no_disabled: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// What to do with associations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Associations {
    /// Have a policy act in a network
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies associations create \\\n    --firewall-policy policy-1 --global-firewall-policy --network vpc-1"
    )]
    Create(Associate),
    /// End a policy's acting in a network
    #[command(
        after_help = "Example:\n  tombolo compute network-firewall-policies associations delete \\\n    --name network-vpc-1 --firewall-policy policy-1 --global-firewall-policy"
    )]
    Delete(Dissociate),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Associate {
    #[command(flatten)]
    of: Of,
    /// The network
    #[arg(long)]
    network: String,
    /// The association's name [default: network-NETWORK]
    #[arg(long)]
    name: Option<String>,
    /// A policy that acts there goes
    #[arg(long)]
    replace_association_on_target: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dissociate {
    #[command(flatten)]
    of: Of,
    /// The association's name
    #[arg(long)]
    name: String,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(Create { name, description, scope }) => {
                let body = Body::default()
                    .with("name", name.as_str())
                    .maybe("description", description.as_deref())
                    .json();
                session.show_all(session.create(&scope.collection(session)?, vec![body])?, TABLE)
            }
            Verb::List(ListAll { listed, scope }) => {
                let found = session.client.list(&scope.collection(session)?, "items")?;
                session.show_list(found, listed, TABLE)
            }
            Verb::Describe(One { named, scope }) => {
                let path = format!("{}/{}", scope.collection(session)?, encode(&named.name));
                session.show(session.client.get(&path)?)
            }
            Verb::Delete(All { named, scope }) => {
                session.delete("firewall policies", &scope.collection(session)?, &named.names)
            }
            Verb::Rules(rules) => rules.run(session),
            Verb::Associations(associations) => associations.run(session),
        }
    }
}

impl Of {
    fn policy<'s>(&self, session: &'s Session<'s>) -> Result<Policy<'s>> {
        let flags = ["--global-firewall-policy", "--firewall-policy-region"];
        let region = self.firewall_policy_region.as_deref();
        let collection = collection(session, self.global_firewall_policy, region, flags)?;
        Ok(Policy { session, path: format!("{collection}/{}", encode(last(&self.firewall_policy))) })
    }
}

/// A policy of either kind, by its path: what is done with its rules and associations.
pub(super) struct Policy<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) path: String,
}

impl Policy<'_> {
    /// Has a method of it called.
    fn call(&self, method: &str, body: Option<Value>) -> Result<()> {
        self.session.update(Method::POST, &format!("{}/{method}", self.path), body).map(drop)
    }

    /// Adds a rule that says this, and `more`.
    pub(super) fn add_rule(&self, priority: u32, says: &Says, more: Body) -> Result<()> {
        self.call("addRule", Some(says.add(self.session, more.with("priority", priority))?.json()))
    }

    /// Changes a rule to what is said, which must be something.
    pub(super) fn patch_rule(&self, priority: u32, says: &Says, more: Body) -> Result<()> {
        let body = says.add(self.session, more)?;
        if body.is_empty() {
            return Err(Usage("At least one property must be modified.".into()).into());
        }
        self.call(&format!("patchRule?priority={priority}"), Some(body.json()))
    }

    pub(super) fn show_rule(&self, priority: u32) -> Result<()> {
        let path = format!("{}/getRule?priority={priority}", self.path);
        self.session.show(self.session.client.get(&path)?)
    }

    pub(super) fn remove_rule(&self, priority: u32) -> Result<()> {
        self.call(&format!("removeRule?priority={priority}"), None)
    }

    /// Has it act at a target; with `replace` instead of one that does.
    pub(super) fn associate(&self, name: &str, target: &str, replace: bool) -> Result<()> {
        let body = Body::default().with("name", name).with("attachmentTarget", target).json();
        let replace = if replace { "?replaceExistingAssociation=true" } else { "" };
        self.call(&format!("addAssociation{replace}"), Some(body))
    }

    pub(super) fn dissociate(&self, name: &str) -> Result<()> {
        self.call(&format!("removeAssociation?name={}", encode(name)), None)
    }
}

impl Rules {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Rules::Create(Rule { at: At { priority, of }, says }) => {
                of.policy(session)?.add_rule(*priority, says, Body::default())
            }
            Rules::Update(Rule { at: At { priority, of }, says }) => {
                of.policy(session)?.patch_rule(*priority, says, Body::default())
            }
            Rules::Describe(At { priority, of }) => of.policy(session)?.show_rule(*priority),
            Rules::Delete(At { priority, of }) => of.policy(session)?.remove_rule(*priority),
        }
    }
}

impl Says {
    /// What a rule says besides `body`.
    fn add(&self, session: &Session<'_>, body: Body) -> Result<Body> {
        let action = self.action.map(|action| match action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::GotoNext => "goto_next",
        });
        let direction = self.direction.map(|at| if at == Direction::Ingress { "INGRESS" } else { "EGRESS" });
        let configs = self.layer4_configs.as_ref().map(|list| list.0.iter().map(config).collect::<Vec<_>>());
        let matched = Body::default()
            .maybe("srcIpRanges", self.src_ip_ranges.as_ref())
            .maybe("destIpRanges", self.dest_ip_ranges.as_ref())
            .maybe("srcSecureTags", tags::named(session, self.src_secure_tags.as_ref())?)
            .maybe("layer4Configs", configs);
        let matched = (!matched.is_empty()).then(|| matched.json());
        Ok(body
            .maybe("action", action)
            .maybe("direction", direction)
            .maybe("match", matched)
            .maybe("targetServiceAccounts", self.target_service_accounts.as_ref())
            .maybe("targetSecureTags", tags::named(session, self.target_secure_tags.as_ref())?)
            .maybe("enableLogging", either(self.enable_logging, self.no_enable_logging))
            .maybe("disabled", either(self.disabled, self.no_disabled))
            .maybe("description", self.description.as_deref()))
    }
}

/// `tcp:22` and the like as gcloud sends it.
fn config(text: &String) -> Value {
    match text.split_once(':') {
        Some((protocol, ports)) => json!({ "ipProtocol": protocol, "ports": [ports] }),
        None => json!({ "ipProtocol": text }),
    }
}

impl Associations {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Associations::Create(Associate { of, network, name, replace_association_on_target }) => {
                let target = session.network(network)?;
                let name = name.clone().unwrap_or_else(|| format!("network-{}", last(network)));
                of.policy(session)?.associate(&name, &target, *replace_association_on_target)
            }
            Associations::Delete(Dissociate { of, name }) => of.policy(session)?.dissociate(name),
        }
    }
}
