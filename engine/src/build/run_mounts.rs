//! What a `RUN` has mounted: files of others to read, caches, secrets, an agent's socket, memory.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::content::make_private_dir;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, Digest};
use crate::snapshot::Mount;
use crate::spec::facts::ResolvedMount;
use crate::spec::mounts::clean_target;

use super::cache_mounts::CacheMount;
use super::client::BuildClient;
use super::dockerfile::{MountKind, RunMount};
use super::executor::Execution;
use super::source::Source;
use super::state::{clean, joined};

/// Connections to an agent at once.
const AGENT_CONNECTIONS_MAX: usize = 32;

/// The mounts of one command; what is behind them lives as long as this does.
#[derive(Debug, Default)]
pub(super) struct RunMounts {
    pub(super) mounts: Vec<ResolvedMount>,
    /// Variables that mounts bring with them.
    pub(super) env: Vec<String>,
    caches: Vec<CacheMount>,
    agents: Vec<JoinHandle<()>>,
    private: Option<Private>,
}

impl Drop for RunMounts {
    fn drop(&mut self) {
        self.agents.iter().for_each(JoinHandle::abort);
        self.caches.clear();
    }
}

/// A directory on the run root, which is lost at a reboot: secrets and sockets.
#[derive(Debug)]
struct Private(PathBuf);

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::error!(path = %self.0.display(), %error, "the secrets of a command could not be removed");
        }
    }
}

/// A mount whose source is known, so that it can count in the cache's key.
#[derive(Debug)]
pub(super) struct KnownMount {
    pub(super) mount: RunMount,
    pub(super) source: Option<Arc<Source>>,
    /// Everything about it that a result may depend on.
    pub(super) key: String,
}

/// Finds the sources of mounts.
///
/// # Errors
/// Those of the sources; `InvalidArgument` for a mount without a target.
pub(super) async fn known(execution: &Execution, stage: usize, mounts: Vec<RunMount>) -> Result<Vec<KnownMount>> {
    let mut all = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let wants_source = mount.kind == MountKind::Bind || (mount.kind == MountKind::Cache && mount.from.is_some());
        let source = if wants_source { Some(execution.source(stage, mount.from.as_deref()).await?) } else { None };
        let content = match &source {
            Some(source) => source.subtree_digest(mount.source.as_deref().unwrap_or("/")).await?.to_string(),
            None => String::new(),
        };
        // What a cache holds, and the value of a secret, change no result; whether there is one does.
        let key = format!(
            "{:?}",
            (&mount.kind, &mount.target, &mount.source, &mount.id, &mount.env, mount.read_only, content)
        );
        all.push(KnownMount { mount, source, key });
    }
    Ok(all)
}

/// Makes the mounts of a command that runs in `cwd`.
///
/// # Errors
/// `NotFound` for a secret or an agent that is required and that the client does not have.
pub(super) async fn make(execution: &Execution, known: &[KnownMount], cwd: &str) -> Result<RunMounts> {
    let mut made = RunMounts::default();
    for (number, one) in known.iter().enumerate() {
        let target = |default: String| {
            let text = one.mount.target.clone().unwrap_or(default);
            clean(&joined(cwd, &text))
        };
        match one.mount.kind {
            MountKind::Bind => made.bind(execution, one, target(String::new()), number).await?,
            MountKind::Cache => made.cache(execution, one, target(String::new())).await?,
            MountKind::Tmpfs => made.tmpfs(&one.mount, target(String::new())),
            MountKind::Secret => {
                let id = secret_id(&one.mount);
                made.secret(execution, &one.mount, &id, target(format!("/run/secrets/{id}")), number).await?;
            }
            MountKind::Ssh => {
                let target = target(format!("/run/buildkit/ssh_agent.{number}"));
                made.agent(execution, &one.mount, target, number).await?;
            }
        }
    }
    for mount in &made.mounts {
        clean_target(&mount.target)?;
    }
    Ok(made)
}

fn secret_id(mount: &RunMount) -> String {
    let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    mount.id.clone().or_else(|| mount.target.as_ref().map(base)).unwrap_or_default()
}

impl RunMounts {
    fn push(&mut self, target: String, kind: &str, source: String, options: Vec<String>, readonly: bool) {
        self.mounts.push(ResolvedMount {
            target,
            kind: kind.to_owned(),
            source,
            options,
            readonly,
            recursive_readonly: false,
            non_recursive: true,
            propagation: Default::default(),
            id_maps: None,
        });
    }

    /// Files of a stage, an image or the context. What is written there is thrown away.
    async fn bind(&mut self, execution: &Execution, one: &KnownMount, target: String, number: usize) -> Result<()> {
        let Some(source) = &one.source else { return Err(Error::internal("a bind mount without a source")) };
        let path = one.mount.source.as_deref().unwrap_or("/");
        let stack = source.stack(path, &target)?;
        let [only] = stack.as_slice() else {
            return Err(Error::internal("a bind mount of several mounts"));
        };
        if one.mount.read_only {
            self.push(target, &only.kind, only.source.clone(), only.options.clone(), true);
            return Ok(());
        }
        let scratch = execution.layers.scratch().join(format!("mount-{}-{number}", ContainerId::random().short()));
        let (upper, work) = (scratch.join("fs"), scratch.join("work"));
        make_private_dir(&work)?;
        make_private_dir(&upper)?;
        std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))?;
        if only.kind == "bind" && Path::new(&only.source).is_file() {
            let copy = upper.join("file");
            std::fs::copy(&only.source, &copy)?;
            self.push(target, "bind", text(&copy), Vec::new(), false);
            return Ok(());
        }
        let lower = lower_of(only);
        let options = vec![lower, format!("upperdir={}", text(&upper)), format!("workdir={}", text(&work))];
        self.push(target, "overlay", "overlay".to_owned(), options, false);
        Ok(())
    }

    async fn cache(&mut self, execution: &Execution, one: &KnownMount, target: String) -> Result<()> {
        let mount = &one.mount;
        let from = one.source.as_ref().map(|_| one.key.clone()).unwrap_or_default();
        let id = mount.id.clone().unwrap_or_else(|| target.clone());
        let id = if from.is_empty() { id } else { format!("{id} {}", Digest::of(from.as_bytes()).short()) };
        let cache = execution.core.builder.cache_mounts.take(&id, mount.sharing).await?;
        if cache.new {
            if let Some(source) = &one.source {
                source.copy_into(mount.source.as_deref().unwrap_or("/"), &cache.dir).await?;
            }
            chown(&cache.dir, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))?;
            std::fs::set_permissions(&cache.dir, std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o755)))?;
        }
        self.push(target, "bind", text(&cache.dir), Vec::new(), mount.read_only);
        self.caches.push(cache);
        Ok(())
    }

    fn tmpfs(&mut self, mount: &RunMount, target: String) {
        let mut options: Vec<String> = ["nosuid", "nodev", "mode=1777"].map(String::from).to_vec();
        options.extend(mount.size.map(|bytes| format!("size={bytes}")));
        self.push(target, "tmpfs", "tmpfs".to_owned(), options, mount.read_only);
    }

    async fn secret(
        &mut self,
        execution: &Execution,
        mount: &RunMount,
        id: &str,
        target: String,
        number: usize,
    ) -> Result<()> {
        let found = execution.client.secret(id).await?;
        let Some(secret) = found else {
            return if mount.required { Err(Error::not_found(format!("secret {id}: not found"))) } else { Ok(()) };
        };
        if let Some(name) = &mount.env {
            let name = if name.is_empty() { id } else { name };
            let value = String::from_utf8(secret.0.clone())
                .map_err(|_| Error::invalid(format!("secret {id}: it is no text and cannot be a variable")))?;
            self.env.push(format!("{name}={value}"));
            if mount.target.is_none() {
                return Ok(());
            }
        }
        let file = self.private(execution)?.join(format!("secret-{number}"));
        std::fs::write(&file, &secret.0)?;
        chown(&file, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o400)))?;
        self.push(target, "bind", text(&file), Vec::new(), true);
        Ok(())
    }

    async fn agent(&mut self, execution: &Execution, mount: &RunMount, target: String, number: usize) -> Result<()> {
        let id = mount.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| "default".to_owned());
        match execution.client.ssh(&id).await {
            Ok(first) => drop(first),
            Err(error) if error.kind() == ErrorKind::NotFound && !mount.required => return Ok(()),
            Err(error) => return Err(error),
        }
        let socket = self.private(execution)?.join(format!("agent-{number}"));
        let listener = tokio::net::UnixListener::bind(&socket)?;
        chown(&socket, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o600)))?;
        self.agents.push(tokio::spawn(serve_agent(listener, Arc::clone(&execution.client), id)));
        if !self.env.iter().any(|entry| entry.starts_with("SSH_AUTH_SOCK=")) {
            self.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        self.push(target, "bind", text(&socket), Vec::new(), false);
        Ok(())
    }

    /// A script that the Dockerfile itself has, under a name in `/dev/pipes`.
    pub(super) fn script(&mut self, execution: &Execution, name: &str, content: &str) -> Result<String> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let dir = self.private(execution)?.join("pipes");
        std::fs::create_dir_all(&dir)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(dir.join(name), content)?;
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755))?;
        self.push("/dev/pipes".to_owned(), "bind", text(&dir), Vec::new(), true);
        Ok(format!("/dev/pipes/{name}"))
    }

    fn private(&mut self, execution: &Execution) -> Result<PathBuf> {
        if let Some(private) = &self.private {
            return Ok(private.0.clone());
        }
        let dir = execution.core.config.run.join("build").join(ContainerId::random().short());
        make_private_dir(&dir)?;
        self.private = Some(Private(dir.clone()));
        Ok(dir)
    }
}

fn lower_of(stack: &Mount) -> String {
    match stack.options.iter().find(|option| option.starts_with("lowerdir=")) {
        Some(option) => option.clone(),
        None => format!("lowerdir={}", stack.source),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Connects whoever comes to the client's agent.
async fn serve_agent(listener: tokio::net::UnixListener, client: Arc<dyn BuildClient>, id: String) {
    let permits = Arc::new(tokio::sync::Semaphore::new(AGENT_CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (client, id) = (Arc::clone(&client), id.clone());
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _permit = permit;
            match client.ssh(&id).await {
                Ok(mut agent) => drop(tokio::io::copy_bidirectional(&mut stream, &mut agent).await),
                Err(error) => tracing::warn!(%error, "a build's connection to an agent failed"),
            }
        });
    }
}
