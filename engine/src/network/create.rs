//! Networks made and removed.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{NetworkId, Owner};
use crate::metadata::Durability;
use crate::metadata::tables::network;
use crate::network::bridge::{
    self, OPTION_BRIDGE_NAME, OPTION_HOST_BINDING, OPTION_ICC, OPTION_MASQUERADE, OPTION_MTU,
};
use crate::network::config::AddressPool;
use crate::network::firewall;
use crate::network::ipam;
use crate::network::networks::{Network, Shared, blocking, mtu_of, rules_of};
use crate::network::parent;
use crate::network::record::{NetworkRecord, RECORD_VERSION};
use crate::network::spec::{IpamPool, NetworkSpec};
use crate::network::view::NetworkView;

/// Networks that are always there, with their drivers.
pub(super) const PREDEFINED: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];
/// Longest name of an interface.
const IFNAME_LEN_MAX: usize = 15;
/// Longest name of a network.
const NAME_LEN_MAX: usize = 255;
/// The smallest maximum transmission unit that IPv4 allows.
const MTU_MIN: u32 = 68;
/// The largest one.
const MTU_MAX: u32 = 65_535;

/// Makes those predefined networks that have no record yet.
///
/// # Errors
/// When the store cannot be written, or no subnet is free for the default bridge.
pub(super) async fn make_predefined(shared: &Arc<Shared>) -> Result<()> {
    for (name, driver) in PREDEFINED {
        if shared.read().networks.values().any(|n| n.record.name == name) {
            continue;
        }
        let mut spec = NetworkSpec::bridge(name, Owner::Docker);
        spec.driver = driver.into();
        let mut record = record_of(&spec);
        record.predefined = true;
        if driver == "bridge" {
            let subnet = shared.config.bridge_subnet.map(IpNet::V4);
            record.ipam = vec![IpamPool { subnet, ..IpamPool::default() }];
            record.ipam = settle_pools(shared, &record).await?;
            record.bridge = Some(shared.config.bridge.clone());
            record.options = default_bridge_options(&shared.config.bridge);
        }
        store(shared, &record).await?;
        shared.write().networks.insert(record.id.clone(), Network::new(record));
    }
    Ok(())
}

fn default_bridge_options(bridge: &str) -> BTreeMap<String, String> {
    let option = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    [
        ("com.docker.network.bridge.default_bridge", "true"),
        (OPTION_BRIDGE_NAME, bridge),
        (OPTION_ICC, "true"),
        (OPTION_MASQUERADE, "true"),
        (OPTION_HOST_BINDING, "0.0.0.0"),
    ]
    .map(option)
    .into()
}

/// Creates a network: checked, stored, then put in force.
///
/// # Errors
/// See [`super::Networks::create`].
pub(super) async fn create(shared: &Arc<Shared>, spec: NetworkSpec) -> Result<Arc<NetworkView>> {
    validate(&spec)?;
    let _order = shared.change.lock().await;
    if shared.read().networks.values().any(|n| n.record.name == spec.name) {
        let message = format!("network with name {} already exists", spec.name);
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    let mut record = record_of(&spec);
    record.ipam = settle_pools(shared, &record).await?;
    if record.driver == "bridge" {
        let named = spec.options.get(OPTION_BRIDGE_NAME).cloned();
        record.bridge = Some(named.unwrap_or_else(|| format!("br-{}", record.id.short())));
        check_bridge_name(shared, &record).await?;
    } else {
        check_parent(shared, &record).await?;
    }
    store(shared, &record).await?;
    if let Err(error) = put_in_force(shared, &record).await {
        if let Err(undo) = withdraw(shared, &record).await {
            tracing::error!(%undo, network = %record.name, "cannot undo the creation of a network");
        }
        return Err(error);
    }
    shared.read().find(record.id.as_str()).map(|network| Arc::clone(&network.view))
}

/// Removes a network: out of force, then out of the store.
///
/// # Errors
/// See [`super::Networks::remove`].
pub(super) async fn remove(shared: &Arc<Shared>, name_or_id: &str) -> Result<()> {
    let _order = shared.change.lock().await;
    if shared.read().find(name_or_id)?.members.len() > shared.read().find(name_or_id)?.view.endpoints.len() {
        // Sandboxes that have just left are no reason to refuse.
        shared.settle().await;
    }
    let record = {
        let mut state = shared.write();
        let network = state.find(name_or_id)?;
        let record = Arc::clone(&network.record);
        if record.predefined {
            let message = format!("{} is a pre-defined network and cannot be removed", record.name);
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        if !network.members.is_empty() {
            let message = format!("network {} id {} has active endpoints", record.name, record.id);
            return Err(Error::new(ErrorKind::Forbidden, message).context("error while removing network"));
        }
        // From here on nothing can be connected to it.
        state.networks.remove(&record.id);
        record
    };
    withdraw(shared, &record).await
}

/// Takes a network out of force and out of the store.
async fn withdraw(shared: &Arc<Shared>, record: &NetworkRecord) -> Result<()> {
    let (task_shared, task_record) = (Arc::clone(shared), record.clone());
    let removed = blocking(move || {
        let Some(bridge) = &task_record.bridge else { return Ok(()) };
        let updates = firewall::remove_bridge(bridge, rules_of(&task_record));
        let rules = task_shared.change_rules(&updates, |state| drop(state.networks.remove(&task_record.id)));
        bridge::remove_link(bridge).and(rules)
    })
    .await;
    if let Err(error) = &removed {
        tracing::error!(%error, network = %record.name, "a removed network's bridge or rules are left");
    }
    let id = record.id.clone();
    shared.store.write(Durability::Power, move |tx| network::delete(tx, &id)).await?;
    removed
}

async fn store(shared: &Shared, record: &NetworkRecord) -> Result<()> {
    let record = record.clone();
    shared.store.write(Durability::Power, move |tx| network::insert(tx, &record)).await
}

async fn put_in_force(shared: &Arc<Shared>, record: &NetworkRecord) -> Result<()> {
    let (shared, record) = (Arc::clone(shared), record.clone());
    if record.bridge.is_none() {
        shared.write().networks.insert(record.id.clone(), Network::new(record));
        return Ok(());
    }
    blocking(move || {
        bridge::ensure_bridge(&record, mtu_of(&record, &shared.config))?;
        if shared.config.ip_forward && !record.internal {
            bridge::enable_forwarding(record.enable_ipv6)?;
        }
        let updates = firewall::add_bridge(record.bridge.as_deref().unwrap_or_default(), rules_of(&record));
        shared.change_rules(&updates, |state| {
            state.networks.insert(record.id.clone(), Network::new(record));
        })
    })
    .await
}

pub(super) fn record_of(spec: &NetworkSpec) -> NetworkRecord {
    let spec = spec.clone();
    NetworkRecord {
        v: RECORD_VERSION,
        id: NetworkId::random(),
        name: spec.name,
        driver: spec.driver,
        owner: spec.owner,
        created: Timestamp::now(),
        predefined: false,
        internal: spec.internal,
        attachable: spec.attachable,
        enable_ipv4: spec.enable_ipv4,
        enable_ipv6: spec.enable_ipv6,
        ipam_driver: spec.ipam_driver,
        ipam: spec.ipam,
        ipam_options: spec.ipam_options,
        options: spec.options,
        labels: spec.labels,
        bridge: None,
    }
}

/// Everything that can be refused without asking the kernel.
fn validate(spec: &NetworkSpec) -> Result<()> {
    check_name(&spec.name)?;
    if PREDEFINED.iter().any(|(name, _)| *name == spec.name) {
        let message = format!("operation is not permitted on predefined {} network", spec.name);
        return Err(Error::new(ErrorKind::Forbidden, message));
    }
    match spec.driver.as_str() {
        "bridge" => {}
        "macvlan" | "ipvlan" => drop(parent::Settings::read(&spec.driver, &spec.options)?),
        other => {
            let has = "it has \"bridge\", \"macvlan\" and \"ipvlan\"";
            let message = format!("network driver {other:?} is not supported by this engine: {has}");
            return Err(Error::not_implemented(message));
        }
    }
    if spec.ipam_driver != "default" {
        let message = format!("ipam driver {:?} is not supported by this engine: it has \"default\"", spec.ipam_driver);
        return Err(Error::not_implemented(message));
    }
    if !spec.enable_ipv4 && !spec.enable_ipv6 {
        return Err(Error::invalid("IPv4 and IPv6 are both disabled: at least one must be enabled"));
    }
    for key in [OPTION_ICC, OPTION_MASQUERADE] {
        if let Some(value) = spec.options.get(key)
            && value != "true"
            && value != "false"
        {
            return Err(Error::invalid(format!("invalid value {value:?} of option {key}: it is true or false")));
        }
    }
    if let Some(value) = spec.options.get(OPTION_MTU)
        && !value.parse::<u32>().is_ok_and(|mtu| (MTU_MIN..=MTU_MAX).contains(&mtu))
    {
        let range = format!("it is a number of {MTU_MIN} to {MTU_MAX}");
        return Err(Error::invalid(format!("invalid value {value:?} of option {OPTION_MTU}: {range}")));
    }
    if let Some(value) = spec.options.get(OPTION_HOST_BINDING)
        && value.parse::<std::net::Ipv4Addr>().is_err()
    {
        let message = format!("invalid value {value:?} of option {OPTION_HOST_BINDING}: it is an IPv4 address");
        return Err(Error::invalid(message));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_LEN_MAX && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid network name {name:?}: it has up to {NAME_LEN_MAX} characters of [a-zA-Z0-9_.-] and begins with a letter or digit"
    )))
}

/// A parent that is there, that no other network of this kind has, and that this kernel can put interfaces on.
async fn check_parent(shared: &Arc<Shared>, record: &NetworkRecord) -> Result<()> {
    let settings = parent::Settings::read(&record.driver, &record.options)?;
    let same_parent = |other: &Network| {
        let theirs = parent::Settings::read(&other.record.driver, &other.record.options);
        other.record.driver == record.driver && theirs.is_ok_and(|theirs| theirs.parent == settings.parent)
    };
    if let Some(other) = shared.read().networks.values().find(|other| same_parent(other)) {
        let (name, parent) = (&other.record.name, &settings.parent);
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!("network {name} is already using parent interface {parent}"),
        ));
    }
    blocking(move || parent::probe(&settings)).await
}

async fn check_bridge_name(shared: &Arc<Shared>, record: &NetworkRecord) -> Result<()> {
    let name = record.bridge.clone().unwrap_or_default();
    let fits = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
    if name.is_empty() || name.len() > IFNAME_LEN_MAX || !name.bytes().all(fits) || name == "." || name == ".." {
        let message = format!("invalid value {name:?} of option {OPTION_BRIDGE_NAME}: it is no interface name");
        return Err(Error::invalid(message));
    }
    let used = shared.read().networks.values().any(|n| n.record.bridge.as_deref() == Some(name.as_str()));
    if used || blocking(move || bridge::link_exists(&name)).await? {
        let name = record.bridge.as_deref().unwrap_or_default();
        return Err(Error::conflict(format!("cannot make bridge {name}: there is a link of that name")));
    }
    Ok(())
}

/// The pools of a network as they come into force: one for each family that it has, checked, chosen where absent.
async fn settle_pools(shared: &Shared, record: &NetworkRecord) -> Result<Vec<IpamPool>> {
    let mut asked = sort_by_family(record)?;
    let others: Vec<IpNet> = {
        let state = shared.read();
        state.networks.values().flat_map(|n| n.record.ipam.iter().filter_map(|pool| pool.subnet)).collect()
    };
    let mut pools = Vec::new();
    for ipv6 in [false, true] {
        let wanted = if ipv6 { record.enable_ipv6 } else { record.enable_ipv4 };
        let pool = asked.remove(&ipv6);
        match (wanted, pool) {
            (false, None) => {}
            (false, Some(pool)) => {
                let subnet = pool.subnet.map(|net| net.to_string()).unwrap_or_default();
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                return Err(Error::invalid(format!(
                    "invalid subnet {subnet}: {family} is not enabled for the network"
                )));
            }
            (true, pool) => pools.push(settle_pool(shared, pool.unwrap_or_default(), ipv6, &others).await?),
        }
    }
    Ok(pools)
}

fn sort_by_family(record: &NetworkRecord) -> Result<BTreeMap<bool, IpamPool>> {
    let mut asked = BTreeMap::new();
    for pool in &record.ipam {
        let hints = [pool.subnet.map(|net| net.addr()), pool.gateway, pool.ip_range.map(|net| net.addr())];
        let Some(hint) = hints.into_iter().flatten().next() else { continue };
        if pool.subnet.is_none() {
            let given = if pool.gateway.is_some() { "gateway" } else { "ip-range" };
            return Err(Error::invalid(format!("invalid ipam config: {given} {hint} is given without a subnet")));
        }
        if asked.insert(hint.is_ipv6(), pool.clone()).is_some() {
            let family = if hint.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(Error::invalid(format!("invalid ipam config: bridge networks have one {family} subnet")));
        }
    }
    Ok(asked)
}

async fn settle_pool(shared: &Shared, pool: IpamPool, ipv6: bool, others: &[IpNet]) -> Result<IpamPool> {
    let Some(subnet) = pool.subnet else {
        let mut taken = blocking(bridge::host_networks).await?;
        taken.extend_from_slice(others);
        let configured = &shared.config.pools;
        let local = [unique_local_pool()];
        let none_configured = !configured.iter().any(|p| ipam::is_v6(&p.base) == ipv6);
        let from = if ipv6 && none_configured { &local[..] } else { configured };
        let subnet = ipam::choose_subnet(from, ipv6, &taken)?;
        return ipam::complete(&IpamPool { subnet: Some(subnet), ..pool });
    };
    if let Some(other) = others.iter().find(|other| ipam::overlap(other, &subnet)) {
        let message =
            format!("invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}");
        return Err(Error::new(ErrorKind::Forbidden, message));
    }
    ipam::complete(&pool)
}

/// A random /48 of the unique local addresses (RFC 4193), for IPv6 networks when no pool is configured.
fn unique_local_pool() -> AddressPool {
    let random = NetworkId::random();
    let mut octets = [0_u8; 16];
    octets[0] = 0xfd;
    for (byte, pair) in octets[1..6].iter_mut().zip(random.as_str().as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
    }
    #[expect(clippy::expect_used, reason = "48 is a prefix length of IPv6")]
    let base = Ipv6Net::new(Ipv6Addr::from(octets), 48).expect("constant prefix");
    AddressPool { base: IpNet::V6(base), size: 64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_networks_name_the_field() {
        let base = || NetworkSpec::bridge("web", Owner::Docker);
        let option = |key: &str, value: &str| {
            let mut spec = base();
            spec.options.insert(key.into(), value.into());
            spec
        };
        let cases = [
            (NetworkSpec { name: "-x".into(), ..base() }, "invalid network name \"-x\""),
            (NetworkSpec { name: "a/b".into(), ..base() }, "invalid network name"),
            (NetworkSpec { name: "host".into(), ..base() }, "predefined host"),
            (NetworkSpec { driver: "overlay".into(), ..base() }, "driver \"overlay\""),
            (NetworkSpec { ipam_driver: "dhcp".into(), ..base() }, "ipam driver \"dhcp\""),
            (NetworkSpec { enable_ipv4: false, ..base() }, "both disabled"),
            (option(OPTION_ICC, "maybe"), OPTION_ICC),
            (option(OPTION_MTU, "12"), OPTION_MTU),
            (option(OPTION_HOST_BINDING, "::1"), OPTION_HOST_BINDING),
        ];
        for (spec, expected) in cases {
            let error = validate(&spec).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        validate(&base()).unwrap();
    }

    #[test]
    fn a_family_has_one_subnet() {
        let mut record = record_of(&NetworkSpec::bridge("web", Owner::Docker));
        let pool = |text: &str| IpamPool { subnet: Some(text.parse().unwrap()), ..IpamPool::default() };
        record.ipam = vec![pool("10.0.0.0/24"), pool("fd00::/64")];
        assert_eq!(sort_by_family(&record).unwrap().len(), 2);
        record.ipam.push(pool("10.0.1.0/24"));
        assert!(sort_by_family(&record).unwrap_err().message().contains("one IPv4 subnet"));
        record.ipam = vec![IpamPool { gateway: Some("10.0.0.1".parse().unwrap()), ..IpamPool::default() }];
        assert!(sort_by_family(&record).unwrap_err().message().contains("without a subnet"));
    }
}
