//! What every verb does with its request: send it, say what was done, show what is there.

use super::args::{InRegion, InZone, List, Listed, ListedByRegion, ListedByZone};
use super::client::{Client, Refused, encode, path_of};
use super::projection::{Column, Format, get, parse_key, unlabelled};
use super::transform::plain;
use super::{Globals, print};
use anyhow::Result;
use hyper::Method;
use serde_json::Value;
use std::cmp::Reverse;
use std::io::{IsTerminal, Write};

/// Arguments that make no sense together, or that are missing: the exit status is 2, as where the parser says so.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A variable of the environment that is there and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// One run of a verb.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    globals: &'a Globals,
    project: Option<String>,
}

impl<'a> Session<'a> {
    /// A session; `project` is the lab's only one.
    pub(crate) fn new(client: Client, globals: &'a Globals, project: Option<String>) -> Session<'a> {
        let said = globals.project.clone().or_else(|| variable("CLOUDSDK_CORE_PROJECT"));
        Session { client, globals, project: said.or(project) }
    }

    /// The project that is meant.
    pub(crate) fn project(&self) -> Result<&str> {
        let missing = "The required property [project] is not currently set: say --project PROJECT, or set \
                       CLOUDSDK_CORE_PROJECT.";
        Ok(self.project.as_deref().ok_or_else(|| Usage(missing.into()))?)
    }

    /// The path of something in the project, in Compute: `global/networks/n`.
    pub(crate) fn compute(&self, rest: impl std::fmt::Display) -> Result<String> {
        Ok(format!("/compute/v1/projects/{}/{rest}", encode(self.project()?)))
    }

    /// The zone that is meant.
    pub(crate) fn zone(&self, said: Option<&String>) -> Result<String> {
        place(said, "zone", "CLOUDSDK_COMPUTE_ZONE")
    }

    /// The region that is meant.
    pub(crate) fn region(&self, said: Option<&String>) -> Result<String> {
        place(said, "region", "CLOUDSDK_COMPUTE_REGION")
    }

    /// The path of a collection of a zone, in Compute: `instances`.
    pub(crate) fn of_zone(&self, noun: &str, zone: Option<&String>) -> Result<String> {
        self.compute(format!("zones/{}/{noun}", encode(&self.zone(zone)?)))
    }

    /// The path of a collection of a region, in Compute: `routers`.
    pub(crate) fn of_region(&self, noun: &str, region: Option<&String>) -> Result<String> {
        self.compute(format!("regions/{}/{noun}", encode(&self.region(region)?)))
    }

    /// The path of something in a zone's collection.
    pub(crate) fn in_zone(&self, noun: &str, InZone { name, zone }: &InZone) -> Result<String> {
        Ok(format!("{}/{}", self.of_zone(noun, zone.as_ref())?, encode(last(name))))
    }

    /// The path of something in a region's collection.
    pub(crate) fn in_region(&self, noun: &str, InRegion { name, region }: &InRegion) -> Result<String> {
        Ok(format!("{}/{}", self.of_region(noun, region.as_ref())?, encode(last(name))))
    }

    /// The link of something that is said by its name in a collection, `regions/r/subnetworks`, or is a link already.
    pub(crate) fn link(&self, collection: impl std::fmt::Display, said: &str) -> Result<String> {
        Ok(match said.contains('/') {
            true => said.to_owned(),
            false => format!("projects/{}/{collection}/{said}", self.project()?),
        })
    }

    /// The path of a network that is said by its name, a path or a link.
    pub(crate) fn network(&self, said: &str) -> Result<String> {
        match said.find("projects/") {
            Some(at) => Ok(said.get(at..).unwrap_or_default().to_owned()),
            None => Ok(format!("projects/{}/global/networks/{}", self.project()?, last(said))),
        }
    }

    /// Creates resources of Compute and says so; the resources as they are now.
    pub(crate) fn create(&self, collection: &str, bodies: Vec<Value>) -> Result<Vec<Value>> {
        let mut made = Vec::new();
        for body in bodies {
            let operation = self.client.change(Method::POST, collection, Some(body))?;
            let link = operation["targetLink"].as_str().unwrap_or_default();
            eprintln!("Created [{link}].");
            warn(&operation);
            made.push(self.client.get(&path_of(link))?);
        }
        Ok(made)
    }

    /// Makes a change of a resource of Compute and says so; its link.
    pub(crate) fn update(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let operation = self.client.change(method, path, body)?;
        let link = operation["targetLink"].as_str().unwrap_or_default().to_owned();
        eprintln!("Updated [{link}].");
        warn(&operation);
        Ok(link)
    }

    /// Deletes resources of Compute, after having asked.
    pub(crate) fn delete(&self, what: &str, collection: &str, names: &[String]) -> Result<()> {
        let list: String = names.iter().map(|name| format!(" - [{name}]\n")).collect();
        self.confirm(&format!("The following {what} will be deleted:\n{list}"))?;
        for name in names {
            let path = format!("{collection}/{}", encode(last(name)));
            let operation = self.client.change(Method::DELETE, &path, None)?;
            eprintln!("Deleted [{}].", operation["targetLink"].as_str().unwrap_or_default());
            warn(&operation);
        }
        Ok(())
    }

    /// Everything in the collections of every zone, or of those that are said.
    pub(crate) fn list_zones(&self, noun: &str, list: &ListedByZone) -> Result<Vec<Value>> {
        self.list_places(noun, "zone", list.zones.as_ref())
    }

    /// Everything in the collections of every region, or of those that are said.
    pub(crate) fn list_regions(&self, noun: &str, list: &ListedByRegion) -> Result<Vec<Value>> {
        self.list_places(noun, "region", list.regions.as_ref())
    }

    fn list_places(&self, noun: &str, kind: &str, places: Option<&List>) -> Result<Vec<Value>> {
        let mut all = self.client.list(&self.compute(format!("aggregated/{noun}"))?, noun)?;
        if let Some(List(places)) = places {
            all.retain(|item| {
                let place = last(item[kind].as_str().unwrap_or_default());
                places.iter().any(|wanted| wanted == place)
            });
        }
        Ok(all)
    }

    /// Shows a list: what of it matches, in order, up to the limit.
    pub(crate) fn show_list(&self, items: Vec<Value>, listed: &Listed, table: &str) -> Result<()> {
        self.show_matching(matching(items, listed, table)?, listed, table)
    }

    /// Shows a list of what matches already.
    pub(crate) fn show_matching(&self, mut items: Vec<Value>, listed: &Listed, table: &str) -> Result<()> {
        let columns = columns(table)?;
        for key in listed.sort_by.iter().flat_map(|keys| keys.0.iter()).rev() {
            let (bare, backwards) = match key.strip_prefix('~') {
                Some(bare) => (bare, true),
                None => (key.as_str(), false),
            };
            let key = parse_key(bare).map_err(|why| Usage(format!("--sort-by: {why}")))?;
            let key = unlabelled(key, &columns);
            let text = |item: &Value| plain(&get(item, &key));
            match backwards {
                // What is equal stays in its order, backwards too.
                true => items.sort_by_cached_key(|item| Reverse(text(item))),
                false => items.sort_by_cached_key(text),
            }
        }
        items.truncate(listed.limit.unwrap_or(usize::MAX));
        let none = items.is_empty();
        if listed.uri {
            let links =
                items.iter().map(|item| format!("{}\n", item["selfLink"].as_str().unwrap_or_default()));
            crate::output::print(&links.collect::<String>());
        } else {
            self.show_all(items, table)?;
        }
        if none {
            eprintln!("Listed 0 items.");
        }
        Ok(())
    }

    /// Shows resources, as a table unless said otherwise.
    pub(crate) fn show_all(&self, resources: Vec<Value>, table: &str) -> Result<()> {
        let shown = print::many(resources, self.globals.format.as_ref(), table);
        shown.map_err(|why| Usage(format!("--format: {why}")).into())
    }

    /// Shows a resource, as YAML unless said otherwise.
    pub(crate) fn show(&self, resource: Value) -> Result<()> {
        let shown = print::one(resource, self.globals.format.as_ref());
        shown.map_err(|why| Usage(format!("--format: {why}")).into())
    }

    /// Whether something was said of the format.
    pub(crate) fn has_format(&self) -> bool {
        self.globals.format.is_some()
    }

    /// Asks whether to go on, where somebody is there to answer.
    pub(crate) fn confirm(&self, what: &str) -> Result<()> {
        let disabled = variable("CLOUDSDK_CORE_DISABLE_PROMPTS")
            .is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()));
        if self.globals.quiet || disabled || !std::io::stdin().is_terminal() {
            return Ok(());
        }
        eprint!("{what}\nDo you want to continue (Y/n)?  ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => Ok(()),
            _ => Err(Refused("Aborted by user.".into()).into()),
        }
    }
}

/// Says what an operation of Compute warns of, as gcloud does.
fn warn(operation: &Value) {
    let warnings = operation["warnings"].as_array().into_iter().flatten();
    let lines: String =
        warnings.map(|warning| format!(" - {}\n", warning["message"].as_str().unwrap_or_default())).collect();
    if !lines.is_empty() {
        eprintln!("WARNING: Some requests generated warnings:\n{lines}");
    }
}

/// The columns of a table.
fn columns(table: &str) -> Result<Vec<Column>> {
    let table: Format = table.parse().map_err(Usage)?;
    Ok(table.columns.unwrap_or_default())
}

/// What of a list matches its filter, in which labels of the table's columns are keys.
pub(crate) fn matching(mut items: Vec<Value>, listed: &Listed, table: &str) -> Result<Vec<Value>> {
    if let Some(filter) = &listed.filter {
        let filter = filter.clone().with_columns(&columns(table)?);
        items.retain(|item| filter.matches(item));
    }
    Ok(items)
}

/// A zone or region: said, or in the environment as gcloud has it.
fn place(said: Option<&String>, what: &str, property: &str) -> Result<String> {
    let missing = || Usage(format!("argument --{what}: Must be specified, here or in {property}."));
    Ok(said.cloned().or_else(|| variable(property)).ok_or_else(missing)?)
}

/// The last part of a path or a link.
pub(crate) fn last(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or_default()
}
