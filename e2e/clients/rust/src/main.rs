//! The story by Google's Rust client, as one who has never heard of Tombolo writes it. It has Compute alone: whoever runs
//! it makes the projects and enables the service.

use google_cloud_compute_v1::client::{Firewalls, Instances, Networks, Subnetworks};
use google_cloud_compute_v1::model::firewall::Allowed;
use google_cloud_compute_v1::model::{
    AttachedDisk, AttachedDiskInitializeParams, Firewall, Instance, Network, NetworkInterface,
    NetworkPeering, NetworksAddPeeringRequest, Operation, Subnetwork, network_peering,
};
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_lro::Poller;
use std::error::Error;

const P: [&str; 2] = ["project-i-1", "project-i-2"];
const REGION: &str = "us-central1";
const ZONE: &str = "us-central1-a";

type Done = Result<(), Box<dyn Error>>;

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, seen: T) -> Done {
    if expected == seen { Ok(()) } else { Err(format!("{what}: expected {expected:?}, saw {seen:?}").into()) }
}

/// What must fail at once.
fn refused<T, E: std::fmt::Debug>(text: &str, result: Result<T, E>) -> Done {
    match result {
        Ok(_) => Err(format!("not refused: {text}").into()),
        Err(error) if format!("{error:?}").contains(text) => Ok(()),
        Err(error) => Err(format!("refused otherwise: {error:?}").into()),
    }
}

/// What must fail as an operation, once it is done.
fn failed(text: &str, operation: google_cloud_gax::Result<Operation>) -> Done {
    refused(text, operation?.to_result())
}

async fn firewall(firewalls: &Firewalls, project: &str, rule: Firewall) -> Done {
    firewalls.insert().set_project(project).set_body(rule).poller().until_done().await?;
    Ok(())
}

/// Names of a project's rules, by pages of one.
async fn rules(firewalls: &Firewalls, project: &str, filter: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut list = firewalls.list().set_project(project).set_max_results(1_u32).set_filter(filter).by_item();
    let mut names = Vec::new();
    while let Some(rule) = list.next().await {
        names.push(rule?.name.unwrap_or_default());
    }
    Ok(names)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a provider is there already")?;
    let networks = Networks::builder().build().await?;
    let subnetworks = Subnetworks::builder().build().await?;
    let firewalls = Firewalls::builder().build().await?;
    let instances = Instances::builder().build().await?;

    println!("== the networks 'default' go");
    for p in P {
        let delete = || networks.delete().set_project(p).set_network("default");
        failed("is already being used by", delete().poller().until_done().await)?;
        for rule in rules(&firewalls, p, "").await? {
            firewalls.delete().set_project(p).set_firewall(rule).poller().until_done().await?;
        }
        delete().poller().until_done().await?;
        refused("was not found", networks.get().set_project(p).set_network("default").send().await)?;
    }

    println!("== two networks, each with a VM");
    for (i, p) in [1, 2].into_iter().zip(P) {
        let network = format!("projects/{p}/global/networks/vpc-{i}");
        let body = Network::new().set_name(format!("vpc-{i}")).set_auto_create_subnetworks(false);
        networks.insert().set_project(p).set_body(body).poller().until_done().await?;
        let body = Subnetwork::new()
            .set_name(format!("subnet-{i}"))
            .set_network(&network)
            .set_ip_cidr_range(format!("10.{i}.0.0/16"));
        let insert = subnetworks.insert().set_project(p).set_region(REGION).set_body(body);
        insert.poller().until_done().await?;
        let ssh = Firewall::new()
            .set_name(format!("vpc-{i}-allow-ssh"))
            .set_network(&network)
            .set_source_ranges(["0.0.0.0/0"])
            .set_allowed([Allowed::new().set_ip_protocol("tcp").set_ports(["22"])]);
        firewall(&firewalls, p, ssh).await?;
        let image = "projects/debian-cloud/global/images/family/debian-12";
        let disk = AttachedDisk::new()
            .set_boot(true)
            .set_initialize_params(AttachedDiskInitializeParams::new().set_source_image(image));
        let nic = NetworkInterface::new()
            .set_subnetwork(format!("projects/{p}/regions/{REGION}/subnetworks/subnet-{i}"))
            .set_network_ip(format!("10.{i}.0.2"));
        let vm = Instance::new()
            .set_name(format!("vm-{i}"))
            .set_machine_type(format!("zones/{ZONE}/machineTypes/e2-micro"))
            .set_disks([disk])
            .set_network_interfaces([nic]);
        instances.insert().set_project(p).set_zone(ZONE).set_body(vm).poller().until_done().await?;
        let vm = instances.get().set_project(p).set_zone(ZONE).set_instance(format!("vm-{i}")).send().await?;
        equal("vm", Some(format!("10.{i}.0.2")), vm.network_interfaces[0].network_ip.clone())?;
    }
    let again = Network::new().set_name("vpc-1").set_auto_create_subnetworks(false);
    let again = networks.insert().set_project(P[0]).set_body(again).poller().until_done().await;
    refused("already exists", again)?;

    println!("== peerings, and a rule");
    use network_peering::State::{Active, Inactive};
    for ([i, j], [p, q], state) in [([1, 2], P, Inactive), ([2, 1], [P[1], P[0]], Active)] {
        let peering = NetworkPeering::new()
            .set_name(format!("vpc-{i}-to-vpc-{j}"))
            .set_network(format!("projects/{q}/global/networks/vpc-{j}"))
            .set_exchange_subnet_routes(true);
        let body = NetworksAddPeeringRequest::new().set_network_peering(peering);
        let add = networks.add_peering().set_project(p).set_network(format!("vpc-{i}")).set_body(body);
        add.poller().until_done().await?;
        let network = networks.get().set_project(p).set_network(format!("vpc-{i}")).send().await?;
        equal("state", Some(state), network.peerings[0].state.clone())?;
    }
    let internal = Firewall::new()
        .set_name("vpc-2-allow-internal")
        .set_network(format!("projects/{}/global/networks/vpc-2", P[1]))
        .set_source_ranges(["10.0.0.0/8"])
        .set_allowed([Allowed::new().set_ip_protocol("all")]);
    firewall(&firewalls, P[1], internal).await?;

    println!("== lists, by page and by filter");
    let mut all = rules(&firewalls, P[1], "").await?;
    all.sort();
    equal("rules", vec!["vpc-2-allow-internal".to_owned(), "vpc-2-allow-ssh".to_owned()], all)?;
    let only = rules(&firewalls, P[1], "name = vpc-2-allow-internal").await?;
    equal("filtered", vec!["vpc-2-allow-internal".to_owned()], only)?;

    println!("== what is used stays");
    let delete = networks.delete().set_project(P[1]).set_network("vpc-2");
    failed("is already being used by", delete.poller().until_done().await)?;

    println!("the story is told");
    Ok(())
}
