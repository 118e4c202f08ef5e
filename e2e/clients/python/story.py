"""The story by Google's Python clients, as one who has never heard of Tombolo writes it.

With TOMBOLO_ENDPOINT, which is what `tombolo env --python` prints, they get that address instead, and speak REST.
"""

import os
import sys

from google.api_core import exceptions
from google.cloud import compute_v1, redis_v1, resourcemanager_v3, service_usage_v1

P1, P2, REGION, ZONE = "project-i-1", "project-i-2", "us-central1", "us-central1-a"
ENDPOINT = os.environ.get("TOMBOLO_ENDPOINT")


def client(kind, mount=""):
    """A client with its defaults, or of the endpoint."""
    if not ENDPOINT:
        return kind()
    from google.auth.credentials import AnonymousCredentials

    options = {"api_endpoint": ENDPOINT + mount}
    return kind(credentials=AnonymousCredentials(), client_options=options, transport="rest")


networks = client(compute_v1.NetworksClient)
subnetworks = client(compute_v1.SubnetworksClient)
firewalls = client(compute_v1.FirewallsClient)
instances = client(compute_v1.InstancesClient)
projects = client(resourcemanager_v3.ProjectsClient, "/cloudresourcemanager")
services = client(service_usage_v1.ServiceUsageClient, "/serviceusage")
redis = client(redis_v1.CloudRedisClient, "/redis")


def equal(what, expected, seen):
    if expected != seen:
        sys.exit(f"FAILED: {what}: expected {expected!r}, saw {seen!r}")


def refused(kind, text, call, *args, **kwargs):
    """A call that must fail, at once or when its operation is asked."""
    try:
        answer = call(*args, **kwargs)
        if hasattr(answer, "result"):
            answer.result()
    except kind as error:
        if text not in str(error):
            sys.exit(f"FAILED: refused otherwise: {error}")
        return
    sys.exit(f"FAILED: not refused: {text}")


def firewall(project, network, name, protocol, ranges, ports=()):
    firewalls.insert(
        project=project,
        firewall_resource=compute_v1.Firewall(
            name=name,
            network=f"projects/{project}/global/networks/{network}",
            direction="INGRESS",
            source_ranges=ranges,
            allowed=[compute_v1.Allowed(I_p_protocol=protocol, ports=ports)],
        ),
    ).result()


print("== projects and their services")
for p in (P1, P2):
    projects.create_project(project=resourcemanager_v3.Project(project_id=p, display_name=p)).result()
    refused(exceptions.Forbidden, "has not been used in project", networks.list, project=p)
    services.enable_service(request={"name": f"projects/{p}/services/compute.googleapis.com"}).result()
services.batch_enable_services(
    request={"parent": f"projects/{P2}", "service_ids": ["redis.googleapis.com"]}
).result()
enabled = services.list_services(request={"parent": f"projects/{P2}", "filter": "state:ENABLED", "page_size": 1})
equal("services", True, "redis.googleapis.com" in [service.config.name for service in enabled])

print("== the networks 'default' go")
for p in (P1, P2):
    refused(exceptions.GoogleAPICallError, "is already being used by", networks.delete, project=p, network="default")
    for rule in list(firewalls.list(project=p)):
        firewalls.delete(project=p, firewall=rule.name).result()
    networks.delete(project=p, network="default").result()
    equal("networks", [], list(networks.list(project=p)))
    refused(exceptions.NotFound, "was not found", networks.get, project=p, network="default")

print("== two networks, each with a VM")
for i, p in ((1, P1), (2, P2)):
    networks.insert(
        project=p, network_resource=compute_v1.Network(name=f"vpc-{i}", auto_create_subnetworks=False)
    ).result()
    subnetworks.insert(
        project=p,
        region=REGION,
        subnetwork_resource=compute_v1.Subnetwork(
            name=f"subnet-{i}", network=f"projects/{p}/global/networks/vpc-{i}", ip_cidr_range=f"10.{i}.0.0/16"
        ),
    ).result()
    firewall(p, f"vpc-{i}", f"vpc-{i}-allow-ssh", "tcp", ["0.0.0.0/0"], ["22"])
    disk = compute_v1.AttachedDisk(
        boot=True,
        auto_delete=True,
        initialize_params=compute_v1.AttachedDiskInitializeParams(
            source_image="projects/debian-cloud/global/images/family/debian-12"
        ),
    )
    nic = compute_v1.NetworkInterface(
        subnetwork=f"projects/{p}/regions/{REGION}/subnetworks/subnet-{i}", network_i_p=f"10.{i}.0.2"
    )
    instances.insert(
        project=p,
        zone=ZONE,
        instance_resource=compute_v1.Instance(
            name=f"vm-{i}",
            machine_type=f"zones/{ZONE}/machineTypes/e2-micro",
            disks=[disk],
            network_interfaces=[nic],
        ),
    ).result()
vm = instances.get(project=P1, zone=ZONE, instance="vm-1")
equal("vm-1", ("10.1.0.2", "RUNNING"), (vm.network_interfaces[0].network_i_p, vm.status))
refused(
    exceptions.Conflict,
    "already exists",
    networks.insert,
    project=P1,
    network_resource=compute_v1.Network(name="vpc-1", auto_create_subnetworks=False),
)

print("== peerings, and a rule")
for (i, p), (j, q), before, after in (
    ((1, P1), (2, P2), [], ["INACTIVE"]),
    ((2, P2), (1, P1), [], ["ACTIVE"]),
):
    states = lambda: [peering.state for peering in networks.get(project=p, network=f"vpc-{i}").peerings]
    equal("states before", before, states())
    networks.add_peering(
        project=p,
        network=f"vpc-{i}",
        networks_add_peering_request_resource=compute_v1.NetworksAddPeeringRequest(
            network_peering=compute_v1.NetworkPeering(
                name=f"vpc-{i}-to-vpc-{j}",
                network=f"projects/{q}/global/networks/vpc-{j}",
                exchange_subnet_routes=True,
            )
        ),
    ).result()
    equal("states after", after, states())
equal("the other state", ["ACTIVE"], [peering.state for peering in networks.get(project=P1, network="vpc-1").peerings])
firewall(P2, "vpc-2", "vpc-2-allow-internal", "all", ["10.0.0.0/8"])

print("== lists, by page and by filter")
pages = list(firewalls.list(compute_v1.ListFirewallsRequest(project=P2, max_results=1)).pages)
equal("pages", [1, 1], [len(page.items) for page in pages])
only = firewalls.list(compute_v1.ListFirewallsRequest(project=P2, filter="name = vpc-2-allow-internal"))
equal("filtered", ["vpc-2-allow-internal"], [rule.name for rule in only])
found = {scope: [i.name for i in part.instances] for scope, part in instances.aggregated_list(project=P2)}
equal("aggregated", ["vm-2"], found[f"zones/{ZONE}"])

print("== Redis instances")
parent = f"projects/{P2}/locations/{REGION}"
for name in ("redis-1", "redis-2"):
    made = redis.create_instance(
        parent=parent,
        instance_id=name,
        instance=redis_v1.Instance(
            tier=redis_v1.Instance.Tier.BASIC,
            memory_size_gb=1,
            authorized_network=f"projects/{P2}/global/networks/vpc-2",
            reserved_ip_range="10.34.175.88/29" if name == "redis-1" else "",
        ),
    ).result()
    equal("made", (f"{parent}/instances/{name}", redis_v1.Instance.State.READY), (made.name, made.state))
seen = redis.get_instance(name=f"{parent}/instances/redis-1")
equal("host", ("10.34.175.91", 6379), (seen.host, seen.port))
seen.display_name = "the first"
redis.update_instance(update_mask={"paths": ["display_name"]}, instance=seen).result()
equal("displayName", "the first", redis.get_instance(name=seen.name).display_name)
redis.delete_instance(name=f"{parent}/instances/redis-2").result()
listed = redis.list_instances(request={"parent": parent, "page_size": 1})
equal("instances", ["redis-1"], [instance.name.split("/")[-1] for instance in listed])
refused(exceptions.NotFound, "was not found", redis.get_instance, name=f"{parent}/instances/redis-2")

if ENDPOINT:
    print("== gRPC, in the clear")
    import grpc
    from google.cloud.redis_v1.services.cloud_redis.transports import CloudRedisGrpcTransport

    channel = grpc.insecure_channel(ENDPOINT.removeprefix("http://"))
    plain = redis_v1.CloudRedisClient(transport=CloudRedisGrpcTransport(channel=channel))
    equal("instance", seen.host, plain.get_instance(name=seen.name).host)
    refused(exceptions.NotFound, "was not found", plain.get_instance, name=f"{parent}/instances/redis-2")
    missing = f"projects/{P1}/locations/{REGION}"
    try:
        plain.list_instances(parent=missing)
        sys.exit("FAILED: an API that is not enabled answers")
    except exceptions.PermissionDenied as error:
        equal("details", "SERVICE_DISABLED", error.reason)

print("== what is used stays")
refused(exceptions.GoogleAPICallError, "is already being used by", networks.delete, project=P2, network="vpc-2")

print("the story is told")
