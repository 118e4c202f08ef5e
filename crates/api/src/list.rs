//! Lists: `filter`, `orderBy`, `maxResults` or `pageSize`, `pageToken`; and Compute's lists over all scopes.
//!
//! Items come in the order of their keys, or in one that their noun gives ([`ranked`]).

use crate::failure::Failure;
use crate::filter::Filter;
use crate::methods::Api;
use crate::outcome::Outcome;
use crate::{Call, links, project, zone};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Google's default and largest page in Compute.
const PAGE: usize = 500;
/// The largest page of the other APIs.
const LARGEST: usize = 1000;

/// One page of `items`, and the token of the next one if there is more.
pub(crate) fn page(call: &Call<'_>, items: Vec<Value>) -> Result<(Vec<Value>, Option<String>), Failure> {
    let filter = call.query("filter").map(Filter::parse).transpose().map_err(|error| {
        Failure::invalid(format!(
            "Invalid value for field 'filter': '{}'. {error}",
            call.query("filter").unwrap_or_default()
        ))
    })?;
    // In that API projects alone are filtered.
    let filter = match call.method.api {
        Api::ResourceManagerV1 => filter.map(Filter::of_projects),
        _ => filter,
    };
    let mut items: Vec<Value> =
        items.into_iter().filter(|item| filter.as_ref().is_none_or(|filter| filter.matches(item))).collect();
    let order = Order::of(call)?;
    items.sort_by_cached_key(|item| order.place(item));
    let (name, largest) = match call.method.api {
        Api::Compute => ("maxResults", PAGE),
        Api::Dns => ("maxResults", LARGEST),
        _ => ("pageSize", LARGEST),
    };
    let size = match call.query(name).map(|text| (text, text.parse::<usize>())) {
        None | Some((_, Ok(0))) => PAGE,
        Some((_, Ok(size))) if size <= largest || !call.is_compute() => size.min(largest),
        Some((text, _)) => {
            return Err(Failure::invalid(format!(
                "Invalid value for field '{name}': '{text}'. Must be a number from 0 to {largest}."
            )));
        }
    };
    let start = match call.query("pageToken") {
        None => 0,
        Some(token) => {
            let last = order.read(token).ok_or_else(|| {
                Failure::invalid(format!(
                    "Invalid value for field 'pageToken': '{token}'. It is none that was given out."
                ))
            })?;
            items.partition_point(|item| order.place(item) <= last)
        }
    };
    let more = items.len() > start + size;
    let mut page: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let next = page.last().filter(|_| more).map(|last| order.token(last));
    for item in &mut page {
        item.as_object_mut().map(|item| item.shift_remove(RANK));
    }
    Ok((page, next))
}

/// What an item has while its page is cut, if its list has an order that its name does not tell.
const RANK: &str = "\u{0}rank";

/// Items in an order of their own: by `rank`, which no two of them share.
pub(crate) fn ranked(items: impl Iterator<Item = (String, Value)>) -> Vec<Value> {
    let with = |(rank, mut item): (String, Value)| {
        item[RANK] = Value::String(rank);
        item
    };
    items.map(with).collect()
}

/// Items in the order in which they come, which must be the same for ever: what nobody makes or deletes.
pub(crate) fn fixed(items: impl Iterator<Item = Value>) -> Vec<Value> {
    ranked(items.enumerate().map(|(at, item)| (format!("{at:09}"), item)))
}

/// The order of a list. A page's token is the place of its last item and not how many came before, so that the next
/// page begins after it though that item, or any before it, was deleted meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// By name: whatever tells an item from the others of its list.
    Name,
    /// By a field first.
    Up(&'static str),
    Down(&'static str),
}

/// An item's place in a list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Up(String, String),
    Down(Reverse<String>, String),
}

impl Order {
    /// `orderBy`: by name, which is the order here anyway, or by age.
    fn of(call: &Call<'_>) -> Result<Order, Failure> {
        let Some(order) = call.query("orderBy") else { return Ok(Order::Name) };
        let mut words = order.split_whitespace();
        let (field, direction, more) = (words.next().unwrap_or_default(), words.next(), words.next());
        let field = ["name", "creationTimestamp"].into_iter().find(|known| *known == field);
        match (field, direction, more) {
            (Some(field), None | Some("asc"), None) => Ok(Order::Up(field)),
            (Some(field), Some("desc"), None) => Ok(Order::Down(field)),
            _ => Err(Failure::invalid(format!(
                "Invalid value for field 'orderBy': '{order}'. Expected 'name' or 'creationTimestamp desc'."
            ))),
        }
    }

    fn place(self, item: &Value) -> Place {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        match self {
            Order::Name => self.at(String::new(), name(item)),
            Order::Up(field) | Order::Down(field) => self.at(text(field), name(item)),
        }
    }

    fn at(self, first: String, name: String) -> Place {
        match self {
            Order::Name | Order::Up(_) => Place::Up(first, name),
            Order::Down(_) => Place::Down(Reverse(first), name),
        }
    }

    /// The token of the page that ends with an item.
    fn token(self, last: &Value) -> String {
        let (Place::Up(first, name) | Place::Down(Reverse(first), name)) = self.place(last);
        URL_SAFE_NO_PAD.encode(json!([first, name]).to_string())
    }

    /// The place that a token says.
    fn read(self, token: &str) -> Option<Place> {
        let text = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (first, name) = serde_json::from_slice(&text).ok()?;
        Some(self.at(first, name))
    }
}

/// What tells an item from the others of its list, and orders it as its key does: by the parts of its path.
fn name(item: &Value) -> String {
    const NAMES: [&str; 6] = [RANK, "selfLink", "projectId", "name", "tagValue", "id"];
    let name = NAMES.iter().find_map(|field| item[*field].as_str()).unwrap_or_default();
    // Record sets share their names, and are told apart by their types.
    match item["type"].as_str() {
        Some(kind) if item["kind"] == "dns#resourceRecordSet" => format!("{name} {kind}"),
        _ => name.replace('/', "\u{0}"),
    }
}

/// A list of Compute's. `kind` is such as `compute#networkList`, `path` such as `projects/p/global/networks`.
pub(crate) fn compute(
    call: &Call<'_>,
    kind: &str,
    path: &str,
    items: Vec<Value>,
) -> Result<Outcome, Failure> {
    let (items, next) = page(call, items)?;
    let mut list = json!({ "kind": kind, "id": path });
    if !items.is_empty() {
        list["items"] = Value::Array(items);
    }
    if let Some(next) = next {
        list["nextPageToken"] = json!(next);
    }
    list["selfLink"] = json!(links::link(path));
    Ok(Outcome::Reply(list))
}

/// A list of Compute's of the call's zone or region: those of `all`, each with its own, that are there. `one` and `many` are
/// such as `router` and `routers`.
pub(crate) fn in_place<'k>(
    call: &Call<'_>,
    (one, many): (&str, &str),
    all: impl Iterator<Item = (&'k str, Value)>,
) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (kind, place) = match call.param("zone") {
        "" => ("regions", zone::require_region(call)?),
        _ => ("zones", zone::require_zone(call)?),
    };
    let items = all.filter(|(at, _)| *at == place).map(|(_, wire)| wire).collect();
    let path = format!("projects/{}/{kind}/{place}/{many}", call.project());
    compute(call, &format!("compute#{one}List"), &path, items)
}

/// A list of Compute's over all scopes. `scopes` are such as `zones/z` or `global`, the empty ones too; `noun` is the
/// items' field.
pub(crate) fn aggregated(
    call: &Call<'_>,
    kind: &str,
    noun: &str,
    scopes: impl Iterator<Item = String>,
    items: Vec<(String, Value)>,
) -> Result<Outcome, Failure> {
    // Discovery says no more than that it is for subnetworks that are usable: the whole list would answer something else.
    if call.query("serviceProjectNumber").is_some() {
        let id = call.method.id;
        return Err(Failure::unsupported(format_args!("the parameter 'serviceProjectNumber' of '{id}'")));
    }
    // Each item knows its scope while the page is cut, whatever the filter looks at.
    const SCOPE: &str = "\u{0}scope";
    let tagged = items.into_iter().map(|(scope, mut item)| {
        item[SCOPE] = json!(scope);
        item
    });
    let (page, next) = page(call, tagged.collect())?;
    let mut by_scope: BTreeMap<String, Vec<Value>> = scopes.map(|scope| (scope, Vec::new())).collect();
    for mut item in page {
        let scope = item.as_object_mut().and_then(|map| map.shift_remove(SCOPE));
        let scope = scope.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        by_scope.entry(scope).or_default().push(item);
    }
    let path = format!("projects/{}/aggregated/{noun}", call.project());
    let scoped = by_scope.into_iter().map(|(scope, items)| {
        let value =
            if items.is_empty() { json!({ "warning": nothing(&scope) }) } else { json!({ noun: items }) };
        (scope, value)
    });
    let scoped: Map<String, Value> = scoped.collect();
    let mut list = json!({ "kind": kind, "id": path, "items": scoped, "selfLink": links::link(&path) });
    if let Some(next) = next {
        list["nextPageToken"] = json!(next);
    }
    Ok(Outcome::Reply(list))
}

fn nothing(scope: &str) -> Value {
    json!({
        "code": "NO_RESULTS_ON_PAGE",
        "message": format!("There are no results for scope '{scope}' on this page."),
        "data": [{ "key": "scope", "value": scope }],
    })
}

/// A list of the other APIs: the items in a field of their own.
pub(crate) fn named(call: &Call<'_>, noun: &str, items: Vec<Value>) -> Result<Outcome, Failure> {
    let (items, next) = page(call, items)?;
    let mut list = json!({});
    if !items.is_empty() {
        list[noun] = Value::Array(items);
    }
    if let Some(next) = next {
        list["nextPageToken"] = json!(next);
    }
    Ok(Outcome::Reply(list))
}

/// A list of Cloud DNS's: the items in a field of their own, empty or not. `kind` is such as
/// `dns#managedZonesListResponse`.
pub(crate) fn dns(call: &Call<'_>, kind: &str, noun: &str, items: Vec<Value>) -> Result<Outcome, Failure> {
    let (items, next) = page(call, items)?;
    let mut list = json!({ "kind": kind, noun: items });
    if let Some(next) = next {
        list["nextPageToken"] = json!(next);
    }
    Ok(Outcome::Reply(list))
}
