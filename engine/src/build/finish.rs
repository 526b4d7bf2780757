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
use super::dockerfile::{Dockerfile, is_own_frontend, lint, parse};
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
/// What the step that reads the Dockerfile is known by.
const DOCKERFILE_VERTEX: &str = "dockerfile";
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
        crate::content::make_private_dir(&run.join("build"))?;
        for kept in ["cache", "sources"] {
            crate::content::make_private_dir(&root.join("build").join(kept))?;
        }
        Ok(Self { cache_mounts: CacheMounts::new(root), permits: Semaphore::new(BUILDS_MAX) })
    }
}

/// A Dockerfile before anything is done with it.
#[derive(Debug)]
pub struct DockerfileText {
    /// The text.
    pub text: String,
    /// What is left out of the context.
    pub ignore: Option<Patterns>,
}

impl Engine {
    /// Reads a build's Dockerfile and does nothing with it.
    ///
    /// # Errors
    /// `NotFound`, and those of the client.
    pub async fn read_dockerfile(&self, spec: &BuildSpec, client: &dyn BuildClient) -> Result<DockerfileText> {
        let (events, told) = mpsc::channel(4);
        let read = read_dockerfile(spec, client, &events).await;
        drop(told);
        let (text, ignore) = read?;
        Ok(DockerfileText { text, ignore })
    }

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
    if let Some((other, _)) = file.directives.syntax.as_ref().filter(|(name, _)| !is_own_frontend(name)) {
        let text = format!(
            "# syntax={other}: this front-end is not built in; Dockerfiles are read as docker/dockerfile:1 reads them"
        );
        return Err(Error::not_implemented(text));
    }
    warn(&file, &spec, ignore.as_ref(), &events).await?;
    say_where_cache_is(&spec, &events).await?;
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
    execution.sandboxes.close();
    if core.images.build_cache().shrink(core.config.limits.build_cache_bytes_max).await? {
        let images = core.images.clone();
        drop(execution);
        images.sweep().await?;
    }
    built
}

/// Images carry no cache here: what `--cache-from` names is not looked at, and the user is told.
async fn say_where_cache_is(spec: &BuildSpec, events: &mpsc::Sender<BuildEvent>) -> Result<()> {
    if spec.cache_from.is_empty() {
        return Ok(());
    }
    let event = BuildEvent::Warning {
        vertex: Digest::of(DOCKERFILE_VERTEX.as_bytes()),
        text: format!(
            "cache-from {}: results are looked up in this engine's own cache only",
            spec.cache_from.join(", ")
        ),
        line: 0,
    };
    events.send(event).await.map_err(|_| cancelled())
}

/// Tells what the linter finds; it fails the build when the file or `BUILDKIT_DOCKERFILE_CHECK` asks for that.
async fn warn(
    file: &Dockerfile,
    spec: &BuildSpec,
    ignore: Option<&Patterns>,
    events: &mpsc::Sender<BuildEvent>,
) -> Result<()> {
    let asked = spec.args.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten().unwrap_or_default();
    let options = lint::Options::read(&asked).map_err(Error::invalid)?;
    let around = lint::Surroundings {
        args: spec.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect(),
        platform_args: spec.platform_args(),
        ignore,
        ..lint::Surroundings::default()
    };
    let found = lint::check(file, &around, &options);
    for warning in &found {
        let event = BuildEvent::Warning {
            vertex: Digest::of(DOCKERFILE_VERTEX.as_bytes()),
            text: warning.short(),
            line: warning.span.start_line,
        };
        events.send(event).await.map_err(|_| cancelled())?;
    }
    let own = file.directives.check.as_deref().and_then(|text| lint::Options::read(text).ok()).unwrap_or_default();
    if !found.is_empty() && own.merged(&options).error {
        let rules: std::collections::BTreeSet<&str> = found.iter().map(|warning| warning.rule).collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        return Err(Error::invalid(format!("lint violation found for rules: {}", rules.join(", "))));
    }
    Ok(())
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
    let vertex = Vertex::begin(events, DOCKERFILE_VERTEX, shown, Vec::new(), None).await?;
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
