//! What is in `deploy/` is true: every configuration passes `tombolo-proxy -t`, every flag exists.

use std::fs;
use std::path::Path;

use crate::common::proxy_command;
use clap::CommandFactory;
use saphyr::{LoadableYamlNode, Yaml};
use tombolo_proxy::cli::Args;
use tombolo_proxy::config::{Config, Limits};

fn deploy(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(text: &str) -> Vec<Yaml<'_>> {
    Yaml::load_from_str(text).expect("YAML")
}

/// `tombolo-proxy -t`, with files in the place of the password and of the CA: it reads them too.
fn check(name: &str, text: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).expect("a file");
        dir.path().join(name).display().to_string()
    };
    let password = write("password", "secret\n");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key);
    let ca = write("ca.pem", &certificate.expect("a certificate").pem());
    let line = |line: &str| match line.split_once(": ") {
        Some((key, _)) if key.trim() == "server_password_file" => format!("{key}: {password}\n"),
        Some((key, _)) if key.trim() == "server_tls_ca" => format!("{key}: {ca}\n"),
        _ => format!("{line}\n"),
    };
    fs::write(dir.path().join("c.yml"), text.lines().map(line).collect::<String>()).expect("a file");
    let output =
        proxy_command().args(["-t", "-c", "c.yml"]).current_dir(dir.path()).output().expect("tombolo-proxy");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether the command line knows these arguments, which start with the program's.
fn accepts(name: &str, args: &[String]) {
    let words = std::iter::once("tombolo-proxy").chain(args.iter().map(String::as_str));
    if let Err(error) = Args::command().try_get_matches_from(words) {
        panic!("{name}: {args:?}: {error}");
    }
}

fn strings(list: &Yaml<'_>) -> Vec<String> {
    list.as_vec().expect("a list").iter().map(|item| item.as_str().expect("text").to_string()).collect()
}

#[test]
fn configurations_are_good() {
    check("debian", &deploy("debian/tombolo-proxy.yml"));
    check("docker", &deploy("docker/tombolo-proxy.yml"));
    let template = deploy("terraform/google/templates/tombolo-proxy.yml.tftpl");
    let text = template.replace("${port}", "6379").replace("${redis}", "10.0.0.3:6378");
    assert!(!text.contains("${"), "a variable of the template is not given: {text}");
    check("terraform", &text);
    let manifests = deploy("kubernetes/tombolo-proxy.yaml");
    let documents = load(&manifests);
    let map = documents.iter().find(|document| document["kind"].as_str() == Some("ConfigMap"));
    let data = &map.expect("a ConfigMap")["data"]["tombolo-proxy.yml"];
    check("kubernetes", data.as_str().expect("a configuration"));
}

#[test]
fn the_unit_runs_the_program_as_it_is() {
    let unit = deploy("debian/tombolo-proxy.service");
    let commands = unit.lines().filter_map(|line| line.split_once("=/usr/bin/tombolo-proxy "));
    let mut count = 0;
    for (_, args) in commands {
        accepts("unit", &args.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        count += 1;
    }
    assert_eq!(count, 2, "ExecStart and ExecReload");
}

#[test]
fn the_health_checks_of_terraform_ask_where_the_proxy_answers() {
    let port = deploy("terraform/google/proxy.tf").lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "metrics_port").then(|| value.trim().to_string())
    });
    let script = deploy("terraform/google/templates/startup.sh.tftpl");
    let script = script.replace("${metrics_port}", &port.expect("a port"));
    let args: Vec<Vec<String>> = script
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/tombolo-proxy "))
        .map(|args| args.split_whitespace().map(str::to_string).collect())
        .collect();
    assert_eq!(args.len(), 1);
    accepts("terraform", &args[0]);
    let checks = deploy("terraform/google/load_balancer.tf");
    assert_eq!(checks.matches("port         = local.metrics_port\n").count(), 2);
    assert!(checks.contains("\"/readyz\"") && checks.contains("\"/healthz\""));
    assert!(deploy("terraform/google/network.tf").contains("tostring(local.metrics_port)"));
}

#[test]
fn the_image_runs_the_program_as_it_is() {
    let file = deploy("docker/Dockerfile");
    let arguments = file.lines().find_map(|line| line.strip_prefix("CMD ")).expect("CMD");
    // A list in JSON is one in YAML.
    accepts("Dockerfile", &strings(&load(arguments)[0]));
    let health = format!(
        "/dev/tcp/127.0.0.1/{}",
        Args::command()
            .get_arguments()
            .find_map(|argument| {
                let port = argument.get_id() == "stats_port";
                port.then(|| argument.get_default_values()[0].to_string_lossy().into_owned())
            })
            .expect("a port")
    );
    assert!(file.contains(&health), "the health check asks elsewhere than {health}");
}

#[test]
fn the_manifests_fit_together() {
    let manifests = deploy("kubernetes/tombolo-proxy.yaml");
    let documents = load(&manifests);
    let kinds: Vec<&str> =
        documents.iter().map(|document| document["kind"].as_str().expect("kind")).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"]);
    let pod = &documents[1]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = strings(&container["args"]);
    accepts("kubernetes", &args);
    // Probes ask where the proxy answers.
    let ports = container["ports"].as_vec().expect("ports");
    let metrics = ports.iter().find(|port| port["name"].as_str() == Some("metrics")).expect("metrics");
    let port = metrics["containerPort"].as_integer().expect("a port");
    assert!(args.contains(&format!("--metrics=0.0.0.0:{port}")), "{args:?}");
    for (probe, path) in
        [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!((get["path"].as_str(), get["port"].as_str()), (Some(path), Some("metrics")), "{probe}");
    }
    // What the configuration names is mounted.
    let text = documents[0]["data"]["tombolo-proxy.yml"].as_str().expect("a configuration");
    let mounts = container["volumeMounts"].as_vec().expect("mounts");
    for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let is_under = |mount: &Yaml<'_>| path.starts_with(mount["mountPath"].as_str().expect("a path"));
        assert!(mounts.iter().any(is_under), "{path} is mounted nowhere");
    }
    // Clients reach the pool's limits before the container reaches its own.
    let limit = container["resources"]["limits"]["memory"].as_str().expect("a limit");
    let limit: usize = limit.strip_suffix("Mi").and_then(|mebi| mebi.parse().ok()).expect("MiB");
    for pool in Config::parse("tombolo-proxy.yml", text).expect("a configuration").pools {
        let Limits { request_bytes, client_buffer_hard, buffered_bytes, .. } = pool.limits;
        assert!(
            request_bytes + client_buffer_hard + buffered_bytes <= (limit << 20) / 2,
            "{:?}",
            pool.limits
        );
    }
    // The pods are the ones that the others mean.
    let labels = &documents[1]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&documents[1]["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&documents[2]["spec"]["selector"], labels);
    assert_eq!(&documents[3]["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&documents[4]["spec"]["podSelector"]["matchLabels"], labels);
}
