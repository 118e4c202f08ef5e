//! The verbs that have gcloud's grammar: what they print, how they fail, and that gcloud prints the same.

use crate::story::has_gcloud;
use crate::support::{Home, homes, run};

/// Makes a lab with something of everything.
const MAKE: &[&str] = &[
    "projects create project-1 --labels a=b",
    "services enable compute.googleapis.com redis.googleapis.com",
    "compute networks create vpc-1 --subnet-mode custom",
    "compute networks create vpc-2 --subnet-mode custom --mtu 1300 --bgp-routing-mode global",
    "compute networks subnets create subnet-1 --network vpc-1 --region us-central1 --range 10.1.0.0/16",
    "compute networks subnets create subnet-2 --network vpc-2 --region us-central1 --range 10.2.0.0/16",
    "compute networks subnets expand-ip-range subnet-2 --region us-central1 --prefix-length 15",
    "compute networks subnets update subnet-1 --region us-central1 --enable-private-ip-google-access",
    "compute networks peerings create p12 --network vpc-1 --peer-network vpc-2",
    "compute networks peerings create p21 --network vpc-2 --peer-network vpc-1",
    "compute networks peerings update p12 --network vpc-1 --export-custom-routes",
    "compute firewall-rules create f1 --network vpc-1 --allow tcp:22,icmp,tcp:80-90 --source-ranges 10.0.0.0/8 --target-tags a,b",
    "compute firewall-rules create f2 --network vpc-1 --direction egress --action deny --rules all --priority 7 --disabled",
    "compute firewall-rules create f3 --network vpc-1 --allow esp,sctp:80 --source-service-accounts a@project-1.iam.gserviceaccount.com --target-service-accounts b@project-1.iam.gserviceaccount.com,c@project-1.iam.gserviceaccount.com",
    "compute firewall-rules create f4 --network vpc-1 --allow tcp:80 --source-ranges 10.0.0.0/8 --destination-ranges 10.1.0.9/32,10.1.8.0/24",
    "compute firewall-rules create f5 --network vpc-1 --direction egress --action deny --rules tcp --destination-ranges 10.0.0.0/8 --source-ranges 10.1.8.0/24",
    "compute firewall-rules update f1 --allow tcp:22 --priority 900 --description it's:so",
    "compute instances create vm-1 --zone us-central1-a --subnet subnet-1 --private-network-ip 10.1.0.9 --no-address --tags a --metadata k=v",
    "compute instances create vm-2 vm-3 --zone us-central1-a --can-ip-forward --service-account a@project-1.iam.gserviceaccount.com --network-interface subnet=subnet-1 --network-interface subnet=subnet-2,no-address",
    "compute instances add-tags vm-1 --zone us-central1-a --tags x,y",
    "compute instances remove-tags vm-1 --zone us-central1-a --tags a,x",
    "compute instances add-metadata vm-1 --zone us-central1-a --metadata q=1,k=w",
    "compute instances stop vm-3 --zone us-central1-a",
    "compute instances set-service-account vm-3 --zone us-central1-a --service-account b@project-1.iam.gserviceaccount.com",
    "compute routes create r1 --network vpc-1 --destination-range 192.168.0.0/16 --next-hop-instance vm-2 --next-hop-instance-zone us-central1-a",
    "compute networks subnets create nat-1 --network vpc-1 --region us-central1 --range 10.77.0.0/24 --purpose PRIVATE_SERVICE_CONNECT",
    "compute target-instances create t-1 --instance vm-1 --zone us-central1-a",
    "compute target-instances create t-2 --instance vm-2 --zone us-central1-a",
    "compute forwarding-rules create rule-1 --region us-central1 --load-balancing-scheme internal --network vpc-1 --subnet subnet-1 --address 10.1.0.20 --ports 80,443 --target-instance t-1 --target-instance-zone us-central1-a",
    "compute forwarding-rules update rule-1 --region us-central1 --allow-global-access",
    "compute forwarding-rules set-target rule-1 --region us-central1 --target-instance t-2 --target-instance-zone us-central1-a",
    "compute service-attachments create service-1 --region us-central1 --producer-forwarding-rule rule-1 --nat-subnets nat-1 --connection-preference ACCEPT_MANUAL --consumer-accept-list project-1=2",
    "compute service-attachments update service-1 --region us-central1 --consumer-accept-list project-1=3",
    "compute addresses create a-1 --region us-central1 --subnet subnet-2 --addresses 10.2.0.20",
    "compute forwarding-rules create endpoint-1 --region us-central1 --network vpc-2 --address a-1 --target-service-attachment service-1",
    "resource-manager tags keys create role --parent projects/project-1 --purpose GCE_FIREWALL --purpose-data network=project-1/vpc-1",
    "resource-manager tags keys update project-1/role --description roles",
    "resource-manager tags values create web --parent project-1/role --description pages",
    "resource-manager tags values create db --parent project-1/role",
    "resource-manager tags values delete project-1/role/db",
    "redis instances create redis-1 --region us-central1 --network vpc-2 --reserved-ip-range 10.34.175.88/29",
    "redis instances update redis-1 --region us-central1 --display-name cache",
];

/// What one looks at it with.
const LOOK: &[&str] = &[
    "projects list",
    "projects list --filter projectId:project-1",
    "projects list --filter name:(proj*,none)",
    "projects describe project-1",
    "organizations list --format value(ID,DISPLAY_NAME)",
    "services list --enabled",
    "compute networks list",
    "compute networks list --format yaml",
    "compute networks describe vpc-1",
    "compute networks describe vpc-1 --format json",
    "compute networks describe vpc-1 --format value(peerings[0].state,subnetworks,peerings[].name)",
    "compute networks peerings list",
    "compute networks peerings list --network vpc-1 --format json",
    "compute networks peerings list-routes p21 --network vpc-2 --region us-central1 --direction incoming",
    "compute networks subnets list --filter region:us-central1",
    "compute networks subnets describe subnet-1 --region us-central1",
    "compute firewall-rules list",
    "compute firewall-rules list --format table(name,sourceRanges.list(),allowed[].map().firewall_rule().list():label=ALLOW)",
    "compute firewall-rules list --filter network=vpc-1",
    "compute firewall-rules list --filter priority<950",
    "compute firewall-rules list --filter allowed[].IPProtocol:(tcp,esp) --format value(NAME,ALLOW)",
    "compute firewall-rules describe f1",
    "compute routes list --filter network:vpc-1",
    "compute routes describe r1",
    "compute instances list",
    "compute instances list --uri",
    "compute instances list --sort-by ~name --limit 2",
    "compute instances list --filter name=vm-2",
    "compute instances list --filter ZONE:us-central1-a --sort-by ~NAME --limit 2",
    "compute instances list --filter tags.items=y --format value(NAME,INTERNAL_IP)",
    "compute instances list --format value(name,networkInterfaces[0].networkIP,tags.items,networkInterfaces[].networkIP,canIpForward)",
    "compute instances list --format csv(name,status,networkInterfaces[0].networkIP)",
    "compute instances list --format value(metadata)",
    "compute instances list --format json(name,networkInterfaces[].networkIP,zone.basename())",
    "compute instances list --format value(zone.scope(projects).segment(0),zone.segment(-2),creationTimestamp.date(),tags.items.len())",
    "compute instances describe vm-1 --zone us-central1-a",
    "compute instances describe vm-2 --zone us-central1-a --format yaml(name,networkInterfaces[].networkIP)",
    "compute forwarding-rules list",
    "compute forwarding-rules describe rule-1 --region us-central1",
    "compute forwarding-rules describe endpoint-1 --region us-central1",
    "compute target-instances list",
    "compute target-instances describe t-1 --zone us-central1-a",
    "compute service-attachments list",
    "compute service-attachments describe service-1 --region us-central1",
    "compute addresses list",
    "resource-manager tags keys list --parent projects/project-1",
    "resource-manager tags keys describe project-1/role",
    "resource-manager tags values list --parent project-1/role",
    "resource-manager tags values describe project-1/role/web --format json",
    "redis instances list --region us-central1",
    "redis instances describe redis-1 --region us-central1",
    "compute zones list --filter region:us-central1",
    "compute regions list --limit 3",
    "compute regions describe us-central1",
    "compute operations list --global",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The last home, with a lab in which everything is.
fn made(home: &Home, more: &[&str]) -> crate::support::http::Served {
    let served = home.serve(more);
    for line in MAKE {
        home.run(&words(line)).exits(0);
    }
    served
}

#[test]
fn verbs_do_and_print_what_they_say() {
    let homes = homes();
    let home = homes.last().unwrap();
    let _served = made(home, &["--async-operations"]);
    let value = |line: &str, format: &str| {
        let format = format!("value({format})");
        home.run(&[words(line), vec!["--format", &format]].concat()).exits(0).trim_end().to_owned()
    };
    let zone = "--zone us-central1-a";
    for (line, format, want) in [
        ("compute networks describe vpc-1".to_owned(), "peerings[0].state", "ACTIVE"),
        ("compute networks describe vpc-2".to_owned(), "mtu,x_gcloud_bgp_routing_mode", "1300\tGLOBAL"),
        (
            "compute networks describe vpc-1".to_owned(),
            "peerings[0].exportCustomRoutes,peerings[0].importCustomRoutes",
            "True\tFalse",
        ),
        (
            "compute networks subnets describe subnet-2 --region us-central1".to_owned(),
            "ipCidrRange",
            "10.2.0.0/15",
        ),
        (
            "compute firewall-rules describe f1".to_owned(),
            "allowed[].map().firewall_rule().list(),priority,sourceRanges",
            "tcp:22\t900\t10.0.0.0/8",
        ),
        (
            "compute firewall-rules describe f2".to_owned(),
            "denied[0].IPProtocol,direction,disabled",
            "all\tEGRESS\tTrue",
        ),
        (
            format!("compute instances describe vm-1 {zone}"),
            "networkInterfaces[0].networkIP,tags.items",
            "10.1.0.9\ty",
        ),
        (format!("compute instances describe vm-1 {zone}"), "metadata.items[].value", "w;1"),
        (
            format!("compute instances describe vm-2 {zone}"),
            "networkInterfaces[].subnetwork.len(),canIpForward,status",
            "2\tTrue\tRUNNING",
        ),
        (format!("compute instances describe vm-3 {zone}"), "status", "TERMINATED"),
        ("compute routes describe r1".to_owned(), "nextHopInstance.scope()", "us-central1-a/instances/vm-2"),
        (
            "compute forwarding-rules describe rule-1 --region us-central1".to_owned(),
            "IPAddress,ports,allowGlobalAccess,target.scope()",
            "10.1.0.20\t80;443\tTrue\tus-central1-a/targetInstances/t-2",
        ),
        (
            "compute forwarding-rules describe endpoint-1 --region us-central1".to_owned(),
            "IPAddress,pscConnectionStatus",
            "10.2.0.20\tACCEPTED",
        ),
        (
            "compute service-attachments describe service-1 --region us-central1 --show-nat-ips".to_owned(),
            "connectedEndpoints[0].natIps,consumerAcceptLists[0].connectionLimit",
            "10.77.0.2\t3",
        ),
        (
            "redis instances describe redis-1 --region us-central1".to_owned(),
            "host,displayName",
            "10.34.175.91\tcache",
        ),
    ] {
        assert_eq!(value(&line, format), want, "{line}");
    }
    for line in LOOK {
        let said = home.run(&words(line)).exits(0);
        assert!(!said.is_empty(), "{line}");
    }
    // What an operation warns of.
    let line = "compute routes create r2 --network vpc-1 --destination-range 192.168.1.0/24 --next-hop-address 10.1.0.99";
    let warned = home.run(&words(line)).err;
    let want = "/global/routes/r2].\nWARNING: Some requests generated warnings:\n - Next hop ip address '10.1.0.99' is not \
                assigned";
    assert!(warned.contains(want), "{warned}");
    let deleted = home.run(&words("compute routes delete r2")).err;
    assert!(deleted.starts_with("Deleted [") && !deleted.contains("WARNING"), "{deleted}");
    // A reserved address by its name.
    for (line, format, want) in [
        (
            "addresses create a-2 --region us-central1 --subnet subnet-1 --addresses 10.1.0.30",
            "status",
            "RESERVED",
        ),
        (
            "addresses create a-3 --region us-central1 --subnet subnet-1 --addresses 10.1.0.31",
            "status",
            "RESERVED",
        ),
        (
            "instances create vm-4 --zone us-central1-a --subnet subnet-1 --private-network-ip a-2 --no-address",
            "networkInterfaces[0].networkIP",
            "10.1.0.30",
        ),
        (
            "instances create vm-5 --zone us-central1-a --network-interface \
             subnet=subnet-1,private-network-ip=regions/us-central1/addresses/a-3,no-address",
            "networkInterfaces[0].networkIP",
            "10.1.0.31",
        ),
    ] {
        assert_eq!(value(&format!("compute {line}"), format), want, "{line}");
    }
    for line in [
        "compute service-attachments delete service-1 --region us-central1",
        "compute forwarding-rules delete endpoint-1 rule-1 --region us-central1",
        "compute target-instances delete t-1 t-2 --zone us-central1-a",
        "compute networks subnets delete nat-1 --region us-central1",
        "compute instances delete vm-1 vm-2 vm-3 vm-4 vm-5 --zone us-central1-a --quiet",
        "compute addresses delete a-2 a-3 --region us-central1",
        "redis instances delete redis-1 --region us-central1",
        "compute networks peerings delete p12 --network vpc-1",
        "compute firewall-rules delete f1 f2",
        "compute networks subnets delete subnet-1 --region us-central1",
    ] {
        // Of the route's instance there is none any more, so it had to go with it or before.
        if line.starts_with("compute instances delete") {
            home.run(&words("compute routes delete r1")).exits(0);
        }
        home.run(&words(line)).exits(0);
    }
    assert!(home.run(&words("compute instances list")).err.contains("Listed 0 items."));
    home.down();
}

#[test]
fn refusals_are_1_and_bad_usage_is_2() {
    let homes = homes();
    let home = homes.last().unwrap();
    assert!(home.run(&words("compute networks list")).refusal().contains("no lab is served"));
    let _served = made(home, &[]);
    for (line, want) in [
        (
            "compute networks delete vpc-1",
            "(tombolo.compute.networks.delete) Could not fetch resource:\n - The network resource 'projects/project-1/global/networks/vpc-1' is already being used by",
        ),
        (
            "compute instances describe none --zone us-central1-a",
            "- The resource 'projects/project-1/zones/us-central1-a/instances/none' was not found",
        ),
        (
            "redis instances describe none --region us-central1",
            "(tombolo.redis.instances.describe) NOT_FOUND: Resource",
        ),
        (
            "redis instances create r --region us-central1 --tier standard_ha",
            "UNIMPLEMENTED: Tombolo does not support",
        ),
        (
            "compute networks peerings create x --network vpc-1 --peer-network vpc-2",
            "(tombolo.compute.networks.peerings.create)",
        ),
        ("projects describe none-none", "PERMISSION_DENIED"),
    ] {
        let ran = home.run(&words(line));
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}: {}", ran.err);
        assert!(ran.err.starts_with("ERROR: ") && ran.err.contains(want), "{line}: {}", ran.err);
    }
    for (line, want) in [
        ("compute instances describe vm-1", "argument --zone: Must be specified"),
        ("compute networks list --format box", "the format 'box' is not supported"),
        ("compute networks list --format value(name", "expected ')'"),
        ("compute firewall-rules create f", "Exactly one of (--action | --allow)"),
        ("compute firewall-rules update f1", "At least one property"),
        (
            "compute instances create x --zone us-central1-a --network-interface nic-type=gvnic",
            "'nic-type' is not supported",
        ),
        (
            "compute networks subnets expand-ip-range subnet-1 --region us-central1 --prefix-length 16",
            "must be less",
        ),
        ("compute instances create x --gpu 1", "--gpu"),
    ] {
        let said = home.run(&words(line)).refusal();
        assert!(said.contains(want), "{line}: {said}");
    }
    // With two projects one has to be said, by a flag or as gcloud has it.
    home.run(&words("projects create project-2")).exits(0);
    assert!(home.run(&words("compute networks list")).refusal().contains("[project]"));
    let mut command = home.command(&words("compute instances describe vm-1 --format value(name)"));
    command.env("CLOUDSDK_CORE_PROJECT", "project-1").env("CLOUDSDK_COMPUTE_ZONE", "us-central1-a");
    assert_eq!(run(command, b"").exits(0), "vm-1\n");
    home.down();
}

#[test]
fn a_shared_vpc_with_private_services_access() {
    let homes = homes();
    let home = homes.last().unwrap();
    let _served = home.serve(&[]);
    for line in [
        "projects create project-host",
        "projects create project-1",
        "services enable compute.googleapis.com servicenetworking.googleapis.com --project project-host",
        "services enable compute.googleapis.com redis.googleapis.com --project project-1",
        "compute shared-vpc enable project-host",
        "compute shared-vpc associated-projects add project-1 --host-project project-host",
        "compute networks create vpc-1 --subnet-mode custom --project project-host",
        "compute addresses create range-1 --global --purpose VPC_PEERING --prefix-length 24 --network vpc-1 --addresses 10.64.0.0 --project project-host",
        "services vpc-peerings connect --network vpc-1 --ranges range-1 --project project-host",
        "redis instances create redis-1 --region us-central1 --network projects/project-host/global/networks/vpc-1 --connect-mode private-service-access --project project-1",
    ] {
        home.run(&words(line)).exits(0);
    }
    for (line, want) in [
        ("compute shared-vpc get-host-project project-1 --format value(name)", "project-host"),
        (
            "compute shared-vpc list-associated-resources project-host --format value(id,type)",
            "project-1\tPROJECT",
        ),
        (
            "services vpc-peerings list --network vpc-1 --project project-host --format value(peering,reservedPeeringRanges)",
            "servicenetworking-googleapis-com\trange-1",
        ),
        (
            "redis instances describe redis-1 --region us-central1 --project project-1 --format value(connectMode)",
            "PRIVATE_SERVICE_ACCESS",
        ),
        ("compute networks peerings list --project project-host --format value(peerings[0].state)", "ACTIVE"),
    ] {
        assert_eq!(home.run(&words(line)).exits(0).trim_end(), want, "{line}");
    }
    let used = home.run(&words("services vpc-peerings delete --network vpc-1 --project project-host"));
    assert_eq!(used.code, 1, "{}", used.err);
    assert!(used.err.contains("FAILED_PRECONDITION: Failed to delete connection"), "{}", used.err);
    for line in [
        "redis instances delete redis-1 --region us-central1 --project project-1",
        "services vpc-peerings delete --network vpc-1 --project project-host",
        "compute shared-vpc associated-projects remove project-1 --host-project project-host",
        "compute shared-vpc disable project-host",
    ] {
        home.run(&words(line)).exits(0);
    }
    home.down();
}

#[test]
fn the_token_is_sent_where_it_is_wanted() {
    let homes = homes();
    let home = homes.last().unwrap();
    let mut up = home.start(&["serve", "--state", "state", "--listen", "0.0.0.0:0"]);
    up.wait_until_up();
    home.learn();
    home.run(&words("projects create project-1")).exits(0);
    assert_eq!(home.run(&words("projects list --format value(projectId)")).exits(0), "project-1\n");
    home.down();
}

#[test]
fn gcloud_prints_the_same() {
    if !has_gcloud() {
        return;
    }
    let homes = homes();
    let home = homes.last().unwrap();
    let _served = made(home, &[]);
    for line in LOOK {
        let ours = home.run(&words(line)).exits(0);
        let theirs = home.run(&[vec!["gcloud", "--"], words(line)].concat()).exits(0);
        assert_eq!(ours, theirs, "{line}");
    }
    home.down();
}
