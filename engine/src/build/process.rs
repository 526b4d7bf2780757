//! One command of a build: a container that no record names and no door lists, watched to its end.

use std::sync::Arc;
use std::time::Duration;

use shim_api::options::LogSink;
use tokio_util::sync::CancellationToken;

use crate::container::record::{ContainerRecord, RECORD_VERSION};
use crate::container::state::ContainerState;
use crate::container::{ResolvedProcess, process, start};
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ns;
use crate::id::{ContainerId, ImageId, Owner};
use crate::spec::facts::ResolvedMount;
use crate::spec::{
    ContainerSpec, LogSpec, NamespaceSpec, ProcessSpec, Resources, RestartPolicy, SandboxChoice, SecuritySpec,
};
use crate::task::{AttachWish, ProcessRef, attached_pair, observe};

use super::sandbox::BuildSandbox;
use super::teller::Vertex;

/// How long output is still read after the end of a command: children that it left are killed with it.
const OUTPUT_REST_MAX: Duration = Duration::from_secs(5);

/// A command and everything that it runs with.
#[derive(Debug)]
pub(super) struct BuildProcess {
    /// Also the name of its writable layer.
    pub(super) id: ContainerId,
    /// Stands for the files that it starts from: users are looked up there.
    pub(super) files: ImageId,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) user: String,
    pub(super) mounts: Vec<ResolvedMount>,
    pub(super) resources: Resources,
    pub(super) privileged: bool,
}

/// Runs it; answers its exit code. When it is cancelled the command is killed.
///
/// # Errors
/// What kept it from starting, with an exit code where its program is to blame; `Cancelled`.
pub(super) async fn run(
    core: &Arc<Core>,
    sandbox: &BuildSandbox,
    wanted: BuildProcess,
    vertex: &Vertex,
    cancel: &CancellationToken,
) -> Result<i32> {
    let (id, command) = (wanted.id.clone(), wanted.args.join(" "));
    let record = record(core, sandbox, wanted)?;
    let view = sandbox.cell.view.borrow().clone();
    let shim = &sandbox.up.shim;
    let first = ProcessRef::first(&id);
    let (task, _) = process::new_task(core, &record, view, &sandbox.up, LogSink::Null)?;
    if let Err(error) = shim.create(task).await {
        end(sandbox, &first).await;
        return Err(error);
    }
    let result = watch(core, sandbox, &first, command, vertex, cancel).await;
    end(sandbox, &first).await;
    result
}

/// Nothing of the process is left. A shim that cannot do that is taken down with the build's sandboxes.
async fn end(sandbox: &BuildSandbox, process: &ProcessRef) {
    match start::end_task(sandbox.up.shim.as_ref(), process).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(container = %process.container, %error, "a build's command was not taken away at once");
        }
        _ => {}
    }
}

async fn watch(
    core: &Arc<Core>,
    sandbox: &BuildSandbox,
    first: &ProcessRef,
    command: String,
    vertex: &Vertex,
    cancel: &CancellationToken,
) -> Result<i32> {
    let shim = &sandbox.up.shim;
    let (mut io, ends) = attached_pair(false, false);
    shim.attach(first, AttachWish { stdin: false, stdout: true, stderr: true }, ends).await?;
    vertex.running(first.container.to_string(), command).await?;
    shim.start(first).await?;
    let exit = observe(core.runtime.clone(), Arc::clone(shim), sandbox.cell.id.clone(), first.clone());
    tokio::pin!(exit);
    let ended = loop {
        tokio::select! {
            ended = &mut exit => break ended,
            piece = io.output.recv() => match piece {
                Some((stream, data)) => vertex.log(stream, data).await?,
                None => break tokio::select! {
                    ended = &mut exit => ended,
                    () = cancel.cancelled() => return Err(cancelled()),
                },
            },
            () = cancel.cancelled() => return Err(cancelled()),
        }
    };
    let rest = async {
        while let Some((stream, data)) = io.output.recv().await {
            vertex.log(stream, data).await?;
        }
        Ok::<(), Error>(())
    };
    drop(tokio::time::timeout(OUTPUT_REST_MAX, rest).await);
    if ended.oom_killed && ended.code != 0 {
        tracing::debug!(container = %first.container, "a build's command was killed for its memory limit");
    }
    Ok(ended.code)
}

/// The client has gone, or another step has failed.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the build was cancelled")
}

fn record(core: &Core, sandbox: &BuildSandbox, wanted: BuildProcess) -> Result<ContainerRecord> {
    let (path, args) = match wanted.args.split_first() {
        Some((path, args)) => (path.clone(), args.to_vec()),
        None => return Err(Error::invalid("RUN: no command is given")),
    };
    if wanted.args.iter().chain(&wanted.env).any(|text| text.contains('\0')) {
        return Err(Error::invalid("RUN: the command or its environment contains a NUL byte"));
    }
    let resolved = ResolvedProcess {
        path,
        args,
        entrypoint: Vec::new(),
        cmd: wanted.args,
        env: wanted.env,
        cwd: wanted.cwd,
        user: wanted.user,
        labels: Default::default(),
        stop_signal: String::new(),
        exposed_ports: Vec::new(),
        volumes: Vec::new(),
    };
    let spec = container_spec(sandbox, wanted.resources, wanted.privileged);
    let view = sandbox.cell.view.borrow().clone();
    let etc = core.sandbox_dir(&view.id);
    let etc_path = |name: &str| etc.join(name).to_string_lossy().into_owned();
    Ok(ContainerRecord {
        version: RECORD_VERSION,
        name: String::new(),
        sandbox_id: view.id.clone(),
        image_id: wanted.files,
        resolved: Arc::new(resolved),
        health: None,
        state: ContainerState::Created,
        pid: 0,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        created_ns: now_ns(),
        started_ns: 0,
        finished_ns: 0,
        restart_count: 0,
        stopped_by_user: false,
        mounts: Vec::new(),
        runtime_mounts: wanted.mounts,
        log_path: String::new(),
        etc_paths: (etc_path("resolv.conf"), etc_path("hostname"), etc_path("hosts")),
        cgroup_path: crate::container::create::cgroup_path(core, &view.cgroup_parent, wanted.id.as_str()),
        runs_as: None,
        spec: Arc::new(spec),
        id: wanted.id,
    })
}

fn container_spec(sandbox: &BuildSandbox, resources: Resources, privileged: bool) -> ContainerSpec {
    ContainerSpec {
        owner: Owner::Docker,
        name: String::new(),
        image: String::new(),
        image_display: String::new(),
        platform: String::new(),
        labels: Default::default(),
        annotations: Default::default(),
        sandbox: SandboxChoice::Own(Box::new((*sandbox.spec).clone())),
        process: ProcessSpec { groups_from_image: true, ..ProcessSpec::default() },
        namespaces: NamespaceSpec::default(),
        mounts: Vec::new(),
        image_volumes: false,
        resources,
        security: SecuritySpec { privileged, ..SecuritySpec::default() },
        devices: Vec::new(),
        exposed_ports: Vec::new(),
        cdi_devices: Vec::new(),
        device_cgroup_rules: Vec::new(),
        log: LogSpec::None,
        init: false,
        restart: RestartPolicy::No,
        auto_remove: true,
        stop_signal: String::new(),
        stop_timeout_s: None,
        health: None,
        runtime: String::new(),
        attempt: 0,
        door_document: String::new(),
    }
}
