//! `POST /containers/{id}/exec`: make an exec; `exec/` starts it.

use docker_api::exec::{ExecCreate, IdResponse};
use engine::spec::ExecSpec;
use http::StatusCode;

use crate::call::Call;
use crate::detach_keys;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec;

pub(crate) async fn create(mut call: Call) -> Outcome {
    let wanted: ExecCreate = call.required_json().await?;
    if wanted.cmd.0.is_empty() {
        return Err(Failure::bad_request("No exec command specified"));
    }
    detach_keys::parse(&wanted.detach_keys)?;
    let spec = ExecSpec {
        args: wanted.cmd.0,
        env: wanted.env.unwrap_or_default(),
        cwd: wanted.working_dir,
        user: wanted.user,
        privileged: wanted.privileged,
        tty: wanted.tty,
        stdin: wanted.attach_stdin,
        stdout: wanted.attach_stdout,
        stderr: wanted.attach_stderr,
        detach_keys: wanted.detach_keys,
        console_size: wanted.console_size.map(|size| to_spec::console_size("ConsoleSize", size)).transpose()?.flatten(),
    };
    let exec = call.container()?.exec(spec).await?;
    reply::json(StatusCode::CREATED, &IdResponse { id: exec.id().to_string() })
}
