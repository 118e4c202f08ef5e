//! `tombolo export` and `tombolo import`: a lab as a topology file, and a file as a lab.

use crate::clients::Served;
use crate::gcloud::Client;
use crate::lab::{LabArgs, Running, read};
use crate::output::print;
use anyhow::{Context, Result, anyhow, bail};
use hyper::Method;
use std::path::PathBuf;
use std::process::ExitCode;
use tombolo_api::Verb;
use tombolo_server::control::{Request, Response, ask};
use tombolo_server::paths::LabDir;
use tombolo_server::seed::requests;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The topology file to write; stdout when left out
    file: Option<PathBuf>,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The topology file
    file: PathBuf,
    #[command(flatten)]
    lab: LabArgs,
}

/// Writes the lab that is up as a topology file; what such a file has no words for goes to stderr, and the answer is no
/// where a lab of that file would not do the same.
pub(crate) fn export(args: &ExportArgs) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let exported = tombolo_topology::export(&running.view().world);
    match &args.file {
        Some(file) => std::fs::write(file, &exported.text).with_context(|| file.display().to_string())?,
        None => print(&exported.text),
    }
    for lost in &exported.lost {
        eprintln!("not in the file: {lost}");
    }
    Ok(ExitCode::from(u8::from(!exported.is_whole)))
}

/// Sends the requests of a topology file to an empty lab that is served.
pub(crate) fn import(args: &ImportArgs) -> Result<ExitCode> {
    let (topology, _) = read(&args.file)?;
    let served = Served::find(&args.lab)?;
    if let Some(Response::World(world)) = ask(&LabDir::of(&args.lab.lab), Request::World)
        && let Some(project) = world.projects.keys().next()
    {
        bail!("the lab is not empty (there is the project '{project}'): only an empty one takes a file");
    }
    let client = Client::new(&served)?;
    let file = args.file.display();
    // All or none, as far as it is known before.
    let requests: Vec<_> =
        requests(&topology).collect::<Result<_, _>>().map_err(|error| anyhow!("{file}:{error}"))?;
    for (place, request) in &requests {
        let query: Vec<String> = request
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", crate::gcloud::encode(value)))
            .collect();
        let target = match query.as_slice() {
            [] => request.path.clone(),
            query => format!("{}?{}", request.path, query.join("&")),
        };
        let body = Some(&request.body).filter(|body| !body.is_null()).cloned();
        client.change(method(request.verb), &target, body).with_context(|| format!("{file}:{place}"))?;
    }
    print(&format!("{} requests made what {file} says\n", requests.len()));
    Ok(ExitCode::SUCCESS)
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
    }
}
