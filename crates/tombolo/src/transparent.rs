//! `tombolo env --proxy`: for programs that know nothing of Tombolo, the lab is where Google is.
//!
//! The server is their HTTPS proxy, and a certificate authority that only they trust makes it Google's hosts:
//!
//! ```text
//!   STATE/ca.pem             the authority's certificate (its key is beside it, its owner's)
//!   STATE/ca-bundle.pem      the machine's authorities and this one, for hosts that `serve --allow-host` lets through
//!   STATE/credentials.json   credentials that are worth nothing anywhere else
//!   STATE/proxy.cjs          what makes Node heed HTTPS_PROXY
//! ```

use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use tombolo_server::control::ApiAddress;
use tombolo_server::http::authority::{Authority, certificate_file, replace};

/// Where systems keep the certificates that they trust, in one file. Source: Go's crypto/x509, root_linux.go.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Programs that take a file of certificates, each by a variable of its own.
const BUNDLES: [&str; 8] = [
    "SSL_CERT_FILE",                      // OpenSSL, Go, rustls-native-certs
    "REQUESTS_CA_BUNDLE",                 // Python's requests
    "CURL_CA_BUNDLE",                     // curl
    "HTTPLIB2_CA_CERTS",                  // googleapiclient
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC, in any language
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
    "AWS_CA_BUNDLE",                      // botocore, which some of gcloud's commands use
    "NODE_EXTRA_CA_CERTS",                // Node, beside its own
];

/// What Node loads before a program.
const NODE: &str = include_str!("proxy.cjs");

/// Makes what is missing of the files, and gives the environment for a shell to evaluate.
pub(crate) fn shell(api: &ApiAddress, project: Option<&str>) -> Result<String> {
    Authority::in_folder(&api.state)?;
    let bundle = bundle(&api.state)?;
    let credentials = credentials(&api.state)?;
    let node = node(&api.state)?;
    let mut text = String::new();
    let mut export = |name: &str, value: &str| text += &format!("export {name}={value}\n");
    let proxy = proxy(api);
    for name in ["HTTPS_PROXY", "https_proxy"] {
        export(name, &proxy);
    }
    // What was there could exempt Google's hosts.
    for name in ["NO_PROXY", "no_proxy"] {
        export(name, "localhost,127.0.0.1,::1");
    }
    // gRPC reads it before the others.
    text += "unset grpc_proxy\n";
    let mut export =
        |name: &str, value: &str| text += &format!("export {name}={}\n", crate::clients::quoted(value));
    for name in BUNDLES {
        export(name, &bundle.display().to_string());
    }
    export("GOOGLE_APPLICATION_CREDENTIALS", &credentials.display().to_string());
    export("NODE_OPTIONS", &node);
    // Nobody is to look for a metadata server that is not there.
    export("NO_GCE_CHECK", "true");
    export("CLOUDSDK_CONFIG", &api.state.join("gcloud").display().to_string());
    export("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true");
    export("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true");
    export("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true");
    export("CLOUDSDK_SURVEY_DISABLE_PROMPTS", "true");
    if let Some(project) = project {
        export("CLOUDSDK_CORE_PROJECT", project);
        export("GOOGLE_CLOUD_PROJECT", project);
    }
    Ok(text)
}

/// The proxy's address, for a shell. The token is read where the line is evaluated, so that it is neither printed nor an
/// argument of a program; in the environment, only its user's processes (and root's) can read it.
fn proxy(api: &ApiAddress) -> String {
    let url = api.url();
    match api.token {
        true => {
            let file = crate::clients::quoted(&api.token_file().display().to_string());
            format!("\"{}\"", url.replacen("://", &format!("://tombolo:$(cat {file})@"), 1))
        }
        false => url,
    }
}

/// The machine's authorities and ours.
fn bundle(state: &Path) -> Result<PathBuf> {
    let path = state.join("ca-bundle.pem");
    let set = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|file| *file != path);
    let known = SYSTEM.iter().map(PathBuf::from);
    // A machine without any has nobody else to trust.
    let theirs = set.into_iter().chain(known).find_map(|file| std::fs::read_to_string(file).ok());
    let theirs = theirs.unwrap_or_default();
    let own = certificate_file(state);
    let own = std::fs::read_to_string(&own).with_context(|| own.display().to_string())?;
    replace(&path, format!("{}\n{own}", theirs.trim_end()).as_bytes(), 0o644)
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Credentials of the kind that need the token endpoint alone, which the server is too. Source: google-auth's
/// `authorized_user`.
fn credentials(state: &Path) -> Result<PathBuf> {
    let path = state.join("credentials.json");
    let text = json!({
        "type": "authorized_user",
        "client_id": "tombolo.apps.googleusercontent.com",
        "client_secret": "tombolo",
        "refresh_token": "tombolo",
    });
    replace(&path, text.to_string().as_bytes(), 0o600).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Node's options, with what it is to load first. Source: "NODE_OPTIONS" in Node's documentation, for the quotes.
fn node(state: &Path) -> Result<String> {
    let path = state.join("proxy.cjs");
    replace(&path, NODE.as_bytes(), 0o644).with_context(|| path.display().to_string())?;
    let escaped = path.display().to_string().replace('\\', r"\\").replace('"', "\\\"");
    let load = format!("--require=\"{escaped}\"");
    let before = std::env::var("NODE_OPTIONS").unwrap_or_default();
    Ok(match before.as_str() {
        "" => load,
        before if before.contains(&load) => before.to_owned(),
        before => format!("{before} {load}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_loads_a_file_by_its_name() {
        let folder = tempfile::Builder::new().prefix("a \"b").tempdir().unwrap();
        let options = node(folder.path()).unwrap();
        let name = folder.path().display().to_string().replace('"', "\\\"");
        assert!(options.ends_with(&format!("--require=\"{name}/proxy.cjs\"")), "{options}");
        assert!(folder.path().join("proxy.cjs").exists());
    }

    #[test]
    fn the_token_is_read_by_the_shell() {
        let mut api =
            ApiAddress { address: "0.0.0.0:8090".parse().unwrap(), state: "/home/it's".into(), token: true };
        assert_eq!(proxy(&api), r#""http://tombolo:$(cat '/home/it'\''s/token')@127.0.0.1:8090""#);
        api.token = false;
        assert_eq!(proxy(&api), "http://127.0.0.1:8090");
    }
}
