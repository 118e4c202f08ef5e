//! `compute firewall-policies`: hierarchical ones, of the organization and its folders.

use super::args::{Body, List, Listed};
use super::client::encode;
use super::folders::{self, Place};
use super::network_firewall_policies::{Policy, Says};
use super::session::{Session, Usage, last};
use anyhow::Result;
use hyper::Method;
use serde_json::Value;

const TABLE: &str = "table(name, shortName, description)";
const ASSOCIATIONS: &str = "table(name, firewallPolicyId, shortName, attachmentTarget)";
const COLLECTION: &str = "/compute/v1/locations/global/firewallPolicies";

/// What to do with hierarchical firewall policies.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a policy, which has no rules and acts nowhere yet
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies create --short-name policy-1 \\\n    --organization 433637338589"
    )]
    Create(Create),
    /// List the policies that are kept in the organization or a folder
    #[command(after_help = "Example:\n  tombolo compute firewall-policies list --organization 433637338589")]
    List(ListIn),
    /// Show a policy with its rules
    #[command(after_help = "Example:\n  tombolo compute firewall-policies describe policy-1")]
    Describe(One),
    /// Change what is said of a policy
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies update policy-1 --description \"for all\""
    )]
    Update(Update),
    /// Keep a policy in another node
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies move policy-1 --folder 676775160624"
    )]
    Move(Move),
    /// Replace a policy's rules with those of another one
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies clone-rules policy-1 \\\n    --source-firewall-policy policy-2"
    )]
    CloneRules(CloneRules),
    /// Delete a policy
    #[command(after_help = "Example:\n  tombolo compute firewall-policies delete policy-1")]
    Delete(One),
    /// The rules of a policy
    #[command(subcommand)]
    Rules(Rules),
    /// The organization and folders at which policies act
    #[command(subcommand)]
    Associations(Associations),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// What people call it
    #[arg(long)]
    short_name: String,
    #[command(flatten)]
    place: Place,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListIn {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    listed: Listed,
}

/// A policy.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The policy, by its number or its short name
    name: String,
    /// The organization, in which short names are unique
    #[arg(long)]
    organization: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    #[command(flatten)]
    one: One,
    /// What it is for
    #[arg(long)]
    description: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// The policy, by its number or its short name
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CloneRules {
    #[command(flatten)]
    one: One,
    /// The policy whose rules they are
    #[arg(long, value_name = "POLICY")]
    source_firewall_policy: String,
}

/// What to do with rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Rules {
    /// Add a rule
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies rules create 1000 \\\n    --firewall-policy policy-1 --direction INGRESS --action goto_next \\\n    --src-ip-ranges 10.0.0.0/8 --layer4-configs tcp:22,icmp"
    )]
    Create(Rule),
    /// Change a rule; what is not said stays
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies rules update 1000 \\\n    --firewall-policy policy-1 --action deny"
    )]
    Update(Rule),
    /// List a policy's rules
    #[command(after_help = "Example:\n  tombolo compute firewall-policies rules list policy-1")]
    List(RulesOf),
    /// Show a rule
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies rules describe 1000 \\\n    --firewall-policy policy-1"
    )]
    Describe(At),
    /// Delete a rule
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies rules delete 1000 --firewall-policy policy-1"
    )]
    Delete(At),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RulesOf {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    listed: Listed,
}

/// A policy that a rule or an association is of.
#[derive(Debug, clap::Args)]
struct Of {
    /// The policy, by its number or its short name
    #[arg(long)]
    firewall_policy: String,
}

/// A rule of a policy.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// Its priority
    priority: u32,
    #[command(flatten)]
    of: Of,
    /// The organization, in which short names are unique
    #[arg(long)]
    organization: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rule {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    says: Says,
    /// The networks that it acts in; all beneath where the policy acts when not said
    #[arg(long, value_name = "NETWORKS")]
    target_resources: Option<List>,
}

/// What to do with associations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Associations {
    /// Have a policy act at the organization or a folder
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies associations create \\\n    --firewall-policy policy-1 --organization 433637338589"
    )]
    Create(Associate),
    /// List what acts at the organization or a folder
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies associations list \\\n    --organization 433637338589"
    )]
    List(ListIn),
    /// End a policy's acting somewhere
    #[command(
        after_help = "Example:\n  tombolo compute firewall-policies associations delete \\\n    organization-433637338589 --firewall-policy policy-1"
    )]
    Delete(Dissociate),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Associate {
    #[command(flatten)]
    of: Of,
    /// The organization: at which it is to act, unless a folder is said
    #[arg(long)]
    organization: Option<String>,
    /// The folder at which it is to act
    #[arg(long)]
    folder: Option<String>,
    /// The association's name [default: organization-NUMBER or folder-NUMBER]
    #[arg(long)]
    name: Option<String>,
    /// A policy that acts there goes
    #[arg(long)]
    replace_association_on_target: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dissociate {
    /// The association's name
    name: String,
    #[command(flatten)]
    of: Of,
    /// The organization, in which short names are unique
    #[arg(long)]
    organization: Option<String>,
}

/// The path of a policy that is said by its number, a link or its short name.
fn path(session: &Session<'_>, said: &str, organization: Option<&String>) -> Result<String> {
    let said = last(said);
    if said.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(format!("{COLLECTION}/{said}"));
    }
    let nodes = folders::nodes(session)?;
    if let Some(other) = organization.filter(|it| !nodes.contains(&format!("organizations/{}", last(it)))) {
        return Err(Usage(format!("--organization: there is no organization [{other}].")).into());
    }
    for node in nodes {
        let found = session.client.list(&format!("{COLLECTION}?parentId={node}"), "items")?;
        let found = found.iter().find(|policy| policy["shortName"] == said);
        if let Some(name) = found.and_then(|policy| policy["name"].as_str()) {
            return Ok(format!("{COLLECTION}/{name}"));
        }
    }
    // The server says that there is none.
    Ok(format!("{COLLECTION}/{}", encode(said)))
}

impl One {
    fn path(&self, session: &Session<'_>) -> Result<String> {
        path(session, &self.name, self.organization.as_ref())
    }
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(Create { short_name, place, description }) => {
                let body = Body::default()
                    .with("shortName", short_name.as_str())
                    .maybe("description", description.as_deref())
                    .json();
                let path = format!("{COLLECTION}?parentId={}", place.node()?);
                session.show_all(session.create(&path, vec![body])?, TABLE)
            }
            Verb::List(ListIn { place, listed }) => {
                let path = format!("{COLLECTION}?parentId={}", place.node()?);
                session.show_list(session.client.list(&path, "items")?, listed, TABLE)
            }
            Verb::Describe(one) => session.show(session.client.get(&one.path(session)?)?),
            Verb::Update(Update { one, description }) => {
                let body = Body::default().with("description", description.as_str()).json();
                session.update(Method::PATCH, &one.path(session)?, Some(body)).map(drop)
            }
            Verb::Move(Move { name, place }) => {
                let path = format!("{}/move?parentId={}", path(session, name, None)?, place.node()?);
                session.update(Method::POST, &path, None).map(drop)
            }
            Verb::CloneRules(CloneRules { one, source_firewall_policy }) => {
                let source = path(session, source_firewall_policy, one.organization.as_ref())?;
                let (path, source) = (one.path(session)?, last(&source));
                let path = format!("{path}/cloneRules?sourceFirewallPolicy={source}");
                session.update(Method::POST, &path, None).map(drop)
            }
            Verb::Delete(one) => {
                let number = last(&one.path(session)?).to_owned();
                session.delete("firewall policies", COLLECTION, &[number])
            }
            Verb::Rules(rules) => rules.run(session),
            Verb::Associations(associations) => associations.run(session),
        }
    }
}

impl Rules {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Rules::Create(said) => {
                at(session, &said.at)?.add_rule(said.at.priority, &said.says, said.more(session)?)
            }
            Rules::Update(said) => {
                at(session, &said.at)?.patch_rule(said.at.priority, &said.says, said.more(session)?)
            }
            Rules::List(RulesOf { one, listed }) => {
                let policy = session.client.get(&one.path(session)?)?;
                let rules = policy["rules"].as_array().cloned().unwrap_or_default();
                let table = "table(priority, direction, action, disabled, description)";
                session.show_list(rules, listed, table)
            }
            Rules::Describe(said) => at(session, said)?.show_rule(said.priority),
            Rules::Delete(said) => at(session, said)?.remove_rule(said.priority),
        }
    }
}

/// The policy that a rule is of.
fn at<'s>(session: &'s Session<'s>, said: &At) -> Result<Policy<'s>> {
    policy(session, &said.of, said.organization.as_ref())
}

fn policy<'s>(session: &'s Session<'s>, of: &Of, organization: Option<&String>) -> Result<Policy<'s>> {
    Ok(Policy { session, path: path(session, &of.firewall_policy, organization)? })
}

impl Rule {
    /// What it says that rules of other policies cannot.
    fn more(&self, session: &Session<'_>) -> Result<Body> {
        let Some(List(networks)) = &self.target_resources else { return Ok(Body::default()) };
        let link = |network: &String| -> Result<Value> {
            Ok(format!("https://www.googleapis.com/compute/v1/{}", session.network(network)?).into())
        };
        Ok(Body::default().with("targetResources", networks.iter().map(link).collect::<Result<Vec<_>>>()?))
    }
}

impl Associations {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Associations::Create(Associate {
                of,
                organization,
                folder,
                name,
                replace_association_on_target,
            }) => {
                let node =
                    Place::of(organization.as_ref().filter(|_| folder.is_none()), folder.as_ref()).node()?;
                let default = || node.replacen("s/", "-", 1);
                let name = name.clone().unwrap_or_else(default);
                let policy = policy(session, of, organization.as_ref())?;
                policy.associate(&name, &node, *replace_association_on_target)
            }
            Associations::List(ListIn { place, listed }) => {
                let path = format!("{COLLECTION}/listAssociations?targetResource={}", place.node()?);
                let found = session.client.get(&path)?;
                let items = found["associations"].as_array().cloned().unwrap_or_default();
                session.show_list(items, listed, ASSOCIATIONS)
            }
            Associations::Delete(Dissociate { name, of, organization }) => {
                policy(session, of, organization.as_ref())?.dissociate(name)
            }
        }
    }
}
