//! ExecSync.

use std::time::Duration;

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::status_code;

/// Runs a command to its end; at the timeout (seconds, 0 = none) it is killed and the answer is DeadlineExceeded.
pub(crate) async fn exec_sync(engine: &Engine, request: cri::ExecSyncRequest) -> Result<cri::ExecSyncResponse, Status> {
    if request.cmd.is_empty() {
        return Err(Status::invalid_argument("cmd is empty"));
    }
    let timeout = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let container = super::find(engine, &request.container_id)?;
    let output = container.exec_sync(request.cmd, timeout).await.map_err(|e| status_code::status(&e))?;
    Ok(cri::ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.exit_code })
}
