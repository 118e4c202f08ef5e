use super::*;
use serde_json::json;

fn filter(text: &str) -> Result<Filter, String> {
    Filter::parse(text, &"2026-02-01T00:00:00+00:00[UTC]".parse().expect("a time"))
}

/// The names of those that match, between blanks.
fn names(text: &str, resources: &[Value]) -> String {
    let table: projection::Format = "table(name, region.basename())".parse().expect("a table");
    let filter = filter(text).expect(text).with_columns(&table.columns.unwrap_or_default());
    let matching = resources.iter().filter(|resource| filter.matches(resource));
    matching.map(|resource| resource["name"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

fn rules() -> Vec<Value> {
    let rule = |name: &str, network: &str, priority: u64, direction: &str, more: Value| {
        let mut rule = json!({
            "kind": "compute#firewall",
            "name": name,
            "network": format!("https://www.googleapis.com/compute/v1/projects/project-1/global/networks/{network}"),
            "priority": priority,
            "direction": direction,
            "disabled": false,
            "description": "",
            "creationTimestamp": "2026-01-27T11:29:00.982+00:00",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            rule[key] = value.clone();
        }
        rule
    };
    let all = || json!({ "allowed": [{ "IPProtocol": "all" }], "sourceRanges": ["10.0.0.0/8"] });
    vec![
        rule("all-b", "b", 1000, "INGRESS", all()),
        rule("all-d", "a", 900, "EGRESS", json!({ "allowed": [{ "IPProtocol": "all" }] })),
        rule(
            "all-e",
            "a",
            65000,
            "INGRESS",
            json!({ "denied": [{ "IPProtocol": "all" }], "disabled": true }),
        ),
        rule(
            "default-allow-x",
            "a",
            1000,
            "INGRESS",
            json!({
                "allowed": [{ "IPProtocol": "tcp", "ports": ["22", "80-90"] }, { "IPProtocol": "icmp" }],
                "sourceTags": ["web", "db"],
                "description": "Allows SSH; for all",
            }),
        ),
        rule("xall", "b", 7, "INGRESS", json!({ "allowed": [{ "IPProtocol": "udp", "ports": ["53"] }] })),
    ]
}

/// Each line is what `gcloud compute firewall-rules list --filter … --format 'value(name)'` (528.0.0) lists of these
/// rules, but for those that say otherwise.
#[test]
fn of_compute_gcloud_lists_the_same() {
    let rules = rules();
    let all = "all-b all-d all-e default-allow-x xall";
    for (text, want) in [
        ("", all),
        ("network:a", "all-d all-e default-allow-x"),
        ("network=a", "all-d all-e default-allow-x"),
        ("network:A", ""),
        ("name:all", "all-b all-d all-e"),
        ("name:ALL", ""),
        ("name:all*", "all-b all-d all-e default-allow-x"),
        ("name:*all", ""),
        ("name:a*b", ""),
        ("name=all", "all-b all-d all-e"),
        ("name=all-b", "all-b"),
        ("name=ALL-B", ""),
        ("name=all*", ""),
        ("name~^all", "all-b all-d all-e"),
        ("name!~^all", "default-allow-x xall"),
        ("name~ALL", ""),
        ("name:(all-b xall)", "all-b xall"),
        ("name=(all-b,xall)", "all-b xall"),
        ("name=(all-b OR ALL-D)", "all-b all-d"),
        ("name=()", ""),
        ("-name:all", "default-allow-x xall"),
        ("NOT name:all", "default-allow-x xall"),
        ("name!=all-b", "all-d all-e default-allow-x xall"),
        ("name:all AND direction=INGRESS", "all-b all-e"),
        ("name:all direction=INGRESS", "all-b all-e"),
        ("name=all-b OR name=xall", "all-b xall"),
        ("NOT (name=all-b OR name=xall)", "all-d all-e default-allow-x"),
        ("NOT (name:all AND network=a)", all),
        ("NOT name:all AND network=a", "default-allow-x"),
        // Beside OR, the client compares a network's link as a whole too.
        ("(name=all-b OR name=xall) AND network=b", ""),
        ("(name=all-b OR name=xall) AND network.basename()=b", "all-b xall"),
        ("direction=ingress", ""),
        ("direction:IN*", ""),
        ("direction!=INGRESS", "all-d"),
        ("direction~ING", "all-b all-e default-allow-x xall"),
        ("allowed[].IPProtocol=all", "all-b all-d"),
        ("allowed[0].IPProtocol=icmp", "default-allow-x"),
        ("allowed.ports:22", "default-allow-x"),
        ("denied[].IPProtocol~a", "all-e"),
        ("priority<900", "xall"),
        ("priority<=900", "all-d xall"),
        ("priority>1000.5", "all-e"),
        ("priority>=65e3", "all-e"),
        ("priority=9", ""),
        ("priority!=1000", "all-d all-e xall"),
        ("priority~^9", "all-d"),
        ("priority<foo", all),
        ("disabled=True", "all-e"),
        ("disabled:false", "all-b all-d default-allow-x xall"),
        ("-disabled=true", "all-b all-d default-allow-x xall"),
        ("sourceTags:web", "default-allow-x"),
        ("source_tags=(db x)", "default-allow-x"),
        ("sourceTags:w", ""),
        ("sourceRanges:10.0", "all-b"),
        ("description:*", "default-allow-x"),
        ("NOT description:*", "all-b all-d all-e xall"),
        ("description:ssh", ""),
        ("description:SSH", "default-allow-x"),
        ("description:'SSH; for'", "default-allow-x"),
        ("description=\"Allows SSH; for all\"", "default-allow-x"),
        ("creationTimestamp>2026-01-01", all),
        ("creationTimestamp<'2026-01-01 00:00:00'", ""),
        ("creationTimestamp<=2026-01-27T11:29:01+00:00", all),
        ("creation_timestamp>-P1W", all),
        ("creationTimestamp>-p1d", ""),
        ("nothing=x", ""),
        ("nothing:*", ""),
        ("nothing!=x", all),
        ("nothing<5", all),
        ("nothing>5", ""),
        ("nothing~x", ""),
        ("nothing!~x", all),
        ("all-b", "all-b"),
        ("-all-b", "all-d all-e default-allow-x xall"),
        ("ALLOWS", "default-allow-x"),
        ("\"Allows SSH\"", "default-allow-x"),
        ("10.0.0.0/8 all", "all-b"),
        ("tcp OR xall", "default-allow-x xall"),
        ("name", ""),
        ("name>=b", "default-allow-x xall"),
        ("name.len()=4", "xall"),
        ("name : x\"al\"l", "xall"),
        ("\"name\"=xall", "xall"),
        ("name=a=b", ""),
        // gcloud's question is one that the server refuses.
        ("denied:*", "all-e"),
        ("-allowed:*", "all-e"),
        // gcloud has the server look for an empty word, which it finds in every text that has words.
        ("description=''", "all-b all-d all-e xall"),
        // gcloud crashes.
        ("-(name=xall OR network=a)", "all-b all-d all-e default-allow-x"),
        ("creationTimestamp:2026-01-27", all),
    ] {
        assert_eq!(names(text, &rules), want, "{text}");
    }
}

/// What gcloud's own filters match where no server is asked: `:` is contained or, with a `*`, from end to end; neither
/// it nor `=` looks at case.
#[test]
fn elsewhere_the_client_matches() {
    let folders = [
        json!({
            "name": "folders/1", "displayName": "Prod", "createTime": "2026-01-02T03:04:05Z", "big": "18446744073709551615",
            "labels": { "env": "prod", "a/b": "c" }, "count": "5", "one": 1.0,
        }),
        json!({ "name": "folders/12", "displayName": "test prod", "labels": {}, "count": "40" }),
    ];
    for (text, want) in [
        ("displayName:prod", "folders/1 folders/12"),
        ("displayName:prod*", "folders/1"),
        ("displayName:*prod", "folders/1 folders/12"),
        ("displayName:t*d", "folders/12"),
        ("displayName=prod", "folders/1"),
        ("displayName~prod", "folders/12"),
        ("name:FOLDERS/1", "folders/1 folders/12"),
        ("name=folders/1", "folders/1"),
        ("name.basename()=1", "folders/1"),
        ("ID=folders/1", "folders/1"),
        ("labels.env=prod", "folders/1"),
        ("labels.env:*", "folders/1"),
        ("-labels.env:*", "folders/12"),
        ("labels:env", "folders/1"),
        ("labels:*", "folders/1"),
        ("labels.\"a/b\"=c", "folders/1"),
        ("count<10", "folders/1"),
        ("count=5.0", "folders/1"),
        ("one=true", "folders/1"),
        ("one=1", "folders/1"),
        ("big>=18446744073709551615", "folders/1"),
        ("big>18446744073709551614", "folders/1"),
        ("createTime<2026-01-03", "folders/1"),
        ("createTime=2026-01-02T04:04:05+01:00", "folders/1"),
        ("none=null", "folders/1 folders/12"),
    ] {
        let table: projection::Format =
            "table(displayName, name.basename():label=ID)".parse().expect("a table");
        let filter = filter(text).expect(text).with_columns(&table.columns.unwrap_or_default());
        let matching = folders.iter().filter(|folder| filter.matches(folder));
        let found = matching.filter_map(|folder| folder["name"].as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(found, want, "{text}");
    }
}

#[test]
fn of_instances_gcloud_lists_the_same() {
    let vm = |name: &str, zone: &str, status: &str| {
        json!({
            "kind": "compute#instance", "name": name, "status": status,
            "zone": format!("https://www.googleapis.com/compute/v1/projects/project-1/zones/{zone}"),
            "metadata": { "kind": "compute#metadata", "items": [{ "key": "k", "value": "V" }] },
            "labels": { "env": "prod" },
        })
    };
    // Of every zone: the server is not asked.
    let vms = [vm("vm-1", "us-central1-a", "RUNNING"), vm("vm-2", "europe-west1-b", "TERMINATED")];
    for (text, want) in [
        ("zone:us-central1-a", "vm-1"),
        ("zone=us-central1-a", "vm-1"),
        ("zone:us-central1", "vm-1"),
        ("zone=us-central1", ""),
        ("zone~us-central1-a$", "vm-1"),
        ("zone~^us-central1-a$", ""),
        ("zone:europe-west1-b OR name=none", "vm-2"),
        ("name=VM-1", "vm-1"),
        ("name:m-", "vm-1 vm-2"),
        ("status=running", "vm-1"),
        ("status:RUN", "vm-1"),
        ("metadata.k=v AND status!=RUNNING", "vm-2"),
        ("labels.env=PROD name:vm-1", "vm-1"),
    ] {
        assert_eq!(names(text, &vms), want, "{text}");
    }
}

/// The regions of zones are links, and said by their names, in the server's questions too.
#[test]
fn of_zones_gcloud_lists_the_same() {
    let zone = |name: &str, region: &str| {
        json!({
            "kind": "compute#zone", "name": name, "status": "UP",
            "region": format!("https://www.googleapis.com/compute/v1/projects/project-1/regions/{region}"),
        })
    };
    let zones = [zone("us-central1-a", "us-central1"), zone("europe-west1-b", "europe-west1")];
    for (text, want) in [
        ("region:us-central1", "us-central1-a"),
        ("region=europe-west1", "europe-west1-b"),
        ("region~^us-central1$", "us-central1-a"),
        // gcloud asks the server of REGION, which is no field.
        ("REGION~^us-central1$ NAME:a", "us-central1-a"),
        ("region~regions/[^e^]", "us-central1-a"),
        ("name:us-central1", "us-central1-a"),
        ("status=UP", "us-central1-a europe-west1-b"),
        ("status=up", ""),
    ] {
        assert_eq!(names(text, &zones), want, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (text, want) in [
        ("name=a AND name=b OR name=c", "AND and OR together need parentheses"),
        ("name=", "expected a value at the end"),
        ("name:a**b", "expected one * at most in 'a**b'"),
        ("name==a", "instead of '==a'"),
        ("(name=a", "expected ')' at the end"),
        ("name=a)", "expected nothing more instead of ')'"),
        ("()", "expected a key"),
        (":x", "expected a key"),
        ("AND name=a", "expected a term instead of 'AND name=a'"),
        ("name=a AND", "expected a term at the end"),
        ("NOT NOT name=a", "expected a term"),
        ("name=(a", "expected a value or ')' at the end"),
        ("name=AND", "expected a value instead of 'AND'"),
        ("name='a", "expected a second '"),
        ("name~[", "expected a regular expression, not '['"),
        ("name.len()", "expected an operator at the end"),
        ("name.huh()=1", "the transform 'huh()' is not supported"),
        ("a[x]=1", "'x' is no index"),
        ("creationTimestamp>yesterday", "expected a time, such as 2026-01-31 or -P2W, not 'yesterday'"),
    ] {
        let error = filter(text).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
    }
    assert!(filter(&"(".repeat(100_000)).is_err());
    assert!(filter(&"NOT ".repeat(100_000)).is_err());
}
