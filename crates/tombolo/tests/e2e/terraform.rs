//! The story with the real Terraform and the real google provider, where there are such: `e2e/terraform`.

use crate::support::http::{Served, send};
use crate::support::recorder::Recorder;
use crate::support::{Home, eventually, homes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The provider's binary, wherever it is.
const PROVIDER: &str = "TOMBOLO_TERRAFORM_PROVIDER";
/// The folder to write what was recorded to.
const RECORD: &str = "TOMBOLO_TERRAFORM_RECORD";
/// To end a command that would hang, in seconds; the provider alone takes a few to start.
const LIMIT: &str = "900";
/// What `e2e/terraform` makes.
const RESOURCES: usize = 27;

#[test]
fn terraform_tells_the_story() {
    with_terraform(&[], tell);
}

/// The provider polls operations that are under way.
#[test]
fn terraform_waits_for_operations() {
    with_terraform(&["--async-operations"], |served, _, terraform| {
        terraform.apply(&[], RESOURCES, 0);
        terraform.has_nothing_to_do(&[]);
        terraform.destroy();
        nothing_is_left(served);
    });
}

/// A test with a lab that has two projects, if the machine has what it needs.
fn with_terraform(options: &[&str], test: fn(&Served, &Recorder, &Terraform<'_>)) {
    let terraform = Command::new("terraform").arg("version").output();
    if !terraform.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: terraform is not on this machine");
        return;
    }
    let Some(provider) = provider() else {
        eprintln!("NOT TESTED: there is no google provider: {PROVIDER} says where it is");
        return;
    };
    let homes = homes();
    let home = homes.last().unwrap();
    let served = home.serve(options);
    for id in ["project-i-1", "project-i-2"] {
        served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": id }));
        let path = format!("/cloudresourcemanager/v1/projects/{id}");
        eventually("the project is there", || {
            send(served.address, "GET", &path, &Value::Null).is_ok_and(|(status, _)| status == 200)
        });
    }
    let recorder = Recorder::of(served.address);
    let terraform = Terraform::set_up(home, &served, &recorder, &provider);
    test(&served, &recorder, &terraform);
    // Who runs it is only logged.
    assert_eq!(recorder.refused().into_iter().collect::<Vec<_>>(), ["openidconnect.googleapis.com:443"]);
    home.down();
}

/// The provider that the variable names, or that is where Terraform would look for it.
fn provider() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(PROVIDER) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{PROVIDER}: there is no file {}", path.display());
        return Some(path);
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "linux_amd64",
        "aarch64" => "linux_arm64",
        other => other,
    };
    let of_user = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".terraform.d/plugins"));
    let bases = of_user.into_iter().chain([PathBuf::from("/usr/local/share/terraform/plugins")]);
    let versions = bases.flat_map(|base| entries(&base.join("registry.terraform.io/hashicorp/google")));
    let mut files = versions.flat_map(|version| entries(&version.join(architecture)));
    files.find(|file| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("terraform-provider-google"))
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Terraform with a folder that has a copy of `e2e/terraform`.
struct Terraform<'h> {
    home: &'h Home,
    folder: PathBuf,
    proxy: String,
}

impl<'h> Terraform<'h> {
    fn set_up(home: &'h Home, served: &Served, recorder: &Recorder, provider: &Path) -> Self {
        let folder = home.path.join("terraform");
        fs::create_dir_all(folder.join("provider")).unwrap();
        for file in entries(&source()).iter().filter(|file| file.extension().is_some_and(|e| e == "tf")) {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let block = home.run(&["env", "--terraform"]).exits(0);
        let block = block.replace(&served.address.to_string(), &recorder.address.to_string());
        fs::write(folder.join("provider.tf"), block).unwrap();
        // A provider that is overridden needs no `terraform init`, so nothing is looked for anywhere.
        symlink(fs::canonicalize(provider).unwrap(), folder.join("provider/terraform-provider-google"))
            .unwrap();
        let overrides = format!("{{ \"hashicorp/google\" = {:?} }}", folder.join("provider"));
        fs::write(
            folder.join("terraform.rc"),
            format!("provider_installation {{\n  dev_overrides {overrides}\n}}\n"),
        )
        .unwrap();
        Self { home, folder, proxy: format!("http://{}", recorder.address) }
    }

    /// Runs a command of Terraform: its exit status and what it printed. It runs as who runs the test: a provider in
    /// their home is nobody else's to read.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new("timeout");
        command.args([LIMIT, "terraform"]).args(args).arg("-no-color");
        command.current_dir(&self.folder).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.home.path);
        command.env("TF_CLI_CONFIG_FILE", self.folder.join("terraform.rc")).env("CHECKPOINT_DISABLE", "1");
        // Whatever is not the lab is refused, so the provider can neither reach Google nor wait for it.
        command.env("HTTPS_PROXY", &self.proxy);
        let output = command.output().unwrap();
        self.home.learn();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (output.status.code().unwrap_or(-1), said.concat())
    }

    /// Applies with variables; as many resources as expected must be added and changed, and none destroyed.
    #[track_caller]
    fn apply(&self, variables: &[&str], added: usize, changed: usize) {
        let variables = variables.iter().flat_map(|variable| ["-var", variable]);
        let args: Vec<&str> =
            ["apply", "-auto-approve", "-input=false"].into_iter().chain(variables).collect();
        let (status, said) = self.run(&args);
        let expected = format!("Apply complete! Resources: {added} added, {changed} changed, 0 destroyed.");
        assert!(status == 0 && said.contains(&expected), "{status}, not '{expected}':\n{said}");
    }

    /// A plan with the same variables must have nothing to do.
    #[track_caller]
    fn has_nothing_to_do(&self, variables: &[&str]) {
        let variables = variables.iter().flat_map(|variable| ["-var", variable]);
        let args: Vec<&str> =
            ["plan", "-detailed-exitcode", "-input=false"].into_iter().chain(variables).collect();
        let (status, said) = self.run(&args);
        assert!(status == 0, "{status}:\n{said}");
    }

    #[track_caller]
    fn destroy(&self) {
        let said = self.good(&["destroy", "-auto-approve", "-input=false"]);
        assert!(said.contains(&format!("Destroy complete! Resources: {RESOURCES} destroyed.")), "{said}");
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let (status, said) = self.run(args);
        assert_eq!(status, 0, "{args:?}:\n{said}");
        said
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/terraform")
}

fn tell(served: &Served, recorder: &Recorder, terraform: &Terraform<'_>) {
    let home = terraform.home;
    let pings = || home.sh("vm-1", "ping -c1 -W2 10.2.0.2").code == 0;

    terraform.apply(&[], RESOURCES, 0);
    keep(recorder, "1-apply");
    terraform.has_nothing_to_do(&[]);
    keep(recorder, "2-plan");
    assert!(pings());
    assert_eq!(home.sh("vm-2", "redis-cli -h 10.34.175.91 PING").exits(0), "PONG\n");
    // By the range that only vm-2 has an address of.
    assert_eq!(home.sh("vm-1", "ping -c1 -W2 10.8.0.17").code, 0);
    let policy = || {
        let info = home.sh("vm-2", "redis-cli -h 10.34.175.91 INFO memory").exits(0);
        info.lines().find(|line| line.starts_with("maxmemory_policy")).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(policy(), "maxmemory_policy:allkeys-lru");
    assert_ne!(home.sh("vm-1", "timeout 2 redis-cli -h 10.34.175.91 PING").code, 0);
    let by_the_proxy = || home.sh("vm-1", "timeout 2 redis-cli -h 10.2.0.3 SET k v").out == "OK\n";
    eventually("vm-1 reaches the Redis instance by the proxy", by_the_proxy);

    let by_the_endpoint = || home.sh("vm-1", "timeout 2 redis-cli -h 10.1.0.9 GET k").out == "v\n";
    assert!(by_the_endpoint());

    let narrow = [
        "internal_sources=[\"10.2.0.0/16\"]",
        "internal_description=Everything from the neighbours",
        "labels={ app = \"story\", part = \"two\" }",
        "redis_display_name=The same",
        "private_ip_google_access=true",
        "routing_mode=GLOBAL",
        "maxmemory_policy=noeviction",
        "proxy_status=TERMINATED",
        "consumer_limit=2",
    ];
    terraform.apply(&narrow, 0, 9);
    terraform.has_nothing_to_do(&narrow);
    assert!(!pings(), "vm-1 is none of the neighbours");
    assert!(!by_the_endpoint(), "the proxy is stopped");
    assert_eq!(policy(), "maxmemory_policy:noeviction");
    let untagged = [
        "vm_2_tags=[]",
        "internal_description=Everything from private addresses, as before",
        "proxy_machine_type=e2-medium",
    ];
    terraform.apply(&untagged, 0, 10);
    terraform.has_nothing_to_do(&untagged);
    assert!(!pings(), "the rule is not for vm-2");
    eventually("the proxy is back", by_the_proxy);
    assert!(by_the_endpoint());
    // It stays so: a range can only become larger.
    let wide = ["subnet_1_range=10.0.0.0/15"];
    terraform.apply(&wide, 0, 4);
    assert!(pings());
    keep(recorder, "3-changes");

    let import = |address: &str, id: &str| {
        terraform.good(&["state", "rm", address]);
        terraform.good(&["import", "-input=false", address, id]);
    };
    import("google_compute_network.vpc_1", "projects/project-i-1/global/networks/vpc-1");
    import("google_compute_firewall.internal", "projects/project-i-2/global/firewalls/vpc-2-allow-internal");
    import("google_compute_network_peering.vpc_1_to_vpc_2", "project-i-1/vpc-1/vpc-1-to-vpc-2");
    let region = "regions/us-central1";
    let (rule, attachment) = ("google_compute_forwarding_rule", "google_compute_service_attachment.redis");
    import(&format!("{rule}.redis"), &format!("projects/project-i-2/{region}/forwardingRules/redis-rule"));
    import(attachment, &format!("projects/project-i-2/{region}/serviceAttachments/redis"));
    terraform.has_nothing_to_do(&wide);
    // The provider never imports labels: it takes them as its own with the next apply, and tells nobody.
    import("google_compute_instance.vm_1", "projects/project-i-1/zones/us-central1-a/instances/vm-1");
    terraform.apply(&wide, 0, 1);
    terraform.has_nothing_to_do(&wide);
    keep(recorder, "4-import");

    terraform.destroy();
    keep(recorder, "5-destroy");
    nothing_is_left(served);
}

/// What a project has from the beginning is there, and nothing else.
fn nothing_is_left(served: &Served) {
    for project in ["project-i-1", "project-i-2"] {
        let of =
            |path: &str| served.good("GET", &format!("/compute/v1/projects/{project}/{path}"), Value::Null);
        let names = |list: &Value| -> Vec<String> {
            let items = list["items"].as_array().into_iter().flatten();
            items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&of("global/networks")), ["default"]);
        assert!(names(&of("global/firewalls")).iter().all(|name| name.starts_with("default-")));
        assert_eq!(of("zones/us-central1-a/instances")["items"], Value::Null);
    }
    let services = "/serviceusage/v1/projects/project-i-2/services?filter=state:ENABLED";
    let services = served.good("GET", services, Value::Null);
    let names = services["services"].as_array().unwrap().iter().map(|service| &service["config"]["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["compute.googleapis.com"]);
}

/// Writes what was recorded since the last time, if it is wanted.
fn keep(recorder: &Recorder, step: &str) {
    let exchanges = recorder.take();
    let Some(folder) = std::env::var_os(RECORD) else { return };
    // What was read twice with no change in between says nothing new.
    let (mut text, mut read) = (String::new(), BTreeSet::new());
    for exchange in exchanges {
        if exchange["verb"] != "GET" {
            read.clear();
        }
        if read.insert(exchange.to_string()) {
            text += &format!("{exchange}\n");
        }
    }
    // Where the client was pointed at is chance.
    let text = text.replace(&recorder.address.to_string(), "127.0.0.1:8090");
    fs::write(Path::new(&folder).join(format!("{step}.jsonl")), text).unwrap();
}
