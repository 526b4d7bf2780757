//! `/exec/{id}`: start, inspect, resize.

use base64::Engine as _;
use docker_api::exec::{ExecInspect, ExecStart, ProcessConfig};
use engine::container::{ExecView, Phase};
use http::StatusCode;

use crate::call::Call;
use crate::containers::lifecycle::terminal_size;
use crate::detach_keys;
use crate::hijack::{self, Peer, Talk};
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec;

pub(crate) async fn start(mut call: Call) -> Outcome {
    let wanted: ExecStart = call.json().await?.unwrap_or_default();
    let exec = call.engine().exec(call.name())?;
    let view = exec.view();
    if wanted.detach {
        exec.start_detached().await?;
        return Ok(reply::empty(StatusCode::OK));
    }
    let size = wanted.console_size.map(|size| to_spec::console_size("ConsoleSize", size)).transpose()?.flatten();
    if size.is_some() && !view.spec.tty {
        return Err(Failure::bad_request("console size is only supported when TTY is enabled"));
    }
    let keys = detach_keys::parse(&view.spec.detach_keys)?;
    if view.started {
        return Err(Failure::new(StatusCode::CONFLICT, format!("Error: Exec command {} has already run", view.id)));
    }
    let container = call.engine().container(view.container_id.as_str())?.view();
    if container.phase != Phase::Running {
        let state = if container.phase == Phase::Paused {
            "is paused, unpause the container before exec"
        } else {
            "is not running"
        };
        return Err(Failure::new(StatusCode::CONFLICT, format!("container {} {state}", container.id)));
    }
    let tty = view.spec.tty;
    let kind = hijack::content_type(call.version, tty);
    let talk = Talk { tty, detach_keys: tty.then_some(keys) };
    hijack::take_over(call, kind, true, Peer::Exec(exec, size), talk).await
}

pub(crate) async fn inspect(call: Call) -> Outcome {
    let view = call.engine().exec(call.name())?.view();
    reply::ok(&inspect_view(&view))
}

fn inspect_view(view: &ExecView) -> ExecInspect {
    let (entrypoint, arguments) = view
        .spec
        .args
        .split_first()
        .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    let keys = detach_keys::parse(&view.spec.detach_keys).unwrap_or_default();
    ExecInspect {
        id: view.id.to_string(),
        running: view.running,
        exit_code: view.exit_code,
        process_config: ProcessConfig {
            tty: view.spec.tty,
            entrypoint,
            arguments,
            privileged: view.spec.privileged,
            user: view.spec.user.clone(),
        },
        open_stdin: view.spec.stdin,
        open_stderr: view.spec.stderr,
        open_stdout: view.spec.stdout,
        can_remove: false,
        container_id: view.container_id.to_string(),
        detach_keys: base64::engine::general_purpose::STANDARD.encode(keys),
        pid: view.pid,
    }
}

pub(crate) async fn resize(call: Call) -> Outcome {
    let (height, width) = terminal_size(&call.query)?;
    call.engine().exec(call.name())?.resize(height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}
