use crate::{NOW, vpc, with_details, with_metadata, world};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;
use tombolo_guest::metadata::{Answer, Request, Wait, answer};
use tombolo_model::World;

const VM_1: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn request(target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: "GET".into(),
        path: path.into(),
        query: query.into(),
        flavor: Some("Google".into()),
        ..Request::default()
    }
}

fn ask(world: &World, target: &str) -> Answer {
    answer(world, &vpc(1), VM_1, &request(target), NOW)
}

/// A value below `/computeMetadata/v1/`.
#[track_caller]
fn get(world: &World, path: &str) -> String {
    let answer = ask(world, &format!("/computeMetadata/v1/{path}"));
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

fn json_of(world: &World, path: &str) -> Value {
    serde_json::from_str(&get(world, path)).expect("JSON")
}

fn full_world() -> World {
    let world = with_metadata(&world(), &[("startup-script", "true\n"), ("a-key", "a value")]);
    let said = json!({
        "description": "first",
        "machineType": "zones/us-central1-a/machineTypes/e2-medium",
        "disks": [{
            "boot": true,
            "initializeParams": { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" },
        }],
        "scheduling": { "preemptible": true, "automaticRestart": false },
    });
    let mut world = world;
    let account = tombolo_model::ServiceAccount {
        email: "default".into(),
        scopes: vec!["https://a/1".into(), "https://a/2".into()],
    };
    let changed = world.instances.update(&crate::vm("vm-1"), |vm| vm.service_account = Some(account));
    changed.expect("the VM");
    let world = with_details(&world, "projects/project-1/zones/us-central1-a/instances/vm-1", said);
    let items = json!([{ "key": "team", "value": "blue" }]);
    with_details(&world, "projects/project-1", json!({ "commonInstanceMetadata": items }))
}

#[test]
fn every_value_has_googles_form() {
    let world = full_world();
    let number = tombolo_api::project_number(&world.projects["project-1"]);
    let account = format!("{number}-compute@developer.gserviceaccount.com");
    for (path, want) in [
        ("instance/name", "vm-1".to_owned()),
        ("instance/hostname", "vm-1.us-central1-a.c.project-1.internal".into()),
        ("instance/zone", format!("projects/{number}/zones/us-central1-a")),
        ("instance/machine-type", format!("projects/{number}/machineTypes/e2-medium")),
        ("instance/description", "first".into()),
        ("instance/image", "projects/debian-cloud/global/images/debian-12-bookworm-v20251014".into()),
        ("instance/cpu-platform", "Unknown CPU Platform".into()),
        ("instance/maintenance-event", "NONE".into()),
        ("instance/preempted", "FALSE".into()),
        ("instance/tags", r#"["db","web"]"#.into()),
        ("instance/attributes/", "a-key\nstartup-script\n".into()),
        ("instance/attributes/a-key", "a value".into()),
        ("instance/attributes/a%2Dkey", "a value".into()),
        ("instance/disks/", "0/\n".into()),
        ("instance/disks/0/device-name", "persistent-disk-0".into()),
        ("instance/disks/0/index", "0".into()),
        ("instance/disks/0/mode", "READ_WRITE".into()),
        ("instance/disks/0/type", "PERSISTENT".into()),
        ("instance/network-interfaces/", "0/\n".into()),
        ("instance/network-interfaces/0/ip", "10.1.0.2".into()),
        ("instance/network-interfaces/0/mac", "42:01:0a:01:00:02".into()),
        ("instance/network-interfaces/0/gateway", "10.1.0.1".into()),
        ("instance/network-interfaces/0/subnetmask", "255.255.0.0".into()),
        ("instance/network-interfaces/0/dns-servers", "169.254.169.254".into()),
        ("instance/network-interfaces/0/mtu", "1500".into()),
        ("instance/network-interfaces/0/network", format!("projects/{number}/networks/vpc-1")),
        ("instance/network-interfaces/0/ip-aliases/0", "10.8.1.0/24".into()),
        ("instance/network-interfaces/0/forwarded-ips/", String::new()),
        ("instance/network-interfaces/0/access-configs/0/type", "ONE_TO_ONE_NAT".into()),
        ("instance/scheduling/automatic-restart", "FALSE".into()),
        ("instance/scheduling/on-host-maintenance", "MIGRATE".into()),
        ("instance/scheduling/preemptible", "TRUE".into()),
        ("instance/service-accounts/", format!("default/\n{account}/\n")),
        ("instance/service-accounts/default/", "aliases\nemail\nidentity\nscopes\ntoken\n".into()),
        ("instance/service-accounts/default/aliases", "default".into()),
        ("instance/service-accounts/default/email", account.clone()),
        ("instance/service-accounts/default/scopes", "https://a/1\nhttps://a/2".into()),
        ("project/project-id", "project-1".into()),
        ("project/numeric-project-id", number.clone()),
        ("project/attributes/team", "blue".into()),
    ] {
        assert_eq!(get(&world, path), want, "{path}");
    }
    assert_eq!(get(&world, &format!("instance/service-accounts/{account}/email")), account);
    let shown = tombolo_api::instance(&world, &crate::vm("vm-1")).expect("an instance");
    assert_eq!(get(&world, "instance/id"), shown["id"].as_str().expect("an id"));
    let external = &shown["networkInterfaces"][0]["accessConfigs"][0]["natIP"];
    assert_eq!(
        get(&world, "instance/network-interfaces/0/access-configs/0/external-ip"),
        external.as_str().expect("an address")
    );
}

#[test]
fn directories_are_listings_and_whole_as_json_or_lines() {
    let world = full_world();
    assert_eq!(ask(&world, "/").body, "computeMetadata/\n");
    assert_eq!(ask(&world, "/computeMetadata/").body, "v1/\n");
    assert_eq!(get(&world, ""), "instance/\nproject/\n");
    assert!(get(&world, "instance/").contains("\nnetwork-interfaces/\npreempted\n"));
    assert_eq!(
        get(&world, "instance/scheduling/?recursive=true"),
        r#"{"automaticRestart":"FALSE","onHostMaintenance":"MIGRATE","preemptible":"TRUE"}"#
    );
    assert_eq!(
        get(&world, "instance/disks/?recursive=true&alt=text"),
        "0/device-name persistent-disk-0\n0/index 0\n0/interface SCSI\n0/mode READ_WRITE\n0/type PERSISTENT\n"
    );
    let all = json_of(&world, "?recursive=true");
    assert_eq!(all["instance"]["attributes"], json!({ "a-key": "a value", "startup-script": "true\n" }));
    assert_eq!(all["instance"]["machineType"], get(&world, "instance/machine-type"));
    assert_eq!(all["instance"]["id"].as_u64().expect("a number").to_string(), get(&world, "instance/id"));
    let nic = &all["instance"]["networkInterfaces"][0];
    assert_eq!(nic["dnsServers"], json!(["169.254.169.254"]));
    assert_eq!(nic["ipAliases"], json!(["10.8.1.0/24"]));
    assert_eq!(nic["mtu"], 1500);
    assert_eq!(all["instance"]["tags"], json!(["db", "web"]));
    // What is a secret elsewhere is given only to who asks for it.
    let account = &all["instance"]["serviceAccounts"]["default"];
    let names: Vec<_> = account.as_object().expect("an account").keys().collect();
    assert_eq!(names, ["aliases", "email", "scopes"]);
    assert_eq!(all["project"]["attributes"], json!({ "team": "blue" }));
    assert_eq!(get(&world, "instance/name?alt=json"), r#""vm-1""#);
    assert_eq!(get(&world, "instance/tags?alt=text"), r#"["db","web"]"#);
}

#[test]
fn what_is_wrong_has_googles_status() {
    let world = full_world();
    let v1 = "/computeMetadata/v1";
    for (target, status) in [
        (format!("{v1}/instance/nothing"), 404),
        (format!("{v1}/instance/name/"), 404),
        (format!("{v1}/instance/attributes/none"), 404),
        (format!("{v1}/instance/guest-attributes/"), 404),
        (format!("{v1}/instance/network-interfaces/1/ip"), 404),
        (format!("{v1}/instance/service-accounts/nobody/token"), 404),
        (format!("{v1}/instance/service-accounts/default/identity"), 400),
        (format!("{v1}/instance/name?alt=xml"), 400),
        (format!("{v1}/instance/name?wait_for_change=true&timeout_sec=soon"), 400),
        ("/computeMetadata/v1beta1/instance/name".into(), 404),
        ("/nothing".into(), 404),
    ] {
        assert_eq!(ask(&world, &target).status, status, "{target}");
    }
    let moved = ask(&world, "/computeMetadata/v1/instance/disks?recursive=true");
    let location = "http://metadata.google.internal/computeMetadata/v1/instance/disks/?recursive=true";
    assert_eq!((moved.status, moved.location.as_deref()), (301, Some(location)));
    let name = request("/computeMetadata/v1/instance/name");
    let of = |request: Request| answer(&world, &vpc(1), VM_1, &request, NOW);
    let silent = of(Request { flavor: None, ..name.clone() });
    assert_eq!(silent.status, 403);
    assert!(silent.body.contains("Missing Metadata-Flavor:Google header."), "{}", silent.body);
    assert_eq!(of(Request { flavor: Some("google".into()), ..name.clone() }).status, 403);
    assert_eq!(of(Request { forwarded: true, ..name.clone() }).status, 403);
    assert_eq!(of(Request { method: "POST".into(), ..name.clone() }).status, 405);
    let here = of(Request { path: "/".into(), flavor: None, ..name });
    assert_eq!(here.status, 200, "how Go's library finds out where it is");
    // No page repeats what it was sent as markup.
    let page = ask(&world, "/computeMetadata/v1/<script>").body;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
}

#[test]
fn an_address_is_told_of_its_own_vm_only() {
    let world = full_world();
    let name = request("/computeMetadata/v1/instance/name");
    for (network, address, want) in [
        (1, [10, 1, 0, 2], Some("vm-1")),
        (1, [10, 8, 1, 77], Some("vm-1")),
        (1, [10, 1, 0, 3], Some("vm-b")),
        (1, [10, 1, 0, 9], Some("router")),
        (2, [10, 2, 0, 9], Some("router")),
        // The peer has an address that this network's VMs do not have.
        (2, [10, 1, 0, 2], None),
        (1, [10, 1, 0, 4], None),
    ] {
        let answer = answer(&world, &vpc(network), address.into(), &name, NOW);
        let got = (answer.status == 200).then_some(answer.body);
        assert_eq!(got.as_deref(), want, "{address:?} in vpc-{network}");
    }
}

#[test]
fn tokens_are_worth_nothing() {
    let world = full_world();
    let token = ask(&world, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!((token.content_type, token.etag), ("application/json", None));
    let token: Value = serde_json::from_str(&token.body).expect("JSON");
    assert_eq!(token, json!({ "access_token": "tombolo", "expires_in": 3599, "token_type": "Bearer" }));
    let identity = get(&world, "instance/service-accounts/default/identity?audience=https%3A%2F%2Fx");
    let parts: Vec<_> = identity.split('.').collect();
    assert_eq!((parts.len(), parts[2]), (3, ""), "nobody signed it");
    // A VM that was given no account has none.
    let bare = world_without_accounts();
    assert_eq!(get(&bare, "instance/service-accounts/"), "");
    assert_eq!(ask(&bare, "/computeMetadata/v1/instance/service-accounts/default/token").status, 404);
}

fn world_without_accounts() -> World {
    with_metadata(&world(), &[])
}

#[test]
fn an_etag_changes_with_the_content_and_only_with_it() {
    let before = full_world();
    let target = "/computeMetadata/v1/instance/attributes/?recursive=true";
    let other = "/computeMetadata/v1/instance/name";
    let after = with_metadata(&before, &[("a-key", "another")]);
    assert_ne!(ask(&before, target).etag, ask(&after, target).etag);
    assert_eq!(ask(&before, other).etag, ask(&after, other).etag);
    let wait = |query: &str| request(&format!("/?{query}")).wait();
    assert_eq!(wait("recursive=true"), Ok(None));
    assert_eq!(wait("wait_for_change=true"), Ok(Some(Wait { last_etag: None, limit: None })));
    let all = Wait { last_etag: Some("0".into()), limit: Some(Duration::from_secs(9)) };
    assert_eq!(wait("wait_for_change=true&last_etag=0&timeout_sec=9"), Ok(Some(all)));
    assert_eq!(wait("wait_for_change=true&timeout_sec=x"), Err("timeout_sec"));
}
