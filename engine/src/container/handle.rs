//! A container to call, and what its driver and everybody else share of it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::{mpsc, oneshot, watch};

use crate::archive::ArchiveStream;
use crate::container::cpu_rate::CpuRate;
use crate::container::wait::Waiters;
use crate::container::{
    AttachOptions, AttachedIo, Change, CommitRequest, ContainerView, ExecHandle, ExecOutput, HealthView, LogOptions,
    LogReceiver, PathStat, ProcessFigures, RemoveOptions, StatsSample, TopTable, WaitCondition, WaitOutcome,
    WriteArchive,
};
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::{ContainerId, ExecId, ImageId, Owner};
use crate::spec::{EndpointSpec, ExecSpec, Resources, RestartPolicy};
use crate::task::{AttachEnds, AttachWish, Shim};

/// The answer to a command.
pub(crate) type Reply = oneshot::Sender<Result<()>>;

/// What a container's driver is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Start(Reply),
    Stop {
        grace: Option<Duration>,
        signal: Option<u32>,
        reply: Reply,
    },
    Kill {
        signal: u32,
        reply: Reply,
    },
    Restart {
        grace: Option<Duration>,
        signal: Option<u32>,
        reply: Reply,
    },
    Pause(Reply),
    Unpause(Reply),
    Remove {
        options: RemoveOptions,
        reply: Reply,
    },
    Rename {
        name: String,
        reply: Reply,
    },
    Update {
        resources: Box<Resources>,
        restart: Option<RestartPolicy>,
        reply: Reply,
    },
    /// Put it into one more network.
    Connect {
        endpoint: Box<EndpointSpec>,
        reply: Reply,
    },
    /// Take it out of a network.
    Disconnect {
        network: String,
        reply: Reply,
    },
    /// An exec began or ended: the view's list is made anew.
    ExecsChanged,
    /// A health probe of run `run` has answered.
    Health {
        run: u64,
        health: HealthView,
        changed: bool,
    },
    /// What recovery wants done once all objects are there.
    Resume(crate::recover::Wanted),
}

/// A client that attached before there was a process.
#[derive(Debug)]
pub(crate) struct PendingAttach {
    pub(crate) wish: AttachWish,
    pub(crate) ends: AttachEnds,
}

/// A container in memory.
#[derive(Debug)]
pub(crate) struct ContainerCell {
    pub(crate) id: ContainerId,
    pub(crate) view: watch::Sender<Arc<ContainerView>>,
    pub(crate) mailbox: mpsc::Sender<Command>,
    pub(crate) waiters: Mutex<Waiters>,
    pub(crate) pending: Mutex<Vec<PendingAttach>>,
    /// While it has a process.
    pub(crate) shim: RwLock<Option<Arc<dyn Shim>>>,
    /// For its statistics.
    pub(crate) cpu_rate: CpuRate,
    /// Execs that run.
    pub(crate) execs: Mutex<Vec<ExecId>>,
    /// Held by who writes into the root file system from outside, and while it is mounted anew or removed: overlayfs
    /// does not take two writers through two mounts.
    pub(crate) rootfs_gate: Arc<tokio::sync::Mutex<()>>,
}

impl ContainerCell {
    pub(crate) fn view(&self) -> Arc<ContainerView> {
        self.view.borrow().clone()
    }
    /// The shim of its process.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub(crate) fn shim(&self) -> Result<Arc<dyn Shim>> {
        let shim = self.shim.read().unwrap_or_else(PoisonError::into_inner).clone();
        shim.ok_or_else(|| Error::conflict(format!("container {} is not running", self.id)))
    }
    /// Asks the driver and waits for its answer. What it does goes on if the asker goes away.
    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.mailbox.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
    /// Tells the driver something that it will notice anyway, if it can take it now.
    pub(crate) fn tell(&self, command: Command) {
        if self.mailbox.try_send(command).is_err() {
            tracing::debug!(container = %self.id, "the driver is too busy to be told of a change");
        }
    }
}

/// A container to call.
#[derive(Debug, Clone)]
pub struct ContainerHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) cell: Arc<ContainerCell>,
}

impl ContainerHandle {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.cell.id
    }
    /// Its newest view. From memory, never waits.
    pub fn view(&self) -> Arc<ContainerView> {
        self.cell.view()
    }
    /// A container event with docker's attributes and `more`.
    pub(crate) async fn event(&self, action: &str, more: &[(&str, String)]) {
        let view = self.view();
        let image = view.spec.image.clone();
        let base = super::driver::EventBase { labels: &view.resolved.labels, image, name: view.name.clone() };
        let event = base.event(&view.id, view.spec.owner, action, more);
        self.core.events.publish(event).await;
    }
    /// Follows its views: one is taken at each change, those between may be left out.
    pub fn watch(&self) -> watch::Receiver<Arc<ContainerView>> {
        self.cell.view.subscribe()
    }
    /// Starts it. Its sandbox is brought up if it is its own.
    ///
    /// # Errors
    /// `NotModified` when it runs; an error with `exit_code` 126/127 when its program cannot be executed.
    pub async fn start(&self) -> Result<()> {
        self.cell.ask(Command::Start).await
    }
    /// Asks it to end with its stop signal (or `signal`), kills it after `grace` (default: its own, then 10 s).
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop(&self, grace: Option<Duration>, signal: Option<&str>) -> Result<()> {
        let signal = signal.filter(|s| !s.is_empty()).map(super::signal::parse).transpose()?;
        self.cell.ask(|reply| Command::Stop { grace, signal, reply }).await
    }
    /// Sends a signal (name or number).
    ///
    /// # Errors
    /// `Conflict` `container X is not running`; `InvalidArgument` for an unknown signal.
    pub async fn kill(&self, signal: &str) -> Result<()> {
        let signal = super::signal::parse(if signal.is_empty() { "SIGKILL" } else { signal })?;
        self.cell.ask(|reply| Command::Kill { signal, reply }).await
    }
    /// Stops and starts.
    ///
    /// # Errors
    /// As `stop` and `start`, without `NotModified`.
    pub async fn restart(&self, grace: Option<Duration>, signal: Option<&str>) -> Result<()> {
        let signal = signal.filter(|s| !s.is_empty()).map(super::signal::parse).transpose()?;
        self.cell.ask(|reply| Command::Restart { grace, signal, reply }).await
    }
    /// Freezes it.
    ///
    /// # Errors
    /// `Conflict` when it does not run or is paused.
    pub async fn pause(&self) -> Result<()> {
        self.cell.ask(Command::Pause).await
    }
    /// Thaws it.
    ///
    /// # Errors
    /// `Conflict` when it is not paused.
    pub async fn unpause(&self) -> Result<()> {
        self.cell.ask(Command::Unpause).await
    }
    /// Removes it; `caller` is the door that asks.
    ///
    /// # Errors
    /// `Conflict` when it runs and `force` is not set; `Forbidden` when the other door owns it and `force` is not set.
    pub async fn remove(&self, caller: Owner, options: RemoveOptions) -> Result<()> {
        super::remove::check_owner(&self.view(), caller, options)?;
        self.cell.ask(|reply| Command::Remove { options, reply }).await
    }
    /// Gives it another name.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`.
    pub async fn rename(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.cell.ask(|reply| Command::Rename { name, reply }).await
    }
    /// Puts it into one more network, whether it runs or not; it stays in it over restarts.
    ///
    /// # Errors
    /// `NotFound` for the network; `Forbidden` when it is in it already; `InvalidArgument` when its network cannot be
    /// changed (host, none, another container's) or for an address.
    pub async fn connect(&self, endpoint: EndpointSpec) -> Result<()> {
        let endpoint = Box::new(endpoint);
        self.cell.ask(|reply| Command::Connect { endpoint, reply }).await
    }
    /// Takes it out of a network, whether it runs or not.
    ///
    /// # Errors
    /// `NotFound` for the network; `Forbidden` when it is not in it; `InvalidArgument` as for [`Self::connect`].
    pub async fn disconnect(&self, network: &str) -> Result<()> {
        let network = network.to_owned();
        self.cell.ask(|reply| Command::Disconnect { network, reply }).await
    }
    /// Changes limits (only those that are set) and, if given, the restart policy; live.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field; nothing is changed then.
    pub async fn update(&self, resources: Resources, restart: Option<RestartPolicy>) -> Result<()> {
        let resources = Box::new(resources);
        self.cell.ask(|reply| Command::Update { resources, restart, reply }).await
    }
    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize(&self, height: u16, width: u16) -> Result<()> {
        let process = crate::task::ProcessRef::first(self.id());
        self.cell.shim()?.resize(&process, height, width).await?;
        self.event("resize", &[("height", height.to_string()), ("width", width.to_string())]).await;
        Ok(())
    }
    /// Begins to wait at once (before it returns); the future ends when the condition holds.
    pub fn wait(&self, condition: WaitCondition) -> impl Future<Output = Result<WaitOutcome>> + Send + 'static {
        super::wait::begin(&self.cell, condition)
    }
    /// Connects to the first process. On a created container it connects before the start, so that nothing is missed.
    ///
    /// # Errors
    /// `Conflict` when paused or being removed.
    pub async fn attach(&self, options: AttachOptions) -> Result<AttachedIo> {
        super::attach::attach(self, options).await
    }
    /// Tells that a client has let go of it with its detach keys.
    pub async fn note_detach(&self) {
        self.event("detach", &[]).await;
    }
    /// Reads its log.
    ///
    /// # Errors
    /// `NotImplemented` `configured logging driver does not support reading`.
    pub async fn logs(&self, options: LogOptions) -> Result<LogReceiver> {
        crate::logs::read(self, options)
    }
    /// Makes an exec; nothing runs yet.
    ///
    /// # Errors
    /// `Conflict` `container X is not running` / `is paused`.
    pub async fn exec(&self, spec: ExecSpec) -> Result<ExecHandle> {
        super::exec::create(self, spec).await
    }
    /// Runs a command to its end (CRI ExecSync). At the deadline it is killed: `DeadlineExceeded`.
    ///
    /// # Errors
    /// As [`ContainerHandle::exec`].
    pub async fn exec_sync(&self, args: Vec<String>, timeout: Option<Duration>) -> Result<ExecOutput> {
        let spec = ExecSpec { args, stdout: true, stderr: true, ..Default::default() };
        self.exec_output(spec, timeout, self.core.config.limits.exec_sync_bytes_max).await
    }
    /// As [`ContainerHandle::exec_sync`], with everything of an exec to choose.
    pub(crate) async fn exec_output(
        &self,
        spec: ExecSpec,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<ExecOutput> {
        super::exec::run_to_end(self, spec, timeout, limit).await
    }
    /// One sample of its use.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn stats(&self) -> Result<StatsSample> {
        super::stats::sample(self).await
    }
    /// Samples of several containers without their networks, cheaply; `None` for one that has no figures now.
    pub async fn brief_stats(containers: &[Self]) -> Vec<Option<StatsSample>> {
        super::stats::brief(containers).await
    }
    /// Figures of its processes that no cgroup keeps: descriptors, sockets, limits.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn process_figures(&self) -> Result<ProcessFigures> {
        super::process_figures::read(self).await
    }
    /// Its processes, read from /proc; `ps_args` as docker's (`-ef`, `aux`, `-o pid,cmd`).
    ///
    /// # Errors
    /// `Conflict` when it does not run; `InvalidArgument` for unknown columns.
    pub async fn top(&self, ps_args: &str) -> Result<TopTable> {
        let table = super::top::table(self, ps_args).await?;
        self.event("top", &[]).await;
        Ok(table)
    }
    /// What it has changed in its file system, parents before children.
    ///
    /// # Errors
    /// `InvalidArgument` for a tree that is too deep or has too many changes.
    pub async fn changes(&self) -> Result<Vec<Change>> {
        super::changes::changes(self).await
    }
    /// Its root file system as a tar, without volumes.
    ///
    /// # Errors
    /// `Conflict` when it is being removed; later failures end the stream with an error.
    pub async fn export(&self) -> Result<ArchiveStream> {
        let archive = super::commit::export(self).await?;
        self.event("export", &[]).await;
        Ok(archive)
    }
    /// Makes an image of what it is now. Tells of it in an event.
    ///
    /// # Errors
    /// `InvalidArgument` for an instruction; `NotFound` when its image is gone; `Conflict` when it is being removed.
    pub async fn commit(&self, request: CommitRequest) -> Result<ImageId> {
        let comment = request.comment.clone();
        let image = super::commit::commit(self, request).await?;
        self.event("commit", &[("comment", comment), ("imageID", image.to_string())]).await;
        Ok(image)
    }
    /// What `path` in its file system is. A symlink at the end is followed only where the path goes on behind it (`/`).
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a path that goes on behind what is no directory.
    pub async fn stat_path(&self, path: &str) -> Result<PathStat> {
        super::files::stat(self, path).await
    }
    /// What `path` is, with everything below it, as a tar. Works on a container that does not run, too.
    ///
    /// # Errors
    /// As [`ContainerHandle::stat_path`]; later failures end the stream with an error.
    pub async fn read_archive(&self, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let read = super::files::read(self, path).await?;
        self.event("archive-path", &[]).await;
        Ok(read)
    }
    /// Writes a tar (plain, or compressed with gzip, zstd, bzip2 or xz) into the directory `path`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when `path` is no directory or the archive is wrong; `Forbidden` when it is
    /// read-only there.
    pub async fn write_archive(
        &self,
        path: &str,
        archive: impl AsyncRead + Send + Unpin + 'static,
        options: WriteArchive,
    ) -> Result<()> {
        super::files::write(self, path, archive, options).await?;
        self.event("extract-to-dir", &[]).await;
        Ok(())
    }
    /// Opens the log file anew after someone moved it (CRI ReopenContainerLog).
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn reopen_log(&self) -> Result<()> {
        self.cell.shim()?.reopen_log(self.id()).await
    }
}
