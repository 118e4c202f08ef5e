// The story by Google's Node clients, as one who has never heard of Tombolo writes it.

import {
  FirewallsClient,
  GlobalOperationsClient,
  InstancesClient,
  NetworksClient,
  RegionOperationsClient,
  SubnetworksClient,
  ZoneOperationsClient,
} from '@google-cloud/compute';
import { CloudRedisClient } from '@google-cloud/redis';
import { ProjectsClient } from '@google-cloud/resource-manager';
import { ServiceUsageClient } from '@google-cloud/service-usage';
import { deepStrictEqual as equal, rejects } from 'node:assert';

const [P1, P2, REGION, ZONE] = ['project-i-1', 'project-i-2', 'us-central1', 'us-central1-a'];

const networks = new NetworksClient();
const subnetworks = new SubnetworksClient();
const firewalls = new FirewallsClient();
const instances = new InstancesClient();
const operations = {
  global: new GlobalOperationsClient(),
  region: new RegionOperationsClient(),
  zone: new ZoneOperationsClient(),
};
const projects = new ProjectsClient();
const services = new ServiceUsageClient();
const redis = new CloudRedisClient();
const redisByRest = new CloudRedisClient({ fallback: true });

// Waits as Google's samples do: a `wait` in the operation's own scope.
async function done(project, call) {
  const [{ latestResponse }] = await call;
  let operation = latestResponse;
  while (operation.status !== 'DONE') {
    const named = { operation: operation.name, project };
    if (operation.zone) {
      [operation] = await operations.zone.wait({ ...named, zone: operation.zone.split('/').pop() });
    } else if (operation.region) {
      [operation] = await operations.region.wait({ ...named, region: operation.region.split('/').pop() });
    } else {
      [operation] = await operations.global.wait(named);
    }
  }
  if (operation.error?.errors?.length) {
    throw new Error(operation.error.errors[0].message);
  }
}

async function doneLong(call) {
  const [operation] = await call;
  const [response] = await operation.promise();
  return response;
}

function firewall(project, network, name, protocol, sourceRanges, ports = []) {
  const firewallResource = {
    name,
    network: `projects/${project}/global/networks/${network}`,
    direction: 'INGRESS',
    sourceRanges,
    allowed: [{ IPProtocol: protocol, ports }],
  };
  return done(project, firewalls.insert({ project, firewallResource }));
}

async function all(iterable) {
  const found = [];
  for await (const item of iterable) {
    found.push(item);
  }
  return found;
}

console.log('== projects and their services');
for (const p of [P1, P2]) {
  await doneLong(projects.createProject({ project: { projectId: p, displayName: p } }));
  await rejects(all(networks.listAsync({ project: p })), /has not been used in project/);
  await doneLong(services.enableService({ name: `projects/${p}/services/compute.googleapis.com` }));
}
await doneLong(services.batchEnableServices({ parent: `projects/${P2}`, serviceIds: ['redis.googleapis.com'] }));
const enabled = await all(services.listServicesAsync({ parent: `projects/${P2}`, filter: 'state:ENABLED' }));
equal(enabled.some((service) => service.config.name === 'redis.googleapis.com'), true);

console.log("== the networks 'default' go");
for (const p of [P1, P2]) {
  await rejects(done(p, networks.delete({ project: p, network: 'default' })), /is already being used by/);
  for (const rule of await all(firewalls.listAsync({ project: p }))) {
    await done(p, firewalls.delete({ project: p, firewall: rule.name }));
  }
  await done(p, networks.delete({ project: p, network: 'default' }));
  equal(await all(networks.listAsync({ project: p })), []);
  await rejects(networks.get({ project: p, network: 'default' }), { code: 404, message: /was not found/ });
}

console.log('== two networks, each with a VM');
for (const [i, p] of [[1, P1], [2, P2]]) {
  const networkResource = { name: `vpc-${i}`, autoCreateSubnetworks: false };
  await done(p, networks.insert({ project: p, networkResource }));
  const subnetworkResource = {
    name: `subnet-${i}`,
    network: `projects/${p}/global/networks/vpc-${i}`,
    ipCidrRange: `10.${i}.0.0/16`,
  };
  await done(p, subnetworks.insert({ project: p, region: REGION, subnetworkResource }));
  await firewall(p, `vpc-${i}`, `vpc-${i}-allow-ssh`, 'tcp', ['0.0.0.0/0'], ['22']);
  const instanceResource = {
    name: `vm-${i}`,
    machineType: `zones/${ZONE}/machineTypes/e2-micro`,
    disks: [
      {
        boot: true,
        autoDelete: true,
        initializeParams: { sourceImage: 'projects/debian-cloud/global/images/family/debian-12' },
      },
    ],
    networkInterfaces: [
      { subnetwork: `projects/${p}/regions/${REGION}/subnetworks/subnet-${i}`, networkIP: `10.${i}.0.2` },
    ],
  };
  await done(p, instances.insert({ project: p, zone: ZONE, instanceResource }));
}
const [vm] = await instances.get({ project: P1, zone: ZONE, instance: 'vm-1' });
equal([vm.networkInterfaces[0].networkIP, vm.status], ['10.1.0.2', 'RUNNING']);
const again = { name: 'vpc-1', autoCreateSubnetworks: false };
await rejects(networks.insert({ project: P1, networkResource: again }), { code: 409, message: /already exists/ });

console.log('== peerings, and a rule');
for (const [i, p, j, q, state] of [[1, P1, 2, P2, 'INACTIVE'], [2, P2, 1, P1, 'ACTIVE']]) {
  const networkPeering = {
    name: `vpc-${i}-to-vpc-${j}`,
    network: `projects/${q}/global/networks/vpc-${j}`,
    exchangeSubnetRoutes: true,
  };
  const networksAddPeeringRequestResource = { networkPeering };
  await done(p, networks.addPeering({ project: p, network: `vpc-${i}`, networksAddPeeringRequestResource }));
  const [network] = await networks.get({ project: p, network: `vpc-${i}` });
  equal(network.peerings.map((peering) => peering.state), [state]);
}
const [first] = await networks.get({ project: P1, network: 'vpc-1' });
equal(first.peerings[0].state, 'ACTIVE');
await firewall(P2, 'vpc-2', 'vpc-2-allow-internal', 'all', ['10.0.0.0/8']);

console.log('== lists, by page and by filter');
const byOne = await all(firewalls.listAsync({ project: P2, maxResults: 1 }));
equal(byOne.map((rule) => rule.name).sort(), ['vpc-2-allow-internal', 'vpc-2-allow-ssh']);
const only = await all(firewalls.listAsync({ project: P2, filter: 'name = vpc-2-allow-internal' }));
equal(only.map((rule) => rule.name), ['vpc-2-allow-internal']);
const scopes = new Map(await all(instances.aggregatedListAsync({ project: P2 })));
equal(scopes.get(`zones/${ZONE}`).instances.map((instance) => instance.name), ['vm-2']);

console.log('== Redis instances, by gRPC and by REST');
const parent = `projects/${P2}/locations/${REGION}`;
for (const [client, instanceId, reservedIpRange] of [
  [redis, 'redis-1', '10.34.175.88/29'],
  [redisByRest, 'redis-2', ''],
]) {
  const instance = {
    tier: 'BASIC',
    memorySizeGb: 1,
    authorizedNetwork: `projects/${P2}/global/networks/vpc-2`,
    reservedIpRange,
  };
  const made = await doneLong(client.createInstance({ parent, instanceId, instance }));
  equal(made.name, `${parent}/instances/${instanceId}`);
}
for (const client of [redis, redisByRest]) {
  const [seen] = await client.getInstance({ name: `${parent}/instances/redis-1` });
  equal([seen.host, seen.port, seen.state], ['10.34.175.91', 6379, 'READY']);
  const listed = await all(client.listInstancesAsync({ parent, pageSize: 1 }));
  equal(listed.map((instance) => instance.name.split('/').pop()).sort(), ['redis-1', 'redis-2']);
}
await doneLong(redisByRest.deleteInstance({ name: `${parent}/instances/redis-2` }));
// Each transport has codes of its own: 5 is gRPC's NOT_FOUND.
for (const [client, code] of [[redis, 5], [redisByRest, 404]]) {
  await rejects(client.getInstance({ name: `${parent}/instances/redis-2` }), { code, message: /was not found/ });
}

console.log('== what is used stays');
await rejects(done(P2, networks.delete({ project: P2, network: 'vpc-2' })), /is already being used by/);

console.log('the story is told');
// gRPC keeps its connections, and with them the process.
process.exit(0);
