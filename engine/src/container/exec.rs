//! Exec: further processes in a container that runs. Each is called by itself, beside the container's mailbox.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shim_api::options::{ExecOptions, LogSink};
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::container::handle::{Command, ContainerCell};
use crate::container::{
    AttachedIo, ContainerHandle, ContainerView, ExecOutput, ExecView, Phase, Stream, process, signal,
};
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ExecId;
use crate::sandbox::handle::detached;
use crate::spec::{ExecSpec, env};
use crate::task::{AttachEnds, AttachWish, ProcessExit, ProcessRef, Shim, attached_pair};

/// Execs of one container that are kept, running or not.
const EXECS_PER_CONTAINER_MAX: usize = 1000;
/// Time that a terminal's size waits for the process.
const RESIZE_WAIT: Duration = Duration::from_secs(10);
/// Time that output may still come after the end of an exec whose children hold its streams.
const DRAIN: Duration = Duration::from_secs(3);

/// An exec in memory. It ends with its container, or some time after its own end.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: ExecId,
    pub(crate) container: Arc<ContainerCell>,
    spec: ExecSpec,
    state: watch::Sender<ExecState>,
    done: watch::Sender<Option<i32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExecState {
    Created,
    Starting,
    Running { pid: u32 },
    Ended { code: i32, pid: u32 },
}

impl Exec {
    fn state(&self) -> ExecState {
        *self.state.borrow()
    }
    fn set(&self, state: ExecState) {
        self.state.send_replace(state);
    }
    /// From `Created` to `Starting`, once.
    fn claim(&self) -> Result<()> {
        let created = |state: &mut ExecState| {
            let created = *state == ExecState::Created;
            if created {
                *state = ExecState::Starting;
            }
            created
        };
        if self.state.send_if_modified(created) {
            return Ok(());
        }
        Err(Error::conflict(format!("Exec command {} has already run", self.id)))
    }
    fn process(&self) -> ProcessRef {
        ProcessRef { container: self.container.id.clone(), exec: Some(self.id.clone()) }
    }
    fn end(&self, code: i32) {
        let pid = match self.state() {
            ExecState::Running { pid } | ExecState::Ended { pid, .. } => pid,
            ExecState::Created | ExecState::Starting => 0,
        };
        self.set(ExecState::Ended { code, pid });
        self.done.send_replace(Some(code));
    }
}

/// An exec to call.
#[derive(Debug, Clone)]
pub struct ExecHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) exec: Arc<Exec>,
}

impl ExecHandle {
    /// Its id.
    pub fn id(&self) -> &ExecId {
        &self.exec.id
    }
    /// Its view.
    pub fn view(&self) -> ExecView {
        let state = self.exec.state();
        ExecView {
            id: self.exec.id.clone(),
            container_id: self.exec.container.id.clone(),
            spec: self.exec.spec.clone(),
            running: matches!(state, ExecState::Running { .. }),
            started: state != ExecState::Created,
            exit_code: match state {
                ExecState::Ended { code, .. } => Some(code),
                _ => None,
            },
            pid: match state {
                ExecState::Running { pid } | ExecState::Ended { pid, .. } => pid,
                ExecState::Created | ExecState::Starting => 0,
            },
        }
    }
    /// Starts it with its streams connected.
    ///
    /// # Errors
    /// `Conflict` `Exec command X has already run`; an error with `exit_code` 126/127.
    pub async fn start(&self, console_size: Option<(u16, u16)>) -> Result<AttachedIo> {
        let spec = &self.exec.spec;
        let wish = AttachWish { stdin: spec.stdin, stdout: spec.stdout, stderr: spec.stderr && !spec.tty };
        let (io, ends) = attached_pair(spec.tty, spec.stdin);
        self.launch(Some((wish, ends)), console_size).await?;
        Ok(io)
    }
    /// Starts it with nothing connected.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_detached(&self) -> Result<()> {
        self.launch(None, None).await
    }
    /// Sets its terminal's size. Clients send it right behind the start: it waits until the process is there.
    ///
    /// # Errors
    /// `Conflict` when it has ended, or is not started in time.
    pub async fn resize(&self, height: u16, width: u16) -> Result<()> {
        let mut state = self.exec.state.subscribe();
        let there = state.wait_for(|state| matches!(state, ExecState::Running { .. } | ExecState::Ended { .. }));
        match tokio::time::timeout(RESIZE_WAIT, there).await.map(|state| state.map(|state| *state)) {
            Ok(Ok(ExecState::Running { .. })) => {}
            Err(_) => {
                return Err(Error::conflict(format!("exec {} was not started within {RESIZE_WAIT:?}", self.exec.id)));
            }
            Ok(_) => return Err(Error::conflict(format!("exec {} is not running", self.exec.id))),
        }
        self.exec.container.shim()?.resize(&self.exec.process(), height, width).await
    }
    /// Waits for its end.
    ///
    /// # Errors
    /// `Internal` when its exit code is lost.
    pub async fn wait(&self) -> Result<i32> {
        let mut done = self.exec.done.subscribe();
        let code = done.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        code.ok_or_else(|| Error::internal(format!("the exit code of exec {} is lost", self.exec.id)))
    }
    /// Tells that its client has let go of it with its detach keys.
    pub async fn note_detach(&self) {
        self.event("exec_detach", &[]).await;
    }
    /// Tells a process on a terminal that its user has gone (SIGHUP), as a terminal that is closed does.
    ///
    /// # Errors
    /// `Conflict` when its container does not run; `NotFound` when it has ended.
    pub async fn hang_up(&self) -> Result<()> {
        self.exec.container.shim()?.kill(&self.exec.process(), signal::HANGUP, false).await
    }
    /// Sends it SIGKILL.
    ///
    /// # Errors
    /// `Conflict` when its container does not run.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.exec.container.shim()?.kill(&self.exec.process(), signal::KILL, false).await
    }

    async fn launch(&self, streams: Option<(AttachWish, AttachEnds)>, size: Option<(u16, u16)>) -> Result<()> {
        self.exec.claim()?;
        let this = self.clone();
        detached(async move {
            let result = this.run(streams, size).await;
            if let Err(error) = &result {
                this.exec.end(error.exit_code().unwrap_or(126));
                forget_later(&this);
            }
            result
        })
        .await
    }

    /// Makes the process, connects who waits for its output, and lets it go.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn run(&self, streams: Option<(AttachWish, AttachEnds)>, size: Option<(u16, u16)>) -> Result<()> {
        let exec = &self.exec;
        let shim = exec.container.shim()?;
        let process = exec.process();
        let text = oci_process(&self.core, &exec.container.view(), &exec.spec, size.or(exec.spec.console_size))?;
        let options = ExecOptions {
            process: text,
            log: LogSink::Null,
            stdin: exec.spec.stdin && streams.is_some(),
            wait_for_attach: streams.is_some(),
        };
        shim.exec(&process, exec.spec.tty, options).await?;
        let begun = async {
            if let Some((wish, ends)) = streams {
                shim.attach(&process, wish, ends).await?;
            }
            shim.start(&process).await
        };
        let pid = match begun.await {
            Ok(pid) => pid,
            Err(error) => {
                if let Err(left) = shim.delete(&process).await {
                    tracing::debug!(%left, "an exec that could not start was not deleted");
                }
                return Err(error);
            }
        };
        exec.set(ExecState::Running { pid });
        exec.container.execs.lock().unwrap_or_else(PoisonError::into_inner).push(exec.id.clone());
        exec.container.tell(Command::ExecsChanged);
        self.event(&format!("exec_start: {}", exec.spec.args.join(" ")), &[]).await;
        let this = self.clone();
        tokio::spawn(async move { this.see_the_end(shim, process).await }.in_current_span());
        Ok(())
    }

    async fn see_the_end(&self, shim: Arc<dyn Shim>, process: ProcessRef) {
        let sandbox = self.exec.container.view().sandbox_id.clone();
        let exit: ProcessExit =
            crate::task::observe(self.core.runtime.clone(), Arc::clone(&shim), sandbox, process.clone()).await;
        self.exec.container.execs.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.exec.id);
        self.exec.end(exit.code);
        self.exec.container.tell(Command::ExecsChanged);
        self.event("exec_die", &[("exitCode", exit.code.to_string())]).await;
        if let Err(error) = shim.delete(&process).await {
            tracing::debug!(%error, "an exec that ended could not be deleted");
        }
        forget_later(self);
    }

    async fn event(&self, action: &str, more: &[(&str, String)]) {
        let handle = ContainerHandle { core: self.core.clone(), cell: self.exec.container.clone() };
        let mut attributes = vec![("execID", self.exec.id.to_string())];
        attributes.extend(more.iter().cloned());
        handle.event(action, &attributes).await;
    }
}

/// An exec's record stays readable for some time after its end.
fn forget_later(handle: &ExecHandle) {
    let (core, id) = (Arc::downgrade(&handle.core), handle.exec.id.clone());
    let kept = Duration::from_millis(handle.core.config.limits.exec_kept_ms);
    tokio::spawn(async move {
        tokio::time::sleep(kept).await;
        if let Some(core) = core.upgrade() {
            core.execs.remove(&id);
        }
    });
}

fn oci_process(
    core: &Core,
    view: &ContainerView,
    wanted: &ExecSpec,
    size: Option<(u16, u16)>,
) -> Result<Box<serde_json::value::RawValue>> {
    let mut spec = (*view.spec).clone();
    spec.process.tty = wanted.tty;
    spec.security.privileged |= wanted.privileged;
    let mut resolved = (*view.resolved).clone();
    let mut args = wanted.args.iter().cloned();
    resolved.path = args.next().unwrap_or_default();
    resolved.args = args.collect();
    resolved.env = env::environment(&view.resolved.env, &wanted.env)?;
    if !wanted.cwd.is_empty() {
        resolved.cwd.clone_from(&wanted.cwd);
    }
    if !wanted.user.is_empty() {
        resolved.user.clone_from(&wanted.user);
    }
    let user = process::resolve_user(core, &view.id, view.image_id, &spec.process, &resolved.user)?;
    let hostname = core.sandboxes.get(&view.sandbox_id).and_then(|s| s.up()).map(|up| up.hostname.clone());
    let mut built = process::for_exec(core, &spec, &resolved, &user, hostname.unwrap_or_default())?;
    if let Some((height, width)) = size.filter(|_| wanted.tty) {
        let console = oci_spec::runtime::BoxBuilder::default().height(height).width(width).build();
        built.set_console_size(Some(console.map_err(|e| Error::internal("encode an exec").with_source(e))?));
    }
    serde_json::value::to_raw_value(&built).map_err(|e| Error::internal("encode an exec").with_source(e))
}

/// Makes an exec; nothing runs yet.
pub(crate) async fn create(container: &ContainerHandle, spec: ExecSpec) -> Result<ExecHandle> {
    let id = container.id();
    match container.view().phase {
        Phase::Running => {}
        Phase::Paused => {
            return Err(Error::conflict(format!("container {id} is paused, unpause the container before exec")));
        }
        Phase::Restarting => {
            return Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")));
        }
        _ => return Err(Error::conflict(format!("container {id} is not running"))),
    }
    if spec.args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("No exec command specified"));
    }
    if spec.args.iter().chain(&spec.env).any(|text| text.contains('\0')) {
        return Err(Error::invalid("exec: an argument contains a NUL byte"));
    }
    if container.core.execs_of(id) >= EXECS_PER_CONTAINER_MAX {
        let what = format!("container {id} has {EXECS_PER_CONTAINER_MAX} execs already");
        return Err(Error::new(ErrorKind::ResourceExhausted, what));
    }
    let exec = Arc::new(Exec {
        id: ExecId::random(),
        container: Arc::clone(&container.cell),
        spec,
        state: watch::Sender::new(ExecState::Created),
        done: watch::Sender::new(None),
    });
    container.core.execs.insert(exec.id.clone(), Arc::clone(&exec));
    let handle = ExecHandle { core: Arc::clone(&container.core), exec };
    handle.event(&format!("exec_create: {}", handle.exec.spec.args.join(" ")), &[]).await;
    Ok(handle)
}

/// Runs a command to its end and gives its output, `limit` bytes of each stream at most.
pub(crate) async fn run_to_end(
    container: &ContainerHandle,
    spec: ExecSpec,
    timeout: Option<Duration>,
    limit: usize,
) -> Result<ExecOutput> {
    let shown = spec.args.join(" ");
    let handle = create(container, spec).await?;
    let io = handle.start(None).await?;
    let collected = async {
        let collecting = tokio::spawn(collect(io, limit));
        let exit_code = handle.wait().await?;
        let abort = collecting.abort_handle();
        let (stdout, stderr) = match tokio::time::timeout(DRAIN, collecting).await {
            Ok(joined) => joined.map_err(|e| Error::internal("collect output").with_source(e))?,
            Err(_elapsed) => {
                abort.abort();
                let what = format!("exec {shown:?} ended, but its output is held open by other processes");
                return Err(Error::new(ErrorKind::DeadlineExceeded, what));
            }
        };
        Ok(ExecOutput { stdout, stderr, exit_code })
    };
    let Some(timeout) = timeout.filter(|t| !t.is_zero()) else { return collected.await };
    match tokio::time::timeout(timeout, collected).await {
        Ok(output) => output,
        Err(_elapsed) => {
            if let Err(error) = handle.kill().await {
                tracing::warn!(%error, "an exec that took too long could not be killed");
            }
            let what = format!("command {shown:?} timed out: timeout {timeout:?} exceeded");
            Err(Error::new(ErrorKind::DeadlineExceeded, what))
        }
    }
}

/// Reads all output; what is beyond `limit` bytes of a stream is dropped, so that the process is not held up.
pub(crate) async fn collect(mut io: AttachedIo, limit: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((stream, piece)) = io.output.recv().await {
        let kept = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        let room = limit.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    (stdout, stderr)
}
