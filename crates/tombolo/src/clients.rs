//! `tombolo env` and `tombolo gcloud`: what makes Google's clients use the lab.

use crate::lab::LabArgs;
use crate::output::print;
use crate::transparent;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tombolo_server::control::{ApiAddress, Request, Response, ask};
use tombolo_server::paths::LabDir;

/// Arguments of `env`.
#[derive(Debug, clap::Args)]
pub(crate) struct EnvArgs {
    #[command(flatten)]
    tool: Tool,
    /// With --terraform: a block for the provider google-beta too, which Terraform then needs
    #[arg(long, requires = "terraform")]
    beta: bool,
    #[command(flatten)]
    lab: LabArgs,
}

/// Which tool; a shell, for gcloud, if none is named.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Tool {
    /// Variables for gcloud, for a shell to evaluate (the default)
    #[arg(long)]
    shell: bool,
    /// The provider's block, for Terraform and OpenTofu
    #[arg(long)]
    terraform: bool,
    /// The clients of google-cloud-compute and google-cloud-redis
    #[arg(long)]
    python: bool,
    /// The clients of @google-cloud/compute and @google-cloud/redis
    #[arg(long)]
    node: bool,
    /// Variables for any program, for a shell to evaluate: the lab is where Google is, by an HTTPS proxy
    #[arg(long)]
    proxy: bool,
}

/// Arguments of `gcloud`.
#[derive(Debug, clap::Args)]
pub(crate) struct GcloudArgs {
    /// gcloud's arguments
    #[arg(last = true, required = true)]
    args: Vec<std::ffi::OsString>,
    #[command(flatten)]
    lab: LabArgs,
}

/// A lab that is served.
pub(crate) struct Served {
    /// Where it answers.
    pub(crate) api: ApiAddress,
    /// Its project, if it has exactly one.
    pub(crate) project: Option<String>,
}

impl Served {
    /// Finds the lab of that name.
    pub(crate) fn find(args: &LabArgs) -> Result<Served> {
        let dir = LabDir::of(&args.lab);
        let api = match ask(&dir, Request::Api) {
            Some(Response::Api(api)) => api,
            Some(_) => bail!("the lab that is up is of another version of tombolo"),
            None => bail!(
                "no lab is served (looked in {}): `tombolo serve` and `tombolo up FILE` serve one",
                dir.path.display()
            ),
        };
        let project = match ask(&dir, Request::World) {
            Some(Response::World(world)) => {
                // Those of managed services are nobody's to name.
                let own = |id: &&String| {
                    !world.networks.iter().any(|(key, n)| key.project == **id && n.google_managed)
                };
                let mut projects = world.projects.keys().filter(own);
                projects.next().filter(|_| projects.next().is_none()).cloned()
            }
            _ => None,
        };
        Ok(Served { api, project })
    }

    /// gcloud's variables. Sources: `gcloud topic configurations`, `gcloud config list --all`.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.api.url();
        let mut variables = vec![
            // One's own accounts and settings are neither used nor changed.
            ("CLOUDSDK_CONFIG", self.api.state.join("gcloud").display().to_string()),
            ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true".into()),
            ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true".into()),
            ("CLOUDSDK_SURVEY_DISABLE_PROMPTS", "true".into()),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", format!("{url}/compute/v1/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_DNS", format!("{url}/dns/v1/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_REDIS", format!("{url}/redis/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE", format!("{url}/serviceusage/")),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", format!("{url}/cloudresourcemanager/")),
        ];
        variables.push(match self.api.token {
            true => ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", self.api.token_file().display().to_string()),
            false => ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".into()),
        });
        if let Some(project) = &self.project {
            variables.push(("CLOUDSDK_CORE_PROJECT", project.clone()));
        }
        variables
    }

    fn shell(&self) -> String {
        let line = |(name, value): (&str, String)| format!("export {name}={}\n", quoted(&value));
        self.variables().into_iter().map(line).collect()
    }

    /// Blocks for providers. A block makes Terraform need its provider, so that of google-beta is only for who asks.
    fn terraform(&self, beta: bool) -> String {
        if beta {
            return ["google", "google-beta"].map(|provider| self.provider(provider)).join("\n");
        }
        let said = "# What modules make with the provider google-beta would go to Google: for that too, add --beta.\n";
        self.provider("google") + said
    }

    /// Source: "Custom endpoints" in the Google provider's reference.
    fn provider(&self, provider: &str) -> String {
        let url = self.api.url();
        let token = match self.api.token {
            true => format!("trimspace(file({:?}))", self.api.token_file().display().to_string()),
            false => "\"none\"".into(),
        };
        let project = self.project.as_deref().unwrap_or("PROJECT");
        format!(
            "provider \"{provider}\" {{\n\
             \x20 project                             = \"{project}\"\n\
             \x20 access_token                        = {token}\n\
             \x20 user_project_override               = false\n\
             \x20 cloud_billing_custom_endpoint       = \"{url}/cloudbilling/v1/\"\n\
             \x20 compute_custom_endpoint             = \"{url}/compute/v1/\"\n\
             \x20 dns_custom_endpoint                 = \"{url}/dns/v1/\"\n\
             \x20 redis_custom_endpoint               = \"{url}/redis/v1/\"\n\
             \x20 service_usage_custom_endpoint       = \"{url}/serviceusage/v1/\"\n\
             \x20 service_networking_custom_endpoint  = \"{url}/servicenetworking/v1/\"\n\
             \x20 resource_manager_custom_endpoint    = \"{url}/cloudresourcemanager/v1/\"\n\
             \x20 resource_manager_v3_custom_endpoint = \"{url}/cloudresourcemanager/v3/\"\n\
             \x20 tags_custom_endpoint                = \"{url}/cloudresourcemanager/v3/\"\n\
             \x20 tags_location_custom_endpoint       = \"{url}/cloudresourcemanager/v3/\"\n\
             }}\n"
        )
    }

    /// Source: google-cloud-compute's and google-cloud-redis's `client_options`.
    fn python(&self) -> String {
        let url = self.api.url();
        let (import, credentials) = match self.api.token {
            true => (
                "from google.oauth2.credentials import Credentials",
                format!(
                    "Credentials(open({:?}).read().strip())",
                    self.api.token_file().display().to_string()
                ),
            ),
            false => (
                "from google.auth.credentials import AnonymousCredentials",
                "AnonymousCredentials()".to_owned(),
            ),
        };
        format!(
            "{import}\n\
             from google.cloud import compute_v1, redis_v1\n\n\
             credentials = {credentials}\n\
             # The same for every other client of compute_v1.\n\
             networks = compute_v1.NetworksClient(\n\
             \x20   credentials=credentials, client_options={{\"api_endpoint\": \"{url}\"}})\n\
             redis = redis_v1.CloudRedisClient(\n\
             \x20   credentials=credentials, client_options={{\"api_endpoint\": \"{url}/redis\"}}, transport=\"rest\")\n"
        )
    }

    /// Source: google-gax's `ClientOptions`.
    fn node(&self) -> String {
        let address = self.api.url();
        let address = address.trim_start_matches("http://");
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        let (make, client) = match self.api.token {
            true => (
                format!(
                    "const authClient = new OAuth2Client();\n\
                     authClient.setCredentials({{ access_token: readFileSync({:?}, 'utf8').trim() }});\n",
                    self.api.token_file().display().to_string()
                ),
                "import { readFileSync } from 'node:fs';\nimport { OAuth2Client } from 'google-auth-library';",
            ),
            false => (
                "const authClient = new PassThroughClient();\n".to_owned(),
                "import { PassThroughClient } from 'google-auth-library';",
            ),
        };
        format!(
            "{client}\n\
             import {{ NetworksClient }} from '@google-cloud/compute';\n\
             import {{ CloudRedisClient }} from '@google-cloud/redis';\n\n\
             {make}\
             const options = {{ apiEndpoint: '{host}', port: {port}, protocol: 'http', authClient }};\n\
             // The same for every other client of @google-cloud/compute.\n\
             const networks = new NetworksClient(options);\n\
             const redis = new CloudRedisClient({{ ...options, fallback: true }});\n"
        )
    }
}

/// A value as a POSIX shell takes it literally.
pub(crate) fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// How long a server may take until it can be asked: it may have been started just before, in the background.
const STARTS: Duration = Duration::from_secs(2);

/// Prints what a tool needs.
pub(crate) fn env(args: &EnvArgs) -> Result<ExitCode> {
    let deadline = Instant::now() + STARTS;
    while ask(&LabDir::of(&args.lab.lab), Request::Api).is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_shell = !(args.tool.terraform || args.tool.python || args.tool.node);
    let served = Served::find(&args.lab).inspect_err(|_| {
        // A shell that evaluates nothing is content, and what follows would be for Google.
        if is_shell {
            print("false\n");
        }
    })?;
    print(&match &args.tool {
        Tool { terraform: true, .. } => served.terraform(args.beta),
        Tool { python: true, .. } => served.python(),
        Tool { node: true, .. } => served.node(),
        Tool { proxy: true, .. } => transparent::shell(&served.api, served.project.as_deref())?,
        Tool { .. } => served.shell(),
    });
    Ok(ExitCode::SUCCESS)
}

/// Becomes gcloud.
pub(crate) fn gcloud(args: &GcloudArgs) -> Result<ExitCode> {
    let served = Served::find(&args.lab)?;
    let mut command = Command::new("gcloud");
    for (name, value) in served.variables() {
        // A project that somebody chose stays chosen.
        if name != "CLOUDSDK_CORE_PROJECT" || std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    Err(command.args(&args.args).exec()).context("run gcloud: is the Google Cloud CLI installed?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:8090/compute/v1/"), "http://127.0.0.1:8090/compute/v1/");
        assert_eq!(quoted("/home/a b/it's"), r"'/home/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
