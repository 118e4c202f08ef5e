//! `redis`: Memorystore for Redis.

use super::args::{Body, InRegion, Listed, Pairs, either, upper};
use super::client::encode;
use super::session::{Session, Usage, last};
use super::{Globals, Noun};
use anyhow::Result;
use hyper::Method;
use serde_json::Value;

const TABLE: &str = "table(name.basename():label=INSTANCE_NAME, redisVersion:label=VERSION, \
                     name.segment(3):label=REGION, tier, memorySizeGb:label=SIZE_GB, host.yesno(no=\"-\"), \
                     port.yesno(no=\"-\"), authorizedNetwork.basename():label=NETWORK, \
                     reservedIpRange:label=RESERVED_IP, state:label=STATUS, createTime.date())";

/// Memorystore for Redis.
#[derive(Debug, clap::Args)]
pub(crate) struct Redis {
    #[command(subcommand)]
    noun: RedisNoun,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum RedisNoun {
    /// Redis instances
    #[command(subcommand)]
    Instances(Verb),
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a Redis instance
    #[command(
        after_help = "Example:\n  tombolo redis instances create redis-1 --region us-central1 --size 1 \\\n    --network projects/project-i-2/global/networks/vpc-2"
    )]
    Create(Create),
    /// List Redis instances of a region
    #[command(after_help = "Example:\n  tombolo redis instances list --region us-central1")]
    List(ListArgs),
    /// Show a Redis instance
    #[command(
        after_help = "Example:\n  tombolo redis instances describe redis-1 --region us-central1 \\\n    --format \"value(host)\""
    )]
    Describe(InRegion),
    /// Delete a Redis instance and what is in it
    #[command(after_help = "Example:\n  tombolo redis instances delete redis-1 --region us-central1")]
    Delete(InRegion),
    /// Change a Redis instance
    #[command(
        after_help = "Example:\n  tombolo redis instances update redis-1 --region us-central1 \\\n    --display-name \"the cache\""
    )]
    Update(Update),
    /// Print the password of a Redis instance that has one
    #[command(
        after_help = "Example:\n  tombolo redis instances get-auth-string redis-1 --region us-central1"
    )]
    GetAuthString(InRegion),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    which: InRegion,
    /// The network whose instances reach it
    #[arg(long, default_value = "default")]
    network: String,
    /// Its memory in GiB
    #[arg(long, value_name = "GIB", default_value_t = 1)]
    size: u32,
    /// BASIC: one server
    #[arg(long, default_value = "basic")]
    tier: String,
    /// A certain /29 for it, or the name of an allocated range; a free one when left out
    #[arg(long, value_name = "RANGE")]
    reserved_ip_range: Option<String>,
    /// DIRECT_PEERING or PRIVATE_SERVICE_ACCESS
    #[arg(long)]
    connect_mode: Option<String>,
    /// The version, such as redis_7_0
    #[arg(long)]
    redis_version: Option<String>,
    /// Want a password of its clients
    #[arg(long)]
    enable_auth: bool,
    /// SERVER_AUTHENTICATION: its clients speak TLS, on port 6378; DISABLED
    #[arg(long, value_name = "MODE")]
    transit_encryption_mode: Option<String>,
    /// Its zone
    #[arg(long)]
    zone: Option<String>,
    /// What it is for
    #[arg(long)]
    display_name: Option<String>,
    /// Its labels
    #[arg(long, value_name = "KEY=VALUE,…")]
    labels: Option<Pairs>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The region; - for all [default: $CLOUDSDK_REDIS_REGION, else $CLOUDSDK_COMPUTE_REGION]
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    which: InRegion,
    /// What it is for
    #[arg(long)]
    display_name: Option<String>,
    /// Its memory in GiB
    #[arg(long, value_name = "GIB")]
    size: Option<u32>,
    /// Want a password of its clients
    #[arg(long, conflicts_with = "no_enable_auth")]
    enable_auth: bool,
    #[arg(long, hide = true)]
    no_enable_auth: bool,
}

/// The instances of a region.
fn collection(session: &Session<'_>, region: Option<&String>) -> Result<String> {
    let own = std::env::var("CLOUDSDK_REDIS_REGION").ok().filter(|region| !region.is_empty());
    let region = session.region(region.cloned().or(own).as_ref())?;
    Ok(format!("/redis/v1/projects/{}/locations/{}/instances", encode(session.project()?), encode(&region)))
}

fn path(session: &Session<'_>, which: &InRegion) -> Result<String> {
    Ok(format!("{}/{}", collection(session, which.region.as_ref())?, encode(last(&which.name))))
}

impl Noun for Redis {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        let RedisNoun::Instances(verb) = &self.noun;
        match verb {
            Verb::Create(create) => create.run(session),
            Verb::List(list) => {
                let items = session.client.list(&collection(session, list.region.as_ref())?, "instances")?;
                session.show_list(items, &list.listed, TABLE)
            }
            Verb::Describe(which) => session.show(session.client.get(&path(session, which)?)?),
            Verb::Delete(which) => {
                session.confirm(&format!(
                    "You are about to delete instance [{}]. Any associated data will be lost.\n",
                    which.name
                ))?;
                session.client.change(Method::DELETE, &path(session, which)?, None)?;
                eprintln!("Deleted instance [{}].", which.name);
                Ok(())
            }
            Verb::Update(update) => update.run(session),
            Verb::GetAuthString(which) => {
                let answer = session.client.get(&format!("{}/authString", path(session, which)?))?;
                session.show(answer)
            }
        }
    }
}

impl Create {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let collection = collection(session, self.which.region.as_ref())?;
        let url = format!("{collection}?instanceId={}", encode(&self.which.name));
        session.client.change(Method::POST, &url, Some(self.body(session)?))?;
        eprintln!("Created instance [{}].", self.which.name);
        // gcloud shows a new instance only to who asks for a format.
        match session.has_format() {
            true => session.show(session.client.get(&path(session, &self.which)?)?),
            false => Ok(()),
        }
    }

    fn body(&self, session: &Session<'_>) -> Result<Value> {
        Ok(Body::default()
            .with("tier", upper(&self.tier))
            .with("memorySizeGb", self.size)
            .with("authorizedNetwork", session.network(&self.network)?)
            .maybe("reservedIpRange", self.reserved_ip_range.as_deref())
            .maybe("connectMode", self.connect_mode.as_ref().map(upper))
            .maybe("redisVersion", self.redis_version.as_ref().map(upper))
            .maybe("authEnabled", self.enable_auth.then_some(true))
            .maybe("transitEncryptionMode", self.transit_encryption_mode.as_ref().map(upper))
            .maybe("locationId", self.zone.as_deref())
            .maybe("displayName", self.display_name.as_deref())
            .maybe("labels", self.labels.as_ref().map(Pairs::map))
            .json())
    }
}

impl Update {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let body = Body::default()
            .maybe("displayName", self.display_name.as_deref())
            .maybe("memorySizeGb", self.size)
            .maybe("authEnabled", either(self.enable_auth, self.no_enable_auth))
            .json();
        let fields: Vec<&str> =
            body.as_object().into_iter().flatten().map(|(field, _)| field.as_str()).collect();
        if fields.is_empty() {
            return Err(Usage("Must specify at least one field to update.".into()).into());
        }
        let path = path(session, &self.which)?;
        let url = format!("{path}?updateMask={}", encode(&fields.join(",")));
        session.client.change(Method::PATCH, &url, Some(body))?;
        eprintln!("Updated instance [{}].", self.which.name);
        session.show(session.client.get(&path)?)
    }
}
