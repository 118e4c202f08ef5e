"""The story by googleapiclient, whose methods are those of Google's discovery documents, over REST."""

import sys

from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

P1, P2, REGION, ZONE = "project-i-1", "project-i-2", "us-central1", "us-central1-a"

compute = build("compute", "v1")
manager = build("cloudresourcemanager", "v1")
usage = build("serviceusage", "v1")
memorystore = build("redis", "v1")


def equal(what, expected, seen):
    if expected != seen:
        sys.exit(f"FAILED: {what}: expected {expected!r}, saw {seen!r}")


def refused(status, reason, text, request):
    try:
        request.execute()
    except HttpError as error:
        equal("status", status, error.resp.status)
        details = error.error_details
        if reason is not None:
            equal("reason", reason, details[0]["reason"])
        if text not in error.reason:
            sys.exit(f"FAILED: refused otherwise: {error}")
        return
    sys.exit(f"FAILED: not refused: {text}")


def done(operation):
    """Waits as Google's samples do: a `wait` in the operation's own scope."""
    if operation["status"] != "DONE":
        project = operation["selfLink"].split("/projects/")[1].split("/")[0]
        scope = {"project": project, "operation": operation["name"]}
        if "zone" in operation:
            wait = compute.zoneOperations().wait(zone=operation["zone"].split("/")[-1], **scope)
        elif "region" in operation:
            wait = compute.regionOperations().wait(region=operation["region"].split("/")[-1], **scope)
        else:
            wait = compute.globalOperations().wait(**scope)
        operation = wait.execute()
    equal("status", ("DONE", None), (operation["status"], operation.get("error")))


def done_long(api, operation):
    """Waits for an operation of the other APIs."""
    while not operation.get("done"):
        operation = api.get(name=operation["name"]).execute()
    if "error" in operation:
        sys.exit(f"FAILED: {operation}")
    return operation.get("response")


def firewall(project, network, name, protocol, ranges, ports=None):
    allowed = {"IPProtocol": protocol}
    if ports:
        allowed["ports"] = ports
    rule = {
        "name": name,
        "network": f"projects/{project}/global/networks/{network}",
        "sourceRanges": ranges,
        "allowed": [allowed],
    }
    done(compute.firewalls().insert(project=project, body=rule).execute())


print("== projects and their services")
for p in (P1, P2):
    done_long(manager.operations(), manager.projects().create(body={"projectId": p, "name": p}).execute())
    refused(403, None, "has not been used in project", compute.networks().list(project=p))
    enable = {"serviceIds": ["compute.googleapis.com", "redis.googleapis.com"]}
    done_long(usage.operations(), usage.services().batchEnable(parent=f"projects/{p}", body=enable).execute())
enabled = usage.services().list(parent=f"projects/{P2}", filter="state:ENABLED").execute()
equal("services", True, "redis.googleapis.com" in [s["config"]["name"] for s in enabled["services"]])

print("== the networks 'default' go")
for p in (P1, P2):
    rules = compute.firewalls().list(project=p).execute()["items"]
    equal("rules", 4, len(rules))
    for rule in rules:
        done(compute.firewalls().delete(project=p, firewall=rule["name"]).execute())
    done(compute.networks().delete(project=p, network="default").execute())
    refused(404, "notFound", "was not found", compute.networks().get(project=p, network="default"))

print("== two networks, each with a VM")
for i, p in ((1, P1), (2, P2)):
    network = {"name": f"vpc-{i}", "autoCreateSubnetworks": False}
    done(compute.networks().insert(project=p, body=network).execute())
    subnetwork = {
        "name": f"subnet-{i}",
        "network": f"projects/{p}/global/networks/vpc-{i}",
        "ipCidrRange": f"10.{i}.0.0/16",
    }
    done(compute.subnetworks().insert(project=p, region=REGION, body=subnetwork).execute())
    firewall(p, f"vpc-{i}", f"vpc-{i}-allow-ssh", "tcp", ["0.0.0.0/0"], ["22"])
    image = compute.images().getFromFamily(project="debian-cloud", family="debian-12").execute()
    vm = {
        "name": f"vm-{i}",
        "machineType": f"zones/{ZONE}/machineTypes/e2-micro",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image["selfLink"]}}],
        "networkInterfaces": [
            {
                "subnetwork": f"projects/{p}/regions/{REGION}/subnetworks/subnet-{i}",
                "networkIP": f"10.{i}.0.2",
            }
        ],
    }
    done(compute.instances().insert(project=p, zone=ZONE, body=vm).execute())
refused(409, "alreadyExists", "already exists", compute.networks().insert(project=P1, body={"name": "vpc-1", "autoCreateSubnetworks": False}))

print("== peerings, and a rule")
for i, p, j, q, state in ((1, P1, 2, P2, "INACTIVE"), (2, P2, 1, P1, "ACTIVE")):
    peering = {
        "name": f"vpc-{i}-to-vpc-{j}",
        "network": f"projects/{q}/global/networks/vpc-{j}",
        "exchangeSubnetRoutes": True,
    }
    body = {"networkPeering": peering}
    done(compute.networks().addPeering(project=p, network=f"vpc-{i}", body=body).execute())
    network = compute.networks().get(project=p, network=f"vpc-{i}").execute()
    equal("state", [state], [peering["state"] for peering in network["peerings"]])
firewall(P2, "vpc-2", "vpc-2-allow-internal", "all", ["10.0.0.0/8"])

print("== lists, by page and by filter")
names, pages = [], 0
request = compute.firewalls().list(project=P2, maxResults=1)
while request is not None:
    page = request.execute()
    names += [rule["name"] for rule in page.get("items", [])]
    pages += 1
    request = compute.firewalls().list_next(request, page)
equal("pages", (2, ["vpc-2-allow-internal", "vpc-2-allow-ssh"]), (pages, sorted(names)))
only = compute.firewalls().list(project=P2, filter='name = "vpc-2-allow-internal"', fields="items/name").execute()
equal("filtered", {"items": [{"name": "vpc-2-allow-internal"}]}, only)

print("== several requests in one")
answers = {}
batch = compute.new_batch_http_request(callback=lambda key, answer, error: answers.update({key: answer or error}))
batch.add(compute.networks().get(project=P1, network="vpc-1"), request_id="good")
batch.add(compute.networks().get(project=P1, network="none"), request_id="bad")
batch.execute()
equal("batch", ("vpc-1", 404), (answers["good"]["name"], answers["bad"].resp.status))

print("== Redis instances")
redis = memorystore.projects().locations().instances()
parent = f"projects/{P2}/locations/{REGION}"
for name, reserved in (("redis-1", "10.34.175.88/29"), ("redis-2", None)):
    body = {"tier": "BASIC", "memorySizeGb": 1, "authorizedNetwork": f"projects/{P2}/global/networks/vpc-2"}
    if reserved:
        body["reservedIpRange"] = reserved
    operation = redis.create(parent=parent, instanceId=name, body=body).execute()
    made = done_long(memorystore.projects().locations().operations(), operation)
    equal("made", f"{parent}/instances/{name}", made["name"])
seen = redis.get(name=f"{parent}/instances/redis-1").execute()
equal("redis-1", ("10.34.175.91", "READY"), (seen["host"], seen["state"]))
operation = redis.delete(name=f"{parent}/instances/redis-2").execute()
done_long(memorystore.projects().locations().operations(), operation)
refused(404, None, "was not found", redis.get(name=f"{parent}/instances/redis-2"))

print("== what is used stays")
# At once, or by its operation: both are Google's ways.
try:
    operation = compute.networks().delete(project=P2, network="vpc-2").execute()
    text = str(operation["error"])
except HttpError as error:
    text = error.reason
equal("refused", True, "is already being used by" in text)

print("the story is told")
