//! Where the commands of a build run: a network namespace with its shim, taken by one command at a time and handed on to
//! the next one of the same build. Everything else (mounts, processes, IPC, host name) is each command's own.
//!
//! It is a sandbox that belongs to no container: if the engine ends before the build, the next start takes it away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Core;
use crate::error::Result;
use crate::id::Owner;
use crate::sandbox::handle::{Command, SandboxCell, UpSandbox};
use crate::sandbox::record::Live;
use crate::sandbox::run::new_record;
use crate::spec::{EndpointSpec, NamespaceMode, NetworkMode, SandboxSpec, SecuritySpec, UserNamespaceSpec, validate};

use super::spec::BuildSpec;

/// A sandbox that is up.
#[derive(Debug, Clone)]
pub(super) struct BuildSandbox {
    pub(super) cell: Arc<SandboxCell>,
    pub(super) up: Arc<UpSandbox>,
    pub(super) spec: Arc<SandboxSpec>,
    network: String,
}

/// The sandboxes of one build.
#[derive(Debug)]
pub(super) struct Sandboxes {
    core: Arc<Core>,
    idle: Mutex<HashMap<String, Vec<BuildSandbox>>>,
}

impl Sandboxes {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<BuildSandbox>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sandbox in this network, brought up if none waits.
    pub(super) async fn take(&self, spec: &BuildSpec, network: &str) -> Result<BuildSandbox> {
        if let Some(waiting) = self.idle().get_mut(network).and_then(Vec::pop) {
            return Ok(waiting);
        }
        let wanted = sandbox_spec(&self.core, spec, network)?;
        validate::sandbox(&wanted)?;
        let record = new_record(&self.core, wanted, true)?;
        let spec = Arc::clone(&record.spec);
        let cell = crate::sandbox::driver::spawn(&self.core, record, Live::default(), None);
        match cell.ask(Command::Up).await {
            Ok(up) => Ok(BuildSandbox { cell, up, spec, network: network.to_owned() }),
            Err(error) => {
                remove(&cell).await;
                Err(error)
            }
        }
    }

    /// Hands a sandbox on.
    pub(super) fn give_back(&self, sandbox: BuildSandbox) {
        self.idle().entry(sandbox.network.clone()).or_default().push(sandbox);
    }

    /// Takes all of them down, beside whatever comes next: nobody has to wait for it.
    pub(super) fn close(&self) {
        let all: Vec<BuildSandbox> = self.idle().drain().flat_map(|(_, waiting)| waiting).collect();
        tokio::spawn(async move {
            futures_util::future::join_all(all.iter().map(|sandbox| remove(&sandbox.cell))).await;
        });
    }
}

/// Takes a sandbox down and away.
pub(crate) async fn remove(cell: &SandboxCell) {
    for command in [Command::Down, Command::Remove] {
        if let Err(error) = cell.ask(command).await {
            tracing::error!(sandbox = %cell.id, %error, "the sandbox of a build could not be taken away");
        }
    }
}

fn sandbox_spec(core: &Core, spec: &BuildSpec, network: &str) -> Result<SandboxSpec> {
    let bridge =
        || NetworkMode::Networks(vec![EndpointSpec { network: "bridge".to_owned(), ..EndpointSpec::default() }]);
    let network = match network {
        "" | "default" | "bridge" => bridge(),
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => match other.strip_prefix("container:") {
            Some(container) => NetworkMode::Container(core.container_names.resolve(container)?),
            None => NetworkMode::Networks(vec![EndpointSpec { network: other.to_owned(), ..EndpointSpec::default() }]),
        },
    };
    Ok(SandboxSpec {
        owner: Owner::Docker,
        name: crate::id::SandboxId::random().to_string(),
        pod: None,
        labels: Default::default(),
        annotations: Default::default(),
        hostname: String::new(),
        domainname: String::new(),
        network,
        ports: Vec::new(),
        dns: Default::default(),
        extra_hosts: spec.extra_hosts.clone(),
        ipc: NamespaceMode::Private,
        pid: NamespaceMode::Private,
        uts: NamespaceMode::Private,
        user: UserNamespaceSpec::Host,
        sysctls: Default::default(),
        cgroup_parent: spec.cgroup_parent.clone(),
        log_directory: String::new(),
        runtime: String::new(),
        resources: Default::default(),
        security: SecuritySpec::default(),
        shm_bytes: spec.shm_bytes,
        door_document: String::new(),
    })
}
