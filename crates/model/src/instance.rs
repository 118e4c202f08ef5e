//! VM instances and their network interfaces.
//!
//! Addresses, MACs and names are Google's: the first instance of a subnetwork gets `.2`, the MAC is `42:01:`
//! followed by the address in hex, the internal name is `NAME.ZONE.c.PROJECT.internal` (zonal DNS).

use crate::{
    InstanceKey, NetworkKey, Refusal, StackType, Subnetwork, SubnetworkKey, TagKeyKey, TagValueKey,
    Timestamp, World, address, forwarding_rule, ipv6, key, metadata, network, project, range, region,
    subnetwork,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, net::Ipv4Addr, sync::Arc};

/// The most interfaces that a machine type can have on Google Cloud.
pub const MAX_NICS: usize = 10;

/// What stands for the default service account of an instance's project.
pub const DEFAULT_ACCOUNT: &str = "default";

/// A VM instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// Its interfaces: `nic0` first. Never empty.
    pub nics: Vec<Nic>,
    /// Its network tags.
    pub tags: BTreeSet<String>,
    /// Whether it may send packets whose source is not its own address, and receive others' packets.
    pub can_ip_forward: bool,
    /// The service account that its programs act as, and that firewall rules know it by.
    #[serde(default)]
    pub service_account: Option<ServiceAccount>,
    /// The tag values that are bound to it, by their keys: what firewall policies know it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secure_tags: BTreeMap<TagKeyKey, TagValueKey>,
    /// Its metadata; `startup-script` is run at boot.
    pub metadata: BTreeMap<String, String>,
    /// Whether it runs. One that does not keeps its addresses, and no packet reaches or leaves it.
    pub running: bool,
    /// How often it was started; with each one its programs begin anew.
    pub starts: u64,
    /// When it was started last; none since it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_start: Option<Timestamp>,
    /// When it was stopped last, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stop: Option<Timestamp>,
}

/// The service account of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Its address, or [`DEFAULT_ACCOUNT`].
    pub email: String,
    /// What its programs may ask of Google's APIs. No packet depends on it.
    pub scopes: Vec<String>,
}

impl Instance {
    /// Whether a tag value is bound to it.
    pub fn has_tag(&self, value: &TagValueKey) -> bool {
        self.secure_tags.values().any(|bound| bound == value)
    }

    /// The address of its service account; `project` is the project that the instance is in.
    pub fn account_email(&self, world: &World, project: &str) -> Option<String> {
        let account = self.service_account.as_ref()?;
        if account.email != DEFAULT_ACCOUNT {
            return Some(account.email.clone());
        }
        world.projects.get(project).map(|project| project.default_service_account())
    }
}

/// A network interface of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nic {
    /// The network that it is in.
    pub network: NetworkKey,
    /// The subnetwork that its address is from.
    pub subnetwork: SubnetworkKey,
    /// Its internal address (`networkIP`).
    pub address: Ipv4Addr,
    /// Its external address, if it has one.
    #[serde(default)]
    pub access: Option<AccessConfig>,
    /// More addresses of its own (`aliasIpRanges`).
    #[serde(default)]
    pub aliases: Vec<Alias>,
    /// The IPv6 addresses that are its own, where it is dual-stack; the first one is the guest's (`ipv6Address`).
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
}

impl Nic {
    /// Whether the address is in one of its alias ranges.
    pub fn has_alias(&self, address: Ipv4Addr) -> bool {
        self.aliases.iter().any(|alias| alias.range.contains(&address))
    }

    /// What it has of its subnetwork: its own address, as /32, and its alias ranges.
    pub fn ranges(&self) -> impl Iterator<Item = Ipv4Net> {
        self.aliases.iter().map(|alias| alias.range).chain([Ipv4Net::from(self.address)])
    }
}

/// An interface's external address: what its own address becomes on the way to the lab's internet, and the reverse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessConfig {
    /// Its name, such as `External NAT`.
    pub name: String,
    /// The address (`natIP`): a reserved one, or one that goes with the configuration.
    pub address: Ipv4Addr,
}

/// A range of addresses that an interface has beside its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The addresses.
    pub range: Ipv4Net,
    /// The name of the secondary range that it is from; the subnetwork's primary range when none.
    pub secondary: Option<String>,
}

/// What a user says of an alias range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasSpec {
    /// Its first address; a free range is chosen when not said.
    pub base: Option<Ipv4Addr>,
    /// Its length in bits: 32 for one address.
    pub prefix_len: u8,
    /// See [`Alias`].
    pub secondary: Option<String>,
}

impl AliasSpec {
    /// A range as Google's `ipCidrRange` has it: `10.8.1.0/24`, `10.8.1.7` for one address, or `/24` for a free range. The
    /// error is the sentence that says what was expected.
    pub fn parse(text: &str, secondary: Option<&str>) -> Result<Self, &'static str> {
        const EXPECTED: &str = "Must be an address, a CIDR range or a length such as '/24'.";
        let (base, length) = text.split_once('/').unwrap_or((text, "32"));
        let prefix_len = length.parse().ok().filter(|length| *length <= 32).ok_or(EXPECTED)?;
        let base = match base {
            "" if text.is_empty() => return Err(EXPECTED),
            "" => None,
            base => Some(base.parse().map_err(|_| EXPECTED)?),
        };
        Ok(Self { base, prefix_len, secondary: secondary.map(str::to_owned) })
    }
}

/// Its range as it is parsed.
impl fmt::Display for AliasSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.iter().try_for_each(|base| write!(f, "{base}"))?;
        write!(f, "/{}", self.prefix_len)
    }
}

/// What a user says of a new instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSpec {
    /// Which instance.
    pub key: InstanceKey,
    /// Its interfaces, at least one.
    pub nics: Vec<NicSpec>,
    /// Its network tags.
    pub tags: BTreeSet<String>,
    /// `canIpForward`.
    pub can_ip_forward: bool,
    /// Its service account; none when not said.
    #[serde(default)]
    pub service_account: Option<ServiceAccount>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// What a user says of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicSpec {
    /// The subnetwork; it must be in the instance's region.
    pub subnetwork: SubnetworkKey,
    /// A certain address (`networkIP`); the first free one when not said.
    pub address: Option<Ipv4Addr>,
    /// Which versions of IP it is to have; the subnetwork must have them.
    #[serde(default)]
    pub stack_type: StackType,
    /// Ranges that it is to have beside its address (`aliasIpRanges`).
    #[serde(default)]
    pub aliases: Vec<AliasSpec>,
}

/// The MAC address that Google gives to an interface with this address: `42:01:` and the address in hex.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x42, 0x01, a, b, c, d]
}

/// Creates an instance and gives its interfaces their addresses.
pub(crate) fn insert(world: &mut World, spec: &InstanceSpec, now: Timestamp) -> Result<(), Refusal> {
    let InstanceKey { project, zone, name } = &spec.key;
    project::require(world, project, project::COMPUTE)?;
    key::check_name("name", name)?;
    let region =
        region::Region::of_zone(zone).ok_or_else(|| Refusal::invalid("zone", zone, "Unknown zone."))?;
    if world.instances.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    if !(1..=MAX_NICS).contains(&spec.nics.len()) {
        let expected = format!("At least one and at most {MAX_NICS} network interfaces are expected.");
        return Err(Refusal::invalid("networkInterfaces", spec.nics.len(), expected));
    }
    check_tags("tags.items", &spec.tags)?;
    check_account(spec.service_account.as_ref())?;
    check_metadata(&spec.metadata)?;
    let mut nics: Vec<Nic> = Vec::new();
    for (i, nic) in spec.nics.iter().enumerate() {
        let nic = place(world, project, region.name, nic, i)?;
        if nics.iter().any(|other| other.network == nic.network) {
            let field = format!("networkInterfaces[{i}].network");
            return Err(Refusal::invalid(
                &field,
                &nic.network,
                "Networks must be distinct for NICs attached to a VM.",
            ));
        }
        check_disjoint(world, &nics, &nic, i)?;
        nics.push(nic);
    }
    let instance = Instance {
        id: world.fresh_id(),
        creation_timestamp: now,
        nics,
        tags: spec.tags.clone(),
        can_ip_forward: spec.can_ip_forward,
        service_account: spec.service_account.clone(),
        secure_tags: BTreeMap::new(),
        metadata: spec.metadata.clone(),
        running: true,
        starts: 1,
        last_start: None,
        last_stop: None,
    };
    world.instances.insert(spec.key.clone(), Arc::new(instance));
    for (i, nic) in spec.nics.iter().enumerate().filter(|(_, nic)| !nic.aliases.is_empty()) {
        set_aliases(world, &spec.key, i, &nic.aliases)?;
    }
    let dual = spec.nics.iter().enumerate().filter(|(_, nic)| nic.stack_type == StackType::Ipv4Ipv6);
    dual.map(|(i, _)| i).try_for_each(|i| ipv6::enable_nic(world, &spec.key, i))
}

/// Finds the subnetwork of interface number `i` and an address in it.
fn place(world: &World, project: &str, region: &str, spec: &NicSpec, i: usize) -> Result<Nic, Refusal> {
    let field = |name: &str| format!("networkInterfaces[{i}].{name}");
    let key = &spec.subnetwork;
    if key.region != region {
        let expected = format!("The subnetwork must be in the instance's region '{region}'.");
        return Err(Refusal::invalid(&field("subnetwork"), key, expected));
    }
    let missing =
        || Refusal::invalid(&field("subnetwork"), key, "The referenced subnetwork resource cannot be found.");
    let subnetwork = world.subnetworks.get(key).ok_or_else(missing)?;
    project::check_may_use(world, project, key).map_err(|_| missing())?;
    network::get_user(world, &subnetwork.network)?;
    subnetwork::check_private(&field("subnetwork"), key, subnetwork)?;
    let address = match spec.address {
        None => subnetwork::free_address(world, key, subnetwork)?,
        Some(address) => {
            range::check_address(&field("networkIP"), subnetwork.range, address)?;
            // An address that is reserved in the instance's own project is there for it.
            let own = address::holder(world, key, address).is_some_and(|holder| holder.project == project);
            let reserved = !own && address::holder(world, key, address).is_some();
            if reserved || subnetwork::is_used(world, key, address) {
                return Err(Refusal::AddressInUse { address });
            }
            address
        }
    };
    let network = subnetwork.network.clone();
    Ok(Nic { network, subnetwork: key.clone(), address, access: None, aliases: Vec::new(), ipv6: None })
}

/// Gives an interface an external address.
pub(crate) fn add_access(
    world: &mut World,
    key: &InstanceKey,
    nic: usize,
    name: &str,
    wanted: Option<Ipv4Addr>,
) -> Result<(), Refusal> {
    let field = format!("networkInterfaces[{nic}].accessConfigs[0].natIP");
    let instance = world.instances.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let found = get_nic(instance, nic)?;
    if found.access.is_some() {
        let expected = "At most one access config currently supported.";
        return Err(Refusal::invalid(&format!("networkInterfaces[{nic}].accessConfigs"), name, expected));
    }
    let address = address::external_for(world, key, &field, wanted)?;
    let access = AccessConfig { name: name.to_owned(), address };
    update(world, key, |instance| instance.nics[nic].access = Some(access))
}

/// Takes an interface's external address.
pub(crate) fn delete_access(
    world: &mut World,
    key: &InstanceKey,
    nic: usize,
    name: &str,
) -> Result<(), Refusal> {
    let found = get_nic(get(world, key)?, nic)?;
    if found.access.as_ref().is_none_or(|access| access.name != name) {
        let expected = format!("There is no such access config on the network interface nic{nic}.");
        return Err(Refusal::invalid("accessConfig", name, expected));
    }
    update(world, key, |instance| instance.nics[nic].access = None)
}

/// Replaces an interface's alias ranges.
pub(crate) fn set_aliases(
    world: &mut World,
    key: &InstanceKey,
    nic: usize,
    specs: &[AliasSpec],
) -> Result<(), Refusal> {
    let found = get_nic(get(world, key)?, nic)?;
    let (place, before) = (found.subnetwork.clone(), found.aliases.clone());
    update(world, key, |instance| instance.nics[nic].aliases.clear())?;
    let subnetwork = world.subnetworks.get(&place).ok_or_else(|| Refusal::not_found(&place))?.clone();
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("networkInterfaces[{nic}].aliasIpRanges[{index}]");
        let alias = alias(world, &field, &place, &subnetwork, spec, &before)?;
        update(world, key, |instance| instance.nics[nic].aliases.push(alias))?;
    }
    Ok(())
}

/// The alias range that a user means: one of the subnetwork's primary range or of the secondary one named.
fn alias(
    world: &World,
    field: &str,
    place: &SubnetworkKey,
    subnetwork: &Subnetwork,
    spec: &AliasSpec,
    before: &[Alias],
) -> Result<Alias, Refusal> {
    let within = match &spec.secondary {
        None => subnetwork.range,
        Some(name) => *subnetwork.secondary.get(name).ok_or_else(|| {
            let expected = format!("The subnetwork '{place}' has no secondary range of that name.");
            Refusal::invalid(&format!("{field}.subnetworkRangeName"), name, expected)
        })?,
    };
    let reserved = if spec.secondary.is_none() { range::reserved(within).to_vec() } else { Vec::new() };
    let taken = world.addresses.values().filter_map(|address| match &address.reserved {
        crate::Reserved::Internal { subnetwork, address } if subnetwork == place => {
            Some(Ipv4Net::from(*address))
        }
        _ => None,
    });
    let mut taken: Vec<Ipv4Net> = taken.collect();
    taken.extend(forwarding_rule::addresses_of(world, place).map(Ipv4Net::from));
    let free = |range: &Ipv4Net| {
        reserved.iter().all(|address| !range.contains(address))
            && taken.iter().all(|taken| !range::overlap(taken, range))
            && world.instances.holder(place, *range).is_none()
    };
    let field = format!("{field}.ipCidrRange");
    let range = match spec.base {
        Some(base) => Ipv4Net::new(base, spec.prefix_len)
            .map_err(|_| Refusal::invalid(&field, spec.prefix_len, "Must be a CIDR range."))?,
        None => {
            let kept =
                before.iter().filter(|alias| alias.secondary == spec.secondary).map(|alias| alias.range);
            let mut kept = kept.filter(|range| range.prefix_len() == spec.prefix_len);
            let found = kept.find(free).or_else(|| within.subnets(spec.prefix_len).ok()?.find(free));
            let expected = format!("There is no free range of that length in '{within}'.");
            found.ok_or_else(|| Refusal::invalid(&field, format!("/{}", spec.prefix_len), expected))?
        }
    };
    if range.addr() != range.network() || !within.contains(&range) {
        let expected = format!("Must be a range with no host bits set, inside '{within}'.");
        return Err(Refusal::invalid(&field, range, expected));
    }
    if !free(&range) {
        return Err(Refusal::AddressInUse { address: range.addr() });
    }
    Ok(Alias { range, secondary: spec.secondary.clone() })
}

/// The interface of that number.
pub(crate) fn get_nic(instance: &Instance, nic: usize) -> Result<&Nic, Refusal> {
    let missing = || Refusal::invalid("networkInterface", format!("nic{nic}"), "There is no such interface.");
    instance.nics.get(nic).ok_or_else(missing)
}

/// The subnetworks of a VM's interfaces may not overlap, though their networks may: the guest could not tell them
/// apart. Source: Google's documentation of multiple network interfaces, "Specifications".
fn check_disjoint(world: &World, nics: &[Nic], nic: &Nic, i: usize) -> Result<(), Refusal> {
    let range = |nic: &Nic| world.subnetworks.get(&nic.subnetwork).map(|s| s.range);
    let clash = |other: &&Nic| range(other).zip(range(nic)).is_some_and(|(a, b)| range::overlap(&a, &b));
    let Some(other) = nics.iter().find(clash) else { return Ok(()) };
    let field = format!("networkInterfaces[{i}].subnetwork");
    let expected = format!("Its range overlaps the range of another interface's '{}'.", other.subnetwork);
    Err(Refusal::invalid(&field, &nic.subnetwork, expected))
}

/// Replaces the network tags of an instance.
pub(crate) fn set_tags(world: &mut World, key: &InstanceKey, tags: &BTreeSet<String>) -> Result<(), Refusal> {
    check_tags("tags.items", tags)?;
    update(world, key, |instance| instance.tags = tags.clone())
}

/// Replaces the service account of an instance, which must be stopped.
pub(crate) fn set_service_account(
    world: &mut World,
    key: &InstanceKey,
    account: Option<&ServiceAccount>,
) -> Result<(), Refusal> {
    check_account(account)?;
    if get(world, key)?.running {
        return Err(Refusal::MustBeStopped { instance: key.clone(), what: "service account" });
    }
    update(world, key, |instance| instance.service_account = account.cloned())
}

/// Replaces the metadata of an instance; a running one sees it at its next start.
pub(crate) fn set_metadata(
    world: &mut World,
    key: &InstanceKey,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    check_metadata(metadata)?;
    update(world, key, |instance| instance.metadata = metadata.clone())
}

/// Starts an instance; one that runs goes on.
pub(crate) fn start(world: &mut World, key: &InstanceKey, now: Timestamp) -> Result<(), Refusal> {
    update(world, key, |instance| {
        if !instance.running {
            instance.starts += 1;
            instance.last_start = Some(now);
        }
        instance.running = true;
    })
}

/// Stops an instance; one that is stopped stays so.
pub(crate) fn stop(world: &mut World, key: &InstanceKey, now: Timestamp) -> Result<(), Refusal> {
    update(world, key, |instance| {
        if instance.running {
            instance.last_stop = Some(now);
        }
        instance.running = false;
    })
}

/// Starts a running instance anew, as by its power button.
pub(crate) fn reset(world: &mut World, key: &InstanceKey) -> Result<(), Refusal> {
    if !get(world, key)?.running {
        return Err(Refusal::NotReady { resource: key.to_string() });
    }
    update(world, key, |instance| instance.starts += 1)
}

/// The instance.
fn get<'w>(world: &'w World, key: &InstanceKey) -> Result<&'w Instance, Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.instances.get(key).map(Arc::as_ref).ok_or_else(|| Refusal::not_found(key))
}

/// Changes the instance.
pub(crate) fn update(
    world: &mut World,
    key: &InstanceKey,
    change: impl FnOnce(&mut Instance),
) -> Result<(), Refusal> {
    get(world, key)?;
    world.instances.update(key, change).ok_or_else(|| Refusal::not_found(key))
}

/// Deletes an instance. A route whose next hop it was stays, and drops what it matches, as in Google's cloud.
pub(crate) fn delete(world: &mut World, key: &InstanceKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.instances.remove(key).map(drop).ok_or_else(|| Refusal::not_found(key))
}

/// A service account is `default` or an address.
fn check_account(account: Option<&ServiceAccount>) -> Result<(), Refusal> {
    match account {
        Some(account) if account.email != DEFAULT_ACCOUNT => {
            key::check_email("serviceAccounts[0].email", &account.email)
        }
        _ => Ok(()),
    }
}

fn check_metadata(items: &BTreeMap<String, String>) -> Result<(), Refusal> {
    metadata::check(items.iter().map(|(key, value)| (&**key, &**value)))
}

/// At most 64 tags, each an RFC 1035 name.
pub(crate) fn check_tags(field: &str, tags: &BTreeSet<String>) -> Result<(), Refusal> {
    if tags.len() > 64 {
        return Err(Refusal::invalid(field, tags.len(), "At most 64 tags are allowed."));
    }
    tags.iter().enumerate().try_for_each(|(i, tag)| key::check_name(&format!("{field}[{i}]"), tag))
}
