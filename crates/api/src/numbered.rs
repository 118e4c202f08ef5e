//! Numbers in Compute's paths: a project's, and that of what the path is about, are as good as their names.
//!
//! Source: the pattern of such parameters in Compute's discovery document,
//! `[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?|[1-9][0-9]{0,19}`. No name begins with a digit.

use crate::methods::{self, Api, Method, Params};
use crate::outcome::Outcome;
use crate::request::{Request, Verb};
use crate::state::State;
use serde_json::Value;
use tombolo_model::Timestamp;

/// Replaces the numbers in a request's parameters by the names of what has them. One that nothing has stays, and is found
/// to be no name.
pub(crate) fn resolve(
    state: &State,
    request: &Request,
    method: &Method,
    params: &mut Params,
    now: Timestamp,
) {
    if method.api != Api::Compute {
        return;
    }
    if let Some(project) = params.get_mut("project").filter(|said| is_number(said)) {
        let mut all = state.world.projects.iter();
        if let Some((id, _)) = all.find(|(_, found)| found.shown_number() == *project) {
            *project = id.clone();
        }
    }
    let Some((at, name)) = method.last_parameter().filter(|(_, name)| *name != "project") else { return };
    let said = params.get_mut(name).filter(|said| is_number(said));
    if let Some(said) = said
        && let Some(found) = name_of(state, request, at, said, now)
    {
        *said = found;
    }
}

fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

/// The name of what has a number among those that the list at the request's path, up to segment `at`, tells.
fn name_of(state: &State, request: &Request, at: usize, number: &str, now: Timestamp) -> Option<String> {
    let segments: Vec<&str> = request.path.trim_matches('/').split('/').take(at).collect();
    let list = Request {
        host: request.host.clone(),
        verb: Verb::Get,
        path: format!("/{}", segments.join("/")),
        // As text: numbers that are compared lose digits.
        query: vec![("filter".to_owned(), format!("id eq {number}"))],
        body: Value::Null,
    };
    let (method, _) = methods::find(&list).ok()?;
    if !method.id.ends_with(".list") {
        return None;
    }
    match crate::answer(state, &list, now).ok()? {
        Outcome::Reply(found) => found["items"][0]["name"].as_str().map(str::to_owned),
        _ => None,
    }
}
