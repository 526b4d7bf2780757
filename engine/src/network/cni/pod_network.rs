//! `PodNetwork`: which network a pod gets, and the calls that put it there and take it out again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt as _};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::config::PodNetworkMode;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SandboxId;
use crate::metadata::{Durability, Store, tables::setting};
use crate::network::cni::attachments::{Added, Attachments, FORM, identity};
use crate::network::cni::folder::{Configured, Folder};
use crate::network::cni::list::{NetworkList, Plugin, Version};
use crate::network::cni::plugin::{Call, Programs};
use crate::network::cni::request::{PORT_MAPPINGS, PodFacts, PodRequest};
use crate::network::cni::result;
use crate::network::config::NetworkConfig;
use crate::network::view::Attachment;

/// The pod's interface: Kubernetes knows no other name.
const INTERFACE: &str = "eth0";
/// Age at which the plugins are asked again whether they are ready.
const STATUS_AGE_MAX: Duration = Duration::from_secs(5);
/// Pods that are checked at once after a start of the daemon.
const CHECKS_MAX: usize = 4;
/// Pauses between tries to delete what no sandbox owns: doubled from the first to the last.
const ORPHAN_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Where the kubelet's subnets are kept.
const SUBNETS_KEY: &str = "pod_subnets";
/// Subnets of pods that a node may have: one of each family.
const SUBNETS_MAX: usize = 2;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PodNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mode: PodNetworkMode,
    folder: Folder,
    programs: Programs,
    attachments: Attachments,
    store: Store,
    subnets: RwLock<Vec<IpNet>>,
    /// By program.
    spoken: Mutex<HashMap<PathBuf, Spoken>>,
    status: Mutex<Option<Asked>>,
    asking: AtomicBool,
    /// Write-locked by the collection of garbage: it must not take an ADD under way for garbage.
    adding: tokio::sync::RwLock<()>,
}

/// Versions that a program speaks, and when the program was last changed.
type Spoken = (SystemTime, Arc<Vec<Version>>);

/// The plugins' own word on whether they are ready.
#[derive(Debug, Clone)]
struct Asked {
    list: Arc<NetworkList>,
    at: Instant,
    answer: std::result::Result<(), String>,
}

impl PodNetwork {
    /// Reads what earlier daemons added, and begins to ask the plugins.
    ///
    /// # Errors
    /// When the directory of attachments or the store cannot be read.
    pub(crate) fn open(config: &NetworkConfig, store: Store) -> Result<Self> {
        let subnets = store.read(|c| setting::get(c, SUBNETS_KEY))?.unwrap_or_default();
        let shared = Shared {
            mode: config.pod_network,
            folder: Folder::new(config.cni_conf_dir.clone()),
            programs: Programs {
                folders: config.cni_bin_dirs.clone(),
                deadline: Duration::from_millis(config.cni_timeout_ms),
            },
            attachments: Attachments::open(config.cni_cache_dir.clone())?,
            subnets: RwLock::new(parse_subnets(&subnets).unwrap_or_default()),
            store,
            spoken: Mutex::default(),
            status: Mutex::default(),
            asking: AtomicBool::new(false),
            adding: tokio::sync::RwLock::new(()),
        };
        let this = Self { shared: Arc::new(shared) };
        let _asked = this.readiness();
        Ok(this)
    }

    /// Whether a pod that is made now gets its network from plugins; else the built-in bridge.
    pub(crate) fn in_use(&self) -> bool {
        match self.shared.mode {
            PodNetworkMode::Builtin => false,
            PodNetworkMode::Cni => true,
            PodNetworkMode::Auto => !matches!(self.shared.folder.read(), Configured::Nothing),
        }
    }

    /// Whether a pod could be made now, or why not. Never waits for a plugin: they are asked in the background.
    pub(crate) fn readiness(&self) -> std::result::Result<(), String> {
        if !self.in_use() {
            return Ok(());
        }
        let list = self.configuration().map_err(|e| e.to_string())?;
        let asked = self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = asked.filter(|asked| asked.list == list);
        if asked.as_ref().is_none_or(|asked| asked.at.elapsed() > STATUS_AGE_MAX) {
            self.ask(list);
        }
        asked.map_or_else(|| Err("the CNI plugins have not answered yet".to_owned()), |asked| asked.answer)
    }

    /// The kubelet's subnets of this node's pods: `a` or `a,b`; kept until it tells others.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no subnet.
    pub(crate) async fn set_pod_subnets(&self, text: &str) -> Result<()> {
        let subnets = parse_subnets(text)?;
        if *self.shared.subnets.read().unwrap_or_else(PoisonError::into_inner) == subnets {
            return Ok(());
        }
        let stored = text.to_owned();
        self.shared.store.write(Durability::Power, move |tx| setting::put(tx, SUBNETS_KEY, &stored)).await?;
        tracing::info!(subnets = text, "the kubelet told the subnets of pods");
        *self.shared.subnets.write().unwrap_or_else(PoisonError::into_inner) = subnets;
        Ok(())
    }

    /// The subnets that the kubelet told.
    pub(crate) fn pod_subnets(&self) -> Vec<IpNet> {
        self.shared.subnets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the plugins put a pod into the network. On failure, what they did is undone by [`PodNetwork::delete`].
    ///
    /// # Errors
    /// `Unavailable` without a usable configuration; else what a plugin says, or that it did not end in time.
    pub(crate) async fn add(&self, sandbox: &SandboxId, pod: PodFacts<'_>, netns: &str) -> Result<Attachment> {
        let _adding = self.shared.adding.read().await;
        let list = self.configuration()?;
        let subnets = self.shared.subnets.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = PodRequest::new(sandbox, pod, &subnets)?;
        if !pod.ports.is_empty() && !list.wants(PORT_MAPPINGS) {
            tracing::warn!(
                network = list.name,
                "no CNI plugin declares portMappings: host ports are left to the cluster"
            );
        }
        let version = self.shared.negotiate(&list).await?;
        let named = |e: std::io::Error| Error::from(e).context(format!("network namespace {netns}"));
        let mut added = Added {
            form: FORM,
            sandbox: request.id,
            netns: netns.to_owned(),
            netns_is: identity(Path::new(netns)).map_err(named)?,
            interface: INTERFACE.to_owned(),
            args: request.args,
            values: request.values,
            version,
            result: None,
            list: NetworkList::clone(&list),
        };
        self.shared.attachments.put(added.clone()).await?;
        let mut previous = None;
        for plugin in &added.list.plugins {
            previous = Some(self.shared.add_one(&added, plugin, previous).await?);
        }
        let answer = previous.as_ref().map(|result| result::parse(result, INTERFACE)).transpose();
        let answer = answer.map_err(|reason| Error::internal(format!("CNI network {}: {reason}", list.name)))?;
        if answer.is_none_or(|answer| answer.addresses.is_empty()) {
            return Err(Error::internal(format!("CNI network {}: the plugins gave the pod no address", list.name)));
        }
        added.result = previous;
        let view = added.view();
        self.shared.attachments.put(added).await?;
        Ok(view)
    }

    /// Has the plugins take a pod out of its network, with the configuration that it was put there. Idempotent.
    ///
    /// # Errors
    /// What a plugin says; it is to be called again then.
    pub(crate) async fn delete(&self, sandbox: &SandboxId) -> Result<()> {
        let Some(added) = self.shared.attachments.get(sandbox) else { return Ok(()) };
        let previous = added.result.clone().filter(|_| added.version >= Version::CHECK);
        for plugin in added.list.plugins.iter().rev() {
            let document = added.document(plugin, previous.clone());
            let variables = added.variables(added.live_netns());
            let call = Call { command: "DEL", variables: &variables, input: document };
            self.shared.programs.run(&plugin.program, call).await?;
        }
        self.shared.attachments.remove(sandbox).await
    }

    /// What is in force for a sandbox; empty when plugins have no part in it.
    pub(crate) fn attachment(&self, sandbox: &SandboxId) -> Option<Attachment> {
        self.shared.attachments.get(sandbox).map(|added| added.view())
    }

    /// Sandboxes that plugins hold something for.
    pub(crate) fn attached(&self) -> Vec<SandboxId> {
        self.shared.attachments.all().iter().map(|added| added.sandbox.clone()).collect()
    }

    /// After a start: what no sandbox owns is deleted, garbage is collected, and what is in force is checked.
    pub(crate) fn retain(&self, sandboxes: HashSet<SandboxId>) {
        let this = self.clone();
        tokio::spawn(async move {
            let (live, orphans): (Vec<_>, Vec<_>) =
                this.attached().into_iter().partition(|sandbox| sandboxes.contains(sandbox));
            for orphan in orphans {
                tokio::spawn(this.clone().delete_orphan(orphan));
            }
            if let Ok(list) = this.configuration().inspect_err(|error| tracing::debug!(%error, "no garbage to collect"))
                && this.in_use()
            {
                this.collect_garbage(&list).await;
            }
            stream::iter(live).for_each_concurrent(CHECKS_MAX, |sandbox| this.check(sandbox)).await;
        });
    }

    async fn delete_orphan(self, sandbox: SandboxId) {
        let [mut pause, last] = ORPHAN_PAUSES;
        while let Err(error) = self.delete(&sandbox).await {
            tracing::warn!(%sandbox, %error, "a CNI attachment that no sandbox owns is still there");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(last);
        }
        tracing::info!(%sandbox, "a CNI attachment that no sandbox owned was deleted");
    }

    /// Asks the plugins whether a pod's network is as they made it. Nothing is done about it but to say so.
    async fn check(&self, sandbox: SandboxId) {
        let Some(added) = self.shared.attachments.get(&sandbox) else { return };
        if added.list.disable_check || added.version < Version::CHECK || added.result.is_none() {
            return;
        }
        for plugin in &added.list.plugins {
            let document = added.document(plugin, added.result.clone());
            let variables = added.variables(added.live_netns());
            let call = Call { command: "CHECK", variables: &variables, input: document };
            if let Err(error) = self.shared.programs.run(&plugin.program, call).await {
                tracing::warn!(%sandbox, %error, "the network of a pod is not as its CNI plugins made it");
                return;
            }
        }
    }

    /// Tells the plugins what is in use, so that they give back what is not.
    async fn collect_garbage(&self, list: &NetworkList) {
        let _no_addition = self.shared.adding.write().await;
        let version = self.shared.negotiate(list).await.unwrap_or(list.versions[0]);
        if list.disable_gc || version < Version::STATUS {
            return;
        }
        let of_list = |added: &&Arc<Added>| added.list.name == list.name;
        let all = self.shared.attachments.all();
        let valid: Value = all
            .iter()
            .filter(of_list)
            .map(|added| json!({"containerID": added.sandbox, "ifname": added.interface}))
            .collect();
        // The second name is an error of an early text of the specification that plugins still read.
        let further: Map<String, Value> =
            [("cni.dev/valid-attachments", valid.clone()), ("cni.dev/attachments", valid)]
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect();
        for plugin in &list.plugins {
            let input = plugin.document(&list.name, version, &Map::new(), further.clone());
            if let Err(error) =
                self.shared.programs.run(&plugin.program, Call { command: "GC", variables: &[], input }).await
            {
                tracing::warn!(%error, network = list.name, "a CNI plugin could not collect its garbage");
            }
        }
    }

    /// The configuration in force.
    fn configuration(&self) -> Result<Arc<NetworkList>> {
        match self.shared.folder.read() {
            Configured::Network(list) => Ok(list),
            Configured::Wrong(reason) => Err(Error::new(ErrorKind::Unavailable, reason)),
            Configured::Nothing => {
                let folder = self.shared.folder.path().display();
                Err(Error::new(ErrorKind::Unavailable, format!("there is no CNI configuration in {folder}")))
            }
        }
    }

    /// Asks the plugins in the background, one round at a time; collects garbage when the configuration is a new one.
    fn ask(&self, list: Arc<NetworkList>) {
        if self.shared.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let answer = this.shared.status(&list).await.map_err(|e| e.to_string());
            let changed = {
                let mut status = this.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
                let before =
                    status.replace(Asked { list: Arc::clone(&list), at: Instant::now(), answer: answer.clone() });
                match (&before, &answer) {
                    (Some(before), answer) if before.answer == *answer => {}
                    (_, Ok(())) => tracing::info!(network = list.name, "the CNI plugins are ready"),
                    (_, Err(reason)) => tracing::warn!(network = list.name, reason, "the CNI plugins are not ready"),
                }
                before.is_some_and(|before| before.list != list)
            };
            this.shared.asking.store(false, Ordering::Release);
            if changed && answer.is_ok() {
                this.collect_garbage(&list).await;
            }
        });
    }
}

impl Shared {
    async fn add_one(&self, added: &Added, plugin: &Plugin, previous: Option<Value>) -> Result<Value> {
        let document = added.document(plugin, previous);
        let variables = added.variables(&added.netns);
        let call = Call { command: "ADD", variables: &variables, input: document };
        let output = self.programs.run(&plugin.program, call).await?;
        let wrong = |reason: String| {
            let beginning: String = String::from_utf8_lossy(&output).chars().take(200).collect();
            Error::internal(format!("CNI plugin {:?} (ADD) printed no result: {reason}: {beginning:?}", plugin.program))
        };
        match serde_json::from_slice(&output) {
            Ok(result @ Value::Object(_)) => Ok(result),
            Ok(_) => Err(wrong("not an object".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The newest version that the list and all of its plugins speak.
    async fn negotiate(&self, list: &NetworkList) -> Result<Version> {
        let mut all = Vec::with_capacity(list.plugins.len());
        for plugin in &list.plugins {
            all.push((&plugin.program, self.versions_of(&plugin.program).await?));
        }
        if let Some(version) = list.newest_version(|version| all.iter().all(|(_, spoken)| spoken.contains(&version))) {
            return Ok(version);
        }
        let lists = list.versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let stranger = all.iter().find(|(_, spoken)| !list.versions.iter().any(|version| spoken.contains(version)));
        let who = stranger.map_or_else(
            || "no version that all plugins speak".to_owned(),
            |(name, _)| format!("plugin {name:?} speaks none of them"),
        );
        Err(Error::new(ErrorKind::Unavailable, format!("CNI network {}: of versions {lists}: {who}", list.name)))
    }

    async fn versions_of(&self, program: &str) -> Result<Arc<Vec<Version>>> {
        let path = self.programs.find(program)?;
        let changed = std::fs::metadata(&path).and_then(|meta| meta.modified())?;
        let known = self.spoken.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        if let Some((then, versions)) = known
            && then == changed
        {
            return Ok(versions);
        }
        let input = json!({"cniVersion": Version::newest().to_string()}).to_string().into_bytes();
        let output = self.programs.run(program, Call { command: "VERSION", variables: &[], input }).await?;
        let document: Value = serde_json::from_slice(&output).unwrap_or_default();
        let texts = document.get("supportedVersions").and_then(Value::as_array);
        let versions = texts.into_iter().flatten().filter_map(|text| Version::parse(text.as_str()?));
        let versions: Arc<Vec<Version>> = Arc::new(versions.collect());
        if versions.is_empty() {
            let text = format!("CNI plugin {program:?} (VERSION) does not say which versions it speaks");
            return Err(Error::internal(text));
        }
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        spoken.insert(path, (changed, Arc::clone(&versions)));
        Ok(versions)
    }

    /// Whether the plugins are there, speak the list's version and, from 1.1 on, call themselves ready.
    async fn status(&self, list: &NetworkList) -> Result<()> {
        let version = self.negotiate(list).await?;
        if version < Version::STATUS {
            return Ok(());
        }
        for plugin in &list.plugins {
            let input = plugin.document(&list.name, version, &Map::new(), Map::new());
            self.programs.run(&plugin.program, Call { command: "STATUS", variables: &[], input }).await?;
        }
        Ok(())
    }
}

impl Added {
    fn document(&self, plugin: &Plugin, previous: Option<Value>) -> Vec<u8> {
        let further = previous.map(|result| ("prevResult".to_owned(), result)).into_iter().collect();
        plugin.document(&self.list.name, self.version, &self.values, further)
    }

    fn variables(&self, netns: &str) -> [(&'static str, String); 4] {
        [
            ("CNI_CONTAINERID", self.sandbox.to_string()),
            ("CNI_NETNS", netns.to_owned()),
            ("CNI_IFNAME", self.interface.clone()),
            ("CNI_ARGS", self.args.clone()),
        ]
    }
}

/// Subnets as a kubelet tells them.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub(crate) fn parse_subnets(text: &str) -> Result<Vec<IpNet>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let subnet =
        |part: &str| part.parse::<IpNet>().map_err(|_| Error::invalid(format!("pod_cidr: {part:?} is not a subnet")));
    let subnets: Vec<IpNet> = parts.map(subnet).collect::<Result<_>>()?;
    if subnets.len() > SUBNETS_MAX {
        return Err(Error::invalid(format!("pod_cidr: {text:?}: more than {SUBNETS_MAX} subnets")));
    }
    Ok(subnets)
}
