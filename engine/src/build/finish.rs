//! A build from its first question to its last word.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use sys::rooted::RootFd;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::archive::pack::{Marks, Packer};
use crate::archive::stream;
use crate::container::rootfs;
use crate::engine::{Core, Engine};
use crate::error::{Error, Result};
use crate::id::{Digest, Owner};

use super::cache_mounts::CacheMounts;
use super::client::{BuildClient, SourceFilter};
use super::dockerfile::ignore::{self, Patterns};
use super::dockerfile::{Dockerfile, parse};
use super::event::BuildEvent;
use super::executor::Execution;
use super::layers::{Layers, ids};
use super::plan::Plan;
use super::process::cancelled;
use super::spec::{BuildSpec, Built, BuiltFiles, DockerfileSource, Export};
use super::state::State;
use super::teller::Vertex;

/// Builds that go on at once; more wait.
const BUILDS_MAX: usize = 8;
/// Bytes of a Dockerfile, and of an ignore file.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// What all builds of an engine share.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(super) cache_mounts: CacheMounts,
    permits: Semaphore,
}

impl Builder {
    /// Clears away what builds of an earlier engine have left on the run root.
    pub(crate) fn open(root: &Path, run: &Path) -> Result<Self> {
        match std::fs::remove_dir_all(run.join("build")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::from(error).context("clear away what earlier builds have left"));
            }
            _ => {}
        }
        let contexts = root.join("build").join("contexts");
        if contexts.exists() {
            crate::snapshot::remove_tree(&contexts)?;
        }
        crate::content::make_private_dir(&contexts)?;
        crate::content::make_private_dir(&root.join("build").join("cache"))?;
        Ok(Self { cache_mounts: CacheMounts::new(root), permits: Semaphore::new(BUILDS_MAX) })
    }
}

impl Engine {
    /// Builds. When `cancel` is cancelled, or nobody listens to `events` any more, the build ends: its commands are
    /// killed and nothing of it stays but the results of steps that were done.
    ///
    /// # Errors
    /// `InvalidArgument` for a Dockerfile that is wrong, with its line; with an exit code when a command has failed;
    /// `Cancelled`; those of registries, of the client and of the disk.
    pub async fn build(
        &self,
        spec: BuildSpec,
        client: Arc<dyn BuildClient>,
        events: mpsc::Sender<BuildEvent>,
        cancel: CancellationToken,
    ) -> Result<Built> {
        let core = Arc::clone(self.core_arc());
        // The taking down must not be cut off: who goes away cancels, and nothing else.
        let guard = cancel.clone().drop_guard();
        let work = async move {
            let permit = tokio::select! {
                permit = core.builder.permits.acquire() => permit.map_err(|_| cancelled())?,
                () = cancel.cancelled() => return Err(cancelled()),
                () = core.closing.cancelled() => return Err(cancelled()),
            };
            let built = build(&core, spec, client, events, cancel.child_token()).await;
            drop(permit);
            built
        };
        let built = crate::sandbox::handle::detached(work).await;
        drop(guard.disarm());
        built
    }
}

async fn build(
    core: &Arc<Core>,
    spec: BuildSpec,
    client: Arc<dyn BuildClient>,
    events: mpsc::Sender<BuildEvent>,
    cancel: CancellationToken,
) -> Result<Built> {
    let (text, ignore) = tokio::select! {
        read = read_dockerfile(&spec, client.as_ref(), &events) => read?,
        () = cancel.cancelled() => return Err(cancelled()),
    };
    let file: Dockerfile = parse(&text).map_err(|e| Error::invalid(e.to_string()))?;
    let plan = Plan::new(file, &spec)?;
    let layers = Layers::begin(core, spec.source_date_epoch)?;
    let execution = Execution::new(core, spec, plan, ignore, client, events, cancel.clone(), layers);
    let closing = core.closing.clone();
    let listener = execution.events.clone();
    let gone = async {
        tokio::select! {
            () = closing.cancelled() => {}
            () = listener.closed() => {}
        }
    };
    // It is never dropped half-way: each step ends by itself when it is told to.
    let done = {
        let mut running = std::pin::pin!(execution.run());
        tokio::select! {
            done = &mut running => done,
            () = gone => {
                cancel.cancel();
                running.await
            }
        }
    };
    // Results of steps that were done are kept, whatever became of the rest.
    let recorded = execution.layers.record().await;
    let built = match (done, recorded) {
        (Ok(state), Ok(())) => export(&execution, &state).await,
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    };
    execution.sandboxes.close().await;
    if core.images.build_cache().shrink(core.config.limits.build_cache_bytes_max).await? {
        let images = core.images.clone();
        drop(execution);
        images.sweep().await?;
    }
    built
}

/// The Dockerfile's text, and what is left out of the context.
async fn read_dockerfile(
    spec: &BuildSpec,
    client: &dyn BuildClient,
    events: &mpsc::Sender<BuildEvent>,
) -> Result<(String, Option<Patterns>)> {
    let (source, name) = match &spec.dockerfile {
        DockerfileSource::Text(text) => return Ok((text.clone(), ignore_of(client, "context", &[]).await?)),
        DockerfileSource::File { source, name } => (source, name),
    };
    let shown = format!("[internal] load build definition from {}", name.rsplit('/').next().unwrap_or(name));
    let vertex = Vertex::begin(events, "dockerfile", shown, Vec::new(), None).await?;
    let own_ignore = format!("{name}.dockerignore");
    let wanted = SourceFilter { exclude: Vec::new(), follow_paths: vec![name.clone(), own_ignore.clone()] };
    let read = async {
        let dir = client.source(source, &wanted).await?;
        let missing = || Error::not_found(format!("failed to read dockerfile: open {name}: no such file or directory"));
        let text = match read_text(dir.dir(), name)? {
            // The file's name may be in lower case, as docker has it.
            None if name == "Dockerfile" => read_text(dir.dir(), "dockerfile")?,
            other => other,
        };
        let text = text.ok_or_else(missing)?;
        if text.trim().is_empty() {
            return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
        }
        Ok((text, read_text(dir.dir(), &own_ignore)?))
    };
    let (text, own) = match read.await {
        Ok(read) => read,
        Err(error) => {
            vertex.failed(&error).await;
            return Err(error);
        }
    };
    vertex.done(false, None).await?;
    let ignore = match own {
        Some(own) => Some(ignore::parse(&own).map_err(|e| Error::invalid(format!("{own_ignore}: {e}")))?),
        None => ignore_of(client, "context", &[name.as_str()]).await?,
    };
    Ok((text, ignore))
}

async fn ignore_of(client: &dyn BuildClient, source: &str, _beside: &[&str]) -> Result<Option<Patterns>> {
    let wanted = SourceFilter { exclude: Vec::new(), follow_paths: vec![".dockerignore".to_owned()] };
    // Without a context there is nothing to leave out.
    let Ok(dir) = client.source(source, &wanted).await else { return Ok(None) };
    let text = read_text(dir.dir(), ".dockerignore")?;
    text.map(|text| ignore::parse(&text).map_err(|e| Error::invalid(format!(".dockerignore: {e}")))).transpose()
}

/// A small file of a client's directory; `None` when it is not there.
fn read_text(dir: &Path, name: &str) -> Result<Option<String>> {
    let root = RootFd::open(dir)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match root.open_file(Path::new(name), flags, Mode::empty()) {
        Ok(fd) => std::fs::File::from(fd),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::from(error).context(name)),
    };
    if !file.metadata()?.is_file() {
        return Err(Error::invalid(format!("{name}: not a file")));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!("{name} is longer than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Error::invalid(format!("{name} is not UTF-8")))
}

/// What is made of the result.
async fn export(execution: &Execution, state: &State) -> Result<Built> {
    let spec = &execution.spec;
    let mut state = state.clone();
    state.config.labels.extend(spec.labels.clone());
    let epoch = spec.source_date_epoch.unwrap_or(0);
    let created = jiff::Timestamp::from_second(epoch).unwrap_or_default().to_string();
    let document = state.to_document(Some(created));
    let bytes = serde_json::to_vec(&document).map_err(|e| Error::internal("write a configuration").with_source(e))?;
    let mut built = Built {
        image: Digest::of(&bytes),
        manifest: None,
        config: state.config.clone(),
        document: bytes,
        layers: ids(&state.layers),
        tags: spec.tags.clone(),
        files: None,
    };
    match spec.export {
        Export::Nothing => {}
        Export::Files => {
            let mounts = execution.core.images.overlay().stack(&built.layers)?;
            let root = RootFd::from_fd(rootfs::open(&mounts)?);
            built.files = Some(BuiltFiles(stream(move |sink| {
                let mut packer = Packer::new(sink, Marks::None);
                packer.tree(&root.open_dir(Path::new(""))?, b"")?;
                packer.finish().map(|_| ())
            })));
        }
        Export::Image => {
            let vertex =
                Vertex::begin(&execution.events, "export", "exporting to image".to_owned(), Vec::new(), None).await?;
            let images = &execution.core.images;
            let kept = images.keep_built(&document, &state.layers, spec.tags.clone(), Owner::Docker).await;
            match &kept {
                Ok(_) => vertex.done(false, None).await?,
                Err(error) => vertex.failed(error).await,
            }
            let (id, manifest) = kept?;
            (built.image, built.manifest) = (id, Some(manifest));
        }
    }
    Ok(built)
}
