//! `Networks`: the handle that the sandbox drivers and both doors hold, and what it knows in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ipnet::IpNet;
use sys::nftables::{Nftables, Table, Update};

use crate::error::{Error, Result};
use crate::id::{EndpointId, NetworkId, SandboxId};
use crate::metadata::Store;
use crate::metadata::tables::{address, endpoint, network};
use crate::network::bridge::{self, OPTION_MASQUERADE, OPTION_MTU};
use crate::network::config::NetworkConfig;
use crate::network::connect::{self, Departure};
use crate::network::create;
use crate::network::dns::{self, Forwarding, Resolvers};
use crate::network::firewall::{self, BridgeRules, PortRule};
use crate::network::gateway;
use crate::network::netns::{Netns, NetnsPool};
use crate::network::parent;
use crate::network::ports::Ports;
use crate::network::record::{EndpointRecord, NetworkRecord};
use crate::network::spec::{EndpointSpec, NetworkSpec, PortMapping};
use crate::network::view::{Attachment, EndpointView, NetworkView};
use crate::network::watch;

/// All networks of this daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) config: NetworkConfig,
    state: RwLock<State>,
    /// The one writer of our table. Held while rules and `state` change together, so that a repair by [`watch`] never
    /// sees the one without the other.
    nft: Mutex<Nftables>,
    pub(super) ports: Ports,
    pool: NetnsPool,
    pub(super) resolvers: Resolvers,
    /// Orders creations and removals of networks: two may not choose one subnet.
    pub(super) change: tokio::sync::Mutex<()>,
    /// Orders makers of the network of pods.
    pub(super) pod_network_turn: tokio::sync::Mutex<()>,
    /// Read-locked by every departure under way.
    pub(super) departures: Arc<tokio::sync::RwLock<()>>,
}

/// What is in force.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) networks: BTreeMap<NetworkId, Network>,
    /// Endpoints by sandbox, in the order of their connection.
    pub(super) sandboxes: HashMap<SandboxId, Vec<Connected>>,
    /// Endpoints out of force whose links and rows are being removed, with their sandboxes.
    pub(super) departing: BTreeMap<EndpointId, SandboxId>,
}

/// A network and its leases.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) record: Arc<NetworkRecord>,
    pub(super) view: Arc<NetworkView>,
    /// Addresses that are leased, by endpoints in force and by those being connected.
    pub(super) taken: BTreeSet<IpAddr>,
    /// The last address given, by family: the next search goes on behind it.
    pub(super) last_given: BTreeMap<bool, IpAddr>,
    /// Endpoints in force and being connected: the network cannot be removed while there are any.
    pub(super) members: BTreeSet<EndpointId>,
}

/// An endpoint in force.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) record: EndpointRecord,
    pub(super) view: Arc<EndpointView>,
}

impl Network {
    pub(super) fn new(record: NetworkRecord) -> Self {
        let view = Arc::new(view_of(&record, Vec::new()));
        let (taken, last_given, members) = Default::default();
        Self { record: Arc::new(record), view, taken, last_given, members }
    }

    /// What the rules have to know of its bridge.
    pub(super) fn rules(&self) -> BridgeRules {
        rules_of(&self.record)
    }

    /// Its maximum transmission unit, by its own option or the daemon's configuration.
    pub(super) fn mtu(&self, config: &NetworkConfig) -> Option<u32> {
        mtu_of(&self.record, config)
    }
}

pub(super) fn rules_of(record: &NetworkRecord) -> BridgeRules {
    let masquerade = !record.internal && record.options.get(OPTION_MASQUERADE).is_none_or(|v| v != "false");
    BridgeRules {
        internal: record.internal,
        masquerade_v4: masquerade && record.enable_ipv4,
        masquerade_v6: masquerade && record.enable_ipv6,
    }
}

pub(super) fn mtu_of(record: &NetworkRecord, config: &NetworkConfig) -> Option<u32> {
    record.options.get(OPTION_MTU).and_then(|text| text.parse().ok()).or(config.mtu)
}

fn view_of(record: &NetworkRecord, endpoints: Vec<Arc<EndpointView>>) -> NetworkView {
    let record = record.clone();
    NetworkView {
        id: record.id,
        name: record.name,
        driver: record.driver,
        owner: record.owner,
        created: record.created,
        predefined: record.predefined,
        internal: record.internal,
        attachable: record.attachable,
        enable_ipv4: record.enable_ipv4,
        enable_ipv6: record.enable_ipv6,
        ipam_driver: record.ipam_driver,
        ipam: record.ipam,
        ipam_options: record.ipam_options,
        options: record.options,
        labels: record.labels,
        bridge: record.bridge,
        endpoints,
    }
}

pub(super) fn endpoint_view(record: &EndpointRecord, network: &NetworkRecord) -> EndpointView {
    let gateway = |net: IpNet| bridge::gateway_for(network, net);
    let gateway_v4 = record.ipv4.and_then(|net| gateway(IpNet::V4(net)));
    let gateway_v6 = record.ipv6.and_then(|net| gateway(IpNet::V6(net)));
    EndpointView {
        id: record.id.clone(),
        network_id: network.id.clone(),
        network: network.name.clone(),
        sandbox: record.sandbox.clone(),
        ipv4: record.ipv4,
        ipv6: record.ipv6,
        gateway_v4: if let Some(IpAddr::V4(ip)) = gateway_v4 { Some(ip) } else { None },
        gateway_v6: if let Some(IpAddr::V6(ip)) = gateway_v6 { Some(ip) } else { None },
        default_route: record.default_route,
        default_route_v6: record.default_route_v6,
        gateway_priority: record.gateway_priority,
        mac: record.mac,
        interface: record.interface.clone(),
        host_interface: record.host_interface.clone(),
        name: record.name.clone(),
        aliases: record.aliases.clone(),
        links: record.links.clone(),
    }
}

/// The rules for the ports of an endpoint: one for each of its addresses that a port's host address fits.
pub(super) fn port_rules(record: &EndpointRecord) -> Vec<PortRule<'_>> {
    let v4 = record.ipv4.map(|net| IpAddr::V4(net.addr()));
    let v6 = record.ipv6.map(|net| IpAddr::V6(net.addr()));
    let target = |host_ip: IpAddr| if host_ip.is_ipv4() { v4 } else { v6 };
    record.ports.iter().filter_map(|port| Some(PortRule { port, target: target(port.host_ip)? })).collect()
}

impl State {
    /// Makes the views of a network say what is in force.
    pub(super) fn republish(&mut self, id: &NetworkId) {
        let endpoints = self.sandboxes.values().flatten().filter(|c| c.record.network_id == *id);
        let mut endpoints: Vec<_> = endpoints.map(|c| Arc::clone(&c.view)).collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(network) = self.networks.get_mut(id) {
            network.view = Arc::new(view_of(&network.record, endpoints));
        }
    }

    /// By name, id or unique prefix of an id.
    pub(super) fn find(&self, name_or_id: &str) -> Result<&Network> {
        let by_name = self.networks.values().find(|n| n.record.name == name_or_id);
        let by_id = || self.networks.values().find(|n| n.record.id.as_str() == name_or_id);
        if let Some(found) = by_name.or_else(by_id) {
            return Ok(found);
        }
        let is_prefix = |n: &&Network| !name_or_id.is_empty() && n.record.id.as_str().starts_with(name_or_id);
        let mut matches = self.networks.values().filter(is_prefix);
        match (matches.next(), matches.count()) {
            (Some(found), 0) => Ok(found),
            (None, _) => Err(Error::not_found(format!("network {name_or_id} not found"))),
            (Some(_), more) => Err(Error::invalid(format!(
                "network {name_or_id} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
        }
    }
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is in force and the rules for it, together. When the kernel does not know the table any more, the
    /// whole of it is put in force. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses; the change of `state` stays.
    pub(super) fn change_rules(&self, updates: &[Update], change: impl FnOnce(&mut State)) -> Result<()> {
        let mut nft = self.nft.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut self.write());
        if nft.update(updates).is_ok() {
            return Ok(());
        }
        let table = self.table();
        nft.replace(&table).map_err(|e| Error::internal(format!("apply nftables table {}", table.name)).with_source(e))
    }

    /// Waits until the departures of now have left nothing.
    pub(super) async fn settle(&self) {
        drop(self.departures.write().await);
    }

    /// Puts all rules in force. Blocks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn apply_rules(&self) -> Result<()> {
        let mut nft = self.nft.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table();
        nft.replace(&table).map_err(|e| Error::internal(format!("apply nftables table {}", table.name)).with_source(e))
    }

    /// The port that notifications of our own changes of rules carry.
    pub(super) fn nft_port(&self) -> u32 {
        self.nft.lock().unwrap_or_else(PoisonError::into_inner).port()
    }

    fn table(&self) -> Table {
        let state = self.read();
        let bridges = state.networks.values().filter_map(|n| Some((n.record.bridge.clone()?, n.rules()))).collect();
        let ports: Vec<_> = state.sandboxes.values().flatten().flat_map(|c| port_rules(&c.record)).collect();
        firewall::table(&self.config.table, &bridges, &ports)
    }
}

impl Networks {
    /// Loads the records, makes the predefined networks and puts bridges, rules and port reservations in force.
    ///
    /// # Errors
    /// `Internal` when the store cannot be read or the kernel has no netlink for us. What concerns one network only
    /// is logged, and tried again when a sandbox is connected to it.
    pub async fn open(store: Store, config: NetworkConfig) -> Result<Self> {
        let (networks, endpoints) = store.read(|c| Ok((network::list(c)?, endpoint::list(c)?)))?;
        store.write(crate::metadata::Durability::Crash, |tx| address::delete_orphans(tx)).await?;
        let nft = Nftables::open(&config.table, config.table_owner)
            .map_err(|e| Error::internal("open nftables").with_source(e))?;
        let shared = Shared {
            ports: Ports::new(config.proxy_sessions_max, config.loopback_proxy),
            pool: NetnsPool::start(config.netns_pool_size),
            resolvers: Resolvers::default(),
            state: RwLock::default(),
            nft: Mutex::new(nft),
            change: tokio::sync::Mutex::new(()),
            pod_network_turn: tokio::sync::Mutex::new(()),
            departures: Arc::default(),
            store,
            config,
        };
        let this = Self { shared: Arc::new(shared) };
        this.load(networks, endpoints);
        create::make_predefined(&this.shared).await?;
        let shared = Arc::clone(&this.shared);
        blocking(move || restore(&shared)).await?;
        this.reserve_ports_again();
        watch::start(&this.shared)?;
        Ok(this)
    }

    fn load(&self, networks: Vec<NetworkRecord>, endpoints: Vec<EndpointRecord>) {
        let mut state = self.shared.write();
        state.networks = networks.into_iter().map(|record| (record.id.clone(), Network::new(record))).collect();
        for record in endpoints {
            let Some(network) = state.networks.get_mut(&record.network_id) else {
                tracing::warn!(endpoint = %record.id, network = %record.network_id, "endpoint of a network that is gone");
                continue;
            };
            network.taken.extend(record.addresses());
            network.members.insert(record.id.clone());
            let view = Arc::new(endpoint_view(&record, &network.record));
            state.sandboxes.entry(record.sandbox.clone()).or_default().push(Connected { record, view });
        }
        for id in state.networks.keys().cloned().collect::<Vec<_>>() {
            state.republish(&id);
        }
    }

    fn reserve_ports_again(&self) {
        let endpoints: Vec<_> = self.shared.read().sandboxes.values().flatten().cloned().collect();
        for Connected { record, .. } in endpoints {
            for port in &record.ports {
                match self.shared.ports.reserve_again(port) {
                    Ok(reserved) => self.shared.ports.keep(
                        reserved,
                        record.ipv4.map(|net| net.addr()),
                        record.ipv6.map(|net| net.addr()),
                    ),
                    // The rules still serve it; only what the proxy serves is lost.
                    Err(error) => tracing::warn!(%error, sandbox = %record.sandbox, "cannot reserve a published port"),
                }
            }
        }
    }

    /// Removes every endpoint of a sandbox that is not in `live`; answers what was removed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retain(&self, live: &HashSet<SandboxId>) -> Result<Vec<String>> {
        let dead: Vec<_> = self.shared.read().sandboxes.keys().filter(|id| !live.contains(id)).cloned().collect();
        let mut removed = Vec::new();
        for sandbox in dead {
            let attachment = self.attachment(&sandbox);
            self.disconnect(&sandbox).await?;
            removed.extend(
                attachment.endpoints.iter().map(|e| {
                    format!("endpoint {} of sandbox {} in network {}", e.id.short(), sandbox.short(), e.network)
                }),
            );
        }
        Ok(removed)
    }

    /// All networks, by name. From memory.
    pub fn list(&self) -> Vec<Arc<NetworkView>> {
        let mut views: Vec<_> = self.shared.read().networks.values().map(|n| Arc::clone(&n.view)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One network by name, id or unique prefix of an id. From memory.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` when a prefix fits several.
    pub fn get(&self, name_or_id: &str) -> Result<Arc<NetworkView>> {
        Ok(Arc::clone(&self.shared.read().find(name_or_id)?.view))
    }

    /// Creates a network.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument` naming the field, `ResourceExhausted` when no subnet is free.
    pub async fn create(&self, spec: NetworkSpec) -> Result<Arc<NetworkView>> {
        let shared = Arc::clone(&self.shared);
        detached(async move { create::create(&shared, spec).await }).await
    }

    /// Removes a network that has no endpoints.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for a predefined one and for one that is in use.
    pub async fn remove(&self, name_or_id: &str) -> Result<()> {
        let (shared, name) = (Arc::clone(&self.shared), name_or_id.to_owned());
        detached(async move { create::remove(&shared, &name).await }).await
    }

    /// Removes the unused networks for which `wanted` holds; answers their names.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, wanted: impl Fn(&NetworkView) -> bool + Send) -> Result<Vec<String>> {
        let unused = |view: &Arc<NetworkView>| !view.predefined && view.endpoints.is_empty() && wanted(view);
        let views: Vec<_> = self.list().into_iter().filter(unused).collect();
        let mut removed = Vec::new();
        for view in views {
            match self.remove(view.id.as_str()).await {
                Ok(()) => removed.push(view.name.clone()),
                // Used or removed meanwhile.
                Err(e) if matches!(e.kind(), crate::ErrorKind::Forbidden | crate::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The rules as they should be in force, in the language of `nft`: for people who look for a fault.
    pub fn rules_text(&self) -> String {
        self.shared.table().to_string()
    }

    /// A new network namespace with `lo` up, from the pool when one is ready.
    ///
    /// # Errors
    /// `ResourceExhausted` when the kernel gives none.
    pub async fn take_netns(&self) -> Result<Netns> {
        self.shared.pool.take().await
    }

    /// Puts a sandbox into networks and publishes its ports: all of it or nothing. A sandbox that is in networks
    /// already is put into these too. A caller that goes away does not stop it.
    ///
    /// # Errors
    /// `NotFound` for a network, `InvalidArgument` for an address, `AlreadyExists` for a taken port or address.
    pub async fn connect(
        &self,
        sandbox: &SandboxId,
        netns: BorrowedFd<'_>,
        wanted: &[EndpointSpec],
        ports: &[PortMapping],
    ) -> Result<Attachment> {
        let netns = netns.try_clone_to_owned()?;
        let (shared, sandbox) = (Arc::clone(&self.shared), sandbox.clone());
        let (wanted, ports) = (wanted.to_vec(), ports.to_vec());
        detached(async move { connect::connect(&shared, &sandbox, netns, &wanted, &ports).await }).await
    }

    /// What [`Self::connect`] made for this sandbox, from memory; empty when it is in no network.
    pub fn attachment(&self, sandbox: &SandboxId) -> Attachment {
        connect::attachment(&self.shared.read(), sandbox)
    }

    /// Takes a sandbox out of all its networks. May be repeated. When it returns, rules and host ports are gone; links and
    /// rows follow in the background within some 20 ms (see [`Self::settle`]).
    ///
    /// # Errors
    /// When the kernel refuses a change of rules; the rest is removed nevertheless.
    pub async fn disconnect(&self, sandbox: &SandboxId) -> Result<()> {
        let (shared, sandbox) = (Arc::clone(&self.shared), sandbox.clone());
        detached(async move {
            shared.resolvers.stop(&sandbox).await;
            connect::disconnect(&shared, &sandbox, None, Departure::OutOfForce).await
        })
        .await
    }

    /// Waits until what was disconnected so far has left nothing: for a graceful stop of the daemon.
    pub async fn settle(&self) {
        self.shared.settle().await;
    }

    /// Serves names at 127.0.0.11 in a sandbox that is in a network with names, and no longer in one that is not. It ends
    /// when the sandbox is disconnected, and with the daemon, whose next start has to ask for it again.
    ///
    /// # Errors
    /// When the resolver's sockets cannot be opened.
    pub async fn serve_names(&self, sandbox: &SandboxId, netns: BorrowedFd<'_>, forwarding: Forwarding) -> Result<()> {
        dns::serve_names(&self.shared, sandbox, netns, forwarding).await
    }

    /// Gives a sandbox another name in all its networks.
    ///
    /// # Errors
    /// When the store cannot be written; the name holds until the daemon ends then.
    pub async fn rename(&self, sandbox: &SandboxId, name: &str) -> Result<()> {
        let renamed: Vec<EndpointRecord> = {
            let mut state = self.shared.write();
            let of_sandbox = state.sandboxes.get(sandbox).cloned().unwrap_or_default();
            let named = of_sandbox.into_iter().filter(|c| c.record.name.is_some());
            let renamed = named.map(|c| EndpointRecord { name: Some(name.to_owned()), ..c.record }).collect::<Vec<_>>();
            gateway::enter(&mut state, renamed.iter().cloned());
            renamed
        };
        let write = move |tx: &rusqlite::Transaction<'_>| renamed.iter().try_for_each(|row| endpoint::replace(tx, row));
        self.shared.store.write(crate::metadata::Durability::Crash, write).await
    }

    /// Takes a sandbox out of one network; its interface is gone when this returns. When it had the default route or
    /// published ports, another endpoint of the sandbox takes these over first.
    ///
    /// # Errors
    /// `NotFound` for the network, `InvalidArgument` when the sandbox is not in it.
    pub async fn disconnect_from(&self, sandbox: &SandboxId, netns: BorrowedFd<'_>, name_or_id: &str) -> Result<()> {
        let network = self.get(name_or_id)?;
        if !network.endpoints.iter().any(|endpoint| endpoint.sandbox == *sandbox) {
            let message = format!("sandbox {} is not connected to network {}", sandbox.short(), network.name);
            return Err(Error::invalid(message));
        }
        let netns = netns.try_clone_to_owned()?;
        let (shared, sandbox, id) = (Arc::clone(&self.shared), sandbox.clone(), network.id.clone());
        detached(async move {
            gateway::settle(&shared, &sandbox, netns.try_clone()?, Some(&id), &[]).await?;
            parent::unplug(netns, connect::records_in(&shared, &sandbox, &id)).await;
            connect::disconnect(&shared, &sandbox, Some(&id), Departure::Complete).await
        })
        .await
    }
}

/// Makes the kernel's side agree with the records: bridges, their ports, rules. Blocks.
fn restore(shared: &Shared) -> Result<()> {
    let bridges: Vec<_> = {
        let state = shared.read();
        let with_bridge = state.networks.values().filter(|n| n.record.bridge.is_some());
        let host_interfaces =
            |n: &Network| n.view.endpoints.iter().map(|e| e.host_interface.clone()).collect::<Vec<_>>();
        with_bridge.map(|n| (Arc::clone(&n.record), n.mtu(&shared.config), host_interfaces(n))).collect()
    };
    for (record, mtu, host_interfaces) in bridges {
        let made =
            bridge::ensure_bridge(&record, mtu).and_then(|index| bridge::readopt(&record, index, &host_interfaces));
        let forwarding = if shared.config.ip_forward && !record.internal {
            bridge::enable_forwarding(record.enable_ipv6)
        } else {
            Ok(())
        };
        if let Err(error) = made.and(forwarding) {
            tracing::error!(%error, network = %record.name, "network is not in force");
        }
    }
    shared.apply_rules()
}

/// Runs a blocking piece of work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(f).await;
    joined.unwrap_or_else(|e| Err(Error::internal("network work ended early").with_source(e)))
}

/// Runs work that goes on when the caller goes away.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|e| Err(Error::internal("network work ended early").with_source(e)))
}
