//! Run: the network namespace, its endpoints and the shim, side by side; then the namespaces of a pod.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use shim_api::options::{IdMapping, NamespaceMode as Held, SandboxOptions};

use crate::container::{create, process};
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{NewEvent, ObjectKind, now_ns};
use crate::failpoint::failpoint;
use crate::id::{ContainerId, NetworkId, SandboxId};
use crate::metadata::Durability;
use crate::metadata::tables::sandbox as table;
use crate::network::Attachment;
use crate::network::bandwidth::Rates;
use crate::network::cni::PodFacts;
use crate::rollback::Rollback;
use crate::sandbox::driver::{self, SandboxDriver};
use crate::sandbox::handle::{Command, SandboxHandle, UpSandbox};
use crate::sandbox::record::{HeldNamespaces, Live, RECORD_VERSION, SandboxRecord};
use crate::sandbox::state::Input;
use crate::sandbox::{EndpointInfo, SandboxPhase, etc_files, facts};
use crate::spec::{NamespaceMode, NetworkMode, SandboxSpec, UserNamespaceSpec, validate};
use crate::task::{Shim, ShimLaunch};

/// A record for a sandbox that is asked for.
pub(crate) fn new_record(core: &Core, spec: SandboxSpec, implicit: bool) -> Result<SandboxRecord> {
    let runtime = if spec.runtime.is_empty() { core.config.default_runtime.clone() } else { spec.runtime.clone() };
    if !core.config.runtimes.contains_key(&runtime) {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {runtime}")));
    }
    let cgroup_parent =
        if spec.cgroup_parent.is_empty() { core.config.cgroup_parent.clone() } else { spec.cgroup_parent.clone() };
    Ok(SandboxRecord {
        version: RECORD_VERSION,
        id: SandboxId::random(),
        spec: Arc::new(spec),
        phase: SandboxPhase::NotReady,
        created_ns: now_ns(),
        error: String::new(),
        runtime,
        cgroup_parent,
        implicit,
        shim_pid: 0,
        held: HeldNamespaces::default(),
    })
}

/// Makes a pod's sandbox and brings it up; on failure nothing of it is left, or it stays visible with the reason.
pub(crate) async fn run(core: &Arc<Core>, spec: SandboxSpec) -> Result<SandboxHandle> {
    validate::sandbox(&spec)?;
    let record = new_record(core, spec, false)?;
    let name = core.sandbox_names.reserve(record.owner(), &record.spec.name, &record.id)?;
    let stored = record.clone();
    core.store.write(Durability::Power, move |tx| table::put(tx, &stored)).await?;
    name.keep();
    failpoint("sandbox.stored")?;
    let handle = SandboxHandle { core: Arc::clone(core), cell: driver::spawn(core, record, Live::default(), None) };
    match handle.cell.ask(Command::Up).await {
        Ok(_) => Ok(handle),
        Err(error) => {
            if let Err(undo) = handle.cell.ask(Command::Remove).await {
                tracing::error!(sandbox = %handle.id(), error = %undo, "a sandbox that failed could not be removed");
            }
            Err(error)
        }
    }
}

impl SandboxDriver {
    /// Brings it up, if it is not.
    pub(crate) async fn up(&mut self) -> Result<Arc<UpSandbox>> {
        if self.record.phase == SandboxPhase::Stopping && self.record.implicit {
            // The last time it could not be taken down whole: that is tried again first.
            self.take_down().await?;
        }
        match self.admit(Input::Up) {
            Err(error) if error.kind() == ErrorKind::NotModified => {
                return self.cell.up().ok_or_else(|| Error::internal(format!("sandbox {} is half up", self.record.id)));
            }
            other => other?,
        }
        self.record.error.clear();
        let mut rollback = Rollback::default();
        match self.bring_up(&mut rollback).await {
            Ok(up) => {
                rollback.keep();
                self.set_up(Some(up));
                self.admit(Input::IsUp)?;
                self.commit(Durability::Crash).await?;
                self.network_events("connect").await;
                if !self.record.implicit {
                    self.event("start").await;
                }
                self.cell.up().ok_or_else(|| Error::internal(format!("sandbox {} is half up", self.record.id)))
            }
            Err(error) => {
                let failed = rollback.run().await;
                self.record.error = error.to_string();
                if failed.is_empty() {
                    self.admit(Input::UpFailed)?;
                } else {
                    self.record.error = format!("{error}; not taken back: {}", failed.join("; "));
                    self.admit(Input::Stop)?;
                }
                self.commit_observed().await;
                Err(error)
            }
        }
    }

    /// The steps; each pushes its undo.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn bring_up(&self, rollback: &mut Rollback) -> Result<UpSandbox> {
        let core = &self.core;
        let spec = &self.record.spec;
        let own_network = matches!(spec.network, NetworkMode::Networks(_) | NetworkMode::None | NetworkMode::Pod);
        failpoint("sandbox.netns")?;
        let netns: Option<OwnedFd> = if own_network { Some(core.networks.take_netns().await?.into()) } else { None };
        let for_shim = netns.as_ref().map(OwnedFd::try_clone).transpose()?;
        let launch =
            ShimLaunch { sandbox: self.record.id.clone(), runtime: self.record.runtime.clone(), netns: for_shim };
        {
            let (networks, id) = (core.networks.clone(), self.record.id.clone());
            rollback.push("disconnect the network", move || async move { networks.disconnect(&id).await });
            let (runtime, id) = (core.runtime.clone(), self.record.id.clone());
            rollback.push("end the shim", move || async move { runtime.sweep(&id).await });
        }
        let (shim, attachment) = if spec.network == NetworkMode::Pod && core.pod_network.in_use() {
            let shim = core.runtime.launch(launch).await?;
            let (plugins, id) = (core.pod_network.clone(), self.record.id.clone());
            rollback.push("delete the CNI attachment", move || async move { plugins.delete(&id).await });
            // Plugins keep the namespace's path: the shim's descriptor is there for as long as the pod is.
            let attachment = self.add_to_pod_network(&shim.netns_path()).await?;
            (shim, attachment)
        } else {
            let (shim, attachment) = tokio::join!(core.runtime.launch(launch), self.connect(netns.as_ref()));
            (shim?, attachment?)
        };
        failpoint("sandbox.connected")?;
        let held = self.hold(shim.as_ref()).await?;
        let endpoints: Vec<EndpointInfo> = facts::endpoints(&attachment);
        let hostname = facts::hostname(&self.record);
        self.write_etc(&hostname, &endpoints, &attachment.dns)?;
        failpoint("sandbox.up")?;
        Ok(UpSandbox { shim, held, endpoints, ports: facts::ports(&attachment), hostname })
    }

    async fn add_to_pod_network(&self, netns: &str) -> Result<Attachment> {
        failpoint("sandbox.cni_add")?;
        let spec = &self.record.spec;
        let pod = PodFacts {
            pod: spec.pod.as_ref(),
            ports: &spec.ports,
            dns: &spec.dns,
            annotations: &spec.annotations,
            cgroup: &self.record.cgroup_parent,
        };
        let attachment = self.core.pod_network.add(&self.record.id, pod, netns).await?;
        failpoint("sandbox.cni_added")?;
        Ok(attachment)
    }

    async fn connect(&self, netns: Option<&OwnedFd>) -> Result<Attachment> {
        let Some(netns) = netns else { return Ok(Attachment::default()) };
        let spec = &self.record.spec;
        let ports = facts::port_mappings(&spec.ports);
        let id = &self.record.id;
        match &spec.network {
            NetworkMode::Networks(asked) => {
                let name = self.container_name();
                let wanted: Vec<_> =
                    asked.iter().map(|one| facts::wanted_endpoint(one, &self.record, name.as_deref())).collect();
                let attachment = self.core.networks.connect(id, netns.as_fd(), &wanted, &ports).await?;
                self.core.networks.serve_names(id, netns.as_fd(), etc_files::forwarding(&spec.dns)).await?;
                Ok(attachment)
            }
            NetworkMode::Pod => {
                let rates = Rates::of(&spec.annotations)?;
                let network = self.core.networks.of_pods(&self.core.pod_network.pod_subnets()).await?;
                let wanted = [facts::wanted_endpoint(&facts::pod_endpoint(network), &self.record, None)];
                let attachment = self.core.networks.connect(id, netns.as_fd(), &wanted, &ports).await?;
                self.core.networks.hold_rates(id, netns.as_fd(), rates).await?;
                Ok(attachment)
            }
            NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => Ok(Attachment::default()),
        }
    }

    /// The name of the container that the sandbox was made for.
    pub(crate) fn container_name(&self) -> Option<String> {
        let first = self.live.containers.first().filter(|_| self.record.implicit)?;
        Some(self.core.containers.get(first)?.view().name.clone())
    }

    /// The namespaces that its containers join. A docker container's own sandbox holds only the network: the others
    /// are made with the container itself, which saves two calls.
    async fn hold(&self, shim: &dyn Shim) -> Result<HeldNamespaces> {
        let spec = &self.record.spec;
        let network = match &spec.network {
            NetworkMode::Container(other) => joined_network(&self.core, other)?,
            _ => shim.netns_path(),
        };
        if self.record.implicit {
            return Ok(HeldNamespaces { network, ..Default::default() });
        }
        let mode = |m: &NamespaceMode, otherwise: Held| match m {
            NamespaceMode::Host => Held::Host,
            NamespaceMode::Private | NamespaceMode::Sandbox => otherwise,
            NamespaceMode::Container(_) => Held::Container,
        };
        let host_network = spec.network == NetworkMode::Host;
        let shared_pid = if spec.pid == NamespaceMode::Sandbox { Held::Sandbox } else { Held::Container };
        let (uid_mappings, gid_mappings) = match &spec.user {
            UserNamespaceSpec::Host => Default::default(),
            UserNamespaceSpec::Mapped { uids, gids } => (id_mappings(uids), id_mappings(gids)),
        };
        let ipc = mode(&spec.ipc, Held::Sandbox);
        let held = shim
            .hold(SandboxOptions {
                network: if host_network { Held::Host } else { Held::Sandbox },
                ipc,
                uts: if host_network { Held::Host } else { mode(&spec.uts, Held::Sandbox) },
                pid: mode(&spec.pid, shared_pid),
                uid_mappings,
                gid_mappings,
                hostname: (!host_network).then(|| facts::hostname(&self.record)),
                domainname: Some(spec.domainname.clone()).filter(|d| !d.is_empty()),
                sysctls: spec.sysctls.clone(),
                shm_bytes: (ipc == Held::Sandbox).then(|| spec.shm_size()),
                cgroup: Some(create::cgroup_path(&self.core, &self.record.cgroup_parent, self.record.id.as_str())),
                cgroup_driver: process::cgroup_driver(&self.core.config),
            })
            .await?;
        let text =
            |path: Option<std::path::PathBuf>| path.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let network = if host_network {
            String::new()
        } else {
            Some(text(held.network)).filter(|p| !p.is_empty()).unwrap_or(network)
        };
        Ok(HeldNamespaces {
            network,
            ipc: text(held.ipc),
            uts: text(held.uts),
            pid: text(held.pid),
            user: text(held.user),
            shm: text(held.shm),
        })
    }

    /// A sandbox event (`start`, `stop`, `destroy`).
    pub(crate) async fn event(&self, action: &str) {
        let attributes = self.record.spec.labels.clone();
        self.core
            .events
            .publish(NewEvent {
                kind: ObjectKind::Sandbox,
                action: action.to_owned(),
                id: self.record.id.to_string(),
                owner: Some(self.record.owner()),
                attributes,
            })
            .await;
    }

    /// docker's network events, one for each endpoint.
    pub(crate) async fn network_events(&self, action: &str) {
        // A build's: docker tells nothing of those.
        if self.record.implicit && self.live.containers.is_empty() {
            return;
        }
        for endpoint in &self.live.endpoints {
            self.network_event(action, &endpoint.network_id).await;
        }
    }

    /// docker's network event of this sandbox's container.
    pub(crate) async fn network_event(&self, action: &str, network: &NetworkId) {
        let container = self.live.containers.first().map(ContainerId::to_string).unwrap_or_default();
        let mut attributes = BTreeMap::from([("container".to_owned(), container)]);
        if let Ok(view) = self.core.networks.get(network.as_str()) {
            attributes.insert("name".to_owned(), view.name.clone());
            attributes.insert("type".to_owned(), view.driver.clone());
        }
        let (kind, owner) = (ObjectKind::Network, Some(self.record.owner()));
        let event = NewEvent { kind, action: action.to_owned(), id: network.to_string(), owner, attributes };
        self.core.events.publish(event).await;
    }
}

fn id_mappings(maps: &[crate::spec::IdMap]) -> Vec<IdMapping> {
    maps.iter().map(|m| IdMapping { container_id: m.container_id, host_id: m.host_id, size: m.length }).collect()
}

/// The network namespace of another container's sandbox.
fn joined_network(core: &Core, other: &ContainerId) -> Result<String> {
    let missing = || Error::not_found(format!("No such container: {other}"));
    let view = core.containers.get(other).ok_or_else(missing)?.view();
    let sandbox = core.sandboxes.get(&view.sandbox_id).ok_or_else(missing)?;
    match sandbox.up() {
        Some(up) => Ok(up.held.network.clone()),
        None => Err(Error::conflict(format!("cannot join network of a non running container: {other}"))),
    }
}
