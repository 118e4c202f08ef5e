//! Images and their families: the public ones that instances are usually made of. What runs in a VM of the lab is the
//! machine's own system, whatever the image.

use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::{Call, Handlers, links, list};
use serde_json::{Value, json};
use tombolo_model::Refusal;

pub(crate) const HANDLERS: Handlers = &[
    ("compute.imageFamilyViews.get", get_family_view),
    ("compute.images.get", get),
    ("compute.images.getFromFamily", get_from_family),
    ("compute.images.list", list),
];

/// Project, family, name, GB.
const IMAGES: &[(&str, &str, &str, u32)] = &[
    ("cos-cloud", "cos-stable", "cos-stable-121-18867-90-4", 10),
    ("debian-cloud", "debian-11", "debian-11-bullseye-v20251014", 10),
    ("debian-cloud", "debian-12", "debian-12-bookworm-v20251014", 10),
    ("debian-cloud", "debian-13", "debian-13-trixie-v20251014", 10),
    ("rocky-linux-cloud", "rocky-linux-9", "rocky-linux-9-v20251014", 20),
    ("ubuntu-os-cloud", "ubuntu-2204-lts", "ubuntu-2204-jammy-v20251014", 10),
    ("ubuntu-os-cloud", "ubuntu-2404-lts-amd64", "ubuntu-2404-noble-amd64-v20251014", 10),
];

fn find(
    call: &Call<'_>,
    matches: impl Fn(&(&str, &str, &str, u32)) -> bool,
    path: String,
) -> Result<Value, Failure> {
    let project = call.project();
    let found = IMAGES.iter().find(|image| image.0 == project && matches(image));
    found.map(wire).ok_or_else(|| Refusal::not_found(format!("projects/{project}/{path}")).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.param("image");
    find(call, |image| image.2 == name, format!("global/images/{name}")).map(Outcome::Reply)
}

fn get_from_family(call: &Call<'_>) -> Result<Outcome, Failure> {
    let family = call.param("family");
    find(call, |image| image.1 == family, format!("global/images/family/{family}")).map(Outcome::Reply)
}

fn get_family_view(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (zone, family) = (call.param("zone"), call.param("family"));
    let image = find(call, |image| image.1 == family, format!("zones/{zone}/imageFamilyViews/{family}"))?;
    Ok(Outcome::Reply(json!({ "image": image })))
}

/// An image that a new disk is made from.
pub(crate) struct Source {
    /// The link to it, which names the image also when a family was said.
    pub(crate) link: String,
    /// The smallest disk that it fits on, in GB.
    pub(crate) size_gb: u32,
}

/// The image that a `sourceImage` names, in one of Google's forms: an image, a family, or a family's view in a zone;
/// relative ones are of `project`.
pub(crate) fn source(project: &str, said: &str) -> Result<Source, Failure> {
    let path = links::path_of(said);
    let path =
        if path.starts_with("projects/") { path.to_owned() } else { format!("projects/{project}/{path}") };
    let parts: Vec<&str> = path.split('/').collect();
    let found = match parts[..] {
        [_, project, "global", "images", "family", family]
        | [_, project, "zones", _, "imageFamilyViews", family] => {
            IMAGES.iter().find(|image| image.0 == project && image.1 == family)
        }
        [_, project, "global", "images", name] => {
            IMAGES.iter().find(|image| image.0 == project && image.2 == name)
        }
        _ => {
            let field = "disks[0].initializeParams.sourceImage";
            return Err(Refusal::invalid(field, said, "The URL is malformed.").into());
        }
    };
    let (project, _, name, size) = found.ok_or_else(|| Failure::from(Refusal::not_found(&path)))?;
    Ok(Source { link: links::link(format!("projects/{project}/global/images/{name}")), size_gb: *size })
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let items = list::fixed(IMAGES.iter().filter(|image| image.0 == call.project()).map(wire));
    list::compute(call, "compute#imageList", &format!("projects/{}/global/images", call.project()), items)
}

fn wire((project, family, name, size): &(&str, &str, &str, u32)) -> Value {
    let number = name.bytes().fold(11, |hash: u64, byte| hash.wrapping_mul(1_000_003) ^ u64::from(byte)) >> 4;
    json!({
        "kind": "compute#image",
        "id": links::id(number),
        "creationTimestamp": "2025-10-14T12:00:00.000-07:00",
        "name": name,
        "description": format!("The image {name}, for the lab"),
        "sourceType": "RAW",
        "status": "READY",
        "family": family,
        "diskSizeGb": size.to_string(),
        "architecture": "X86_64",
        "selfLink": links::link(format!("projects/{project}/global/images/{name}")),
    })
}
