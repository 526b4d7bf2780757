//! The end of a process, however it is learned: from the shim, from its record on disk, or not at all.

use std::sync::Arc;

use crate::id::SandboxId;
use crate::task::{ProcessExit, ProcessRef, Shim, TaskRuntime};

/// The exit code of a run whose end nobody saw, as docker has it.
const CODE_LOST: i32 = 255;

/// Waits for the end of a process. A shim that goes away before it answers has usually left a record.
pub(crate) async fn observe(
    runtime: Arc<dyn TaskRuntime>,
    shim: Arc<dyn Shim>,
    sandbox: SandboxId,
    process: ProcessRef,
) -> ProcessExit {
    match shim.wait(&process).await {
        Ok(exit) => exit,
        Err(error) => {
            tracing::warn!(container = %process.container, %error, "the shim is gone before the process's end");
            recorded(runtime.as_ref(), &sandbox, &process).unwrap_or_else(|| lost_exit(&error.to_string()))
        }
    }
}

/// The exit that is recorded on disk.
pub(crate) fn recorded(runtime: &dyn TaskRuntime, sandbox: &SandboxId, process: &ProcessRef) -> Option<ProcessExit> {
    runtime.exit_record(sandbox, process).unwrap_or_else(|error| {
        tracing::warn!(container = %process.container, %error, "an exit record cannot be read");
        None
    })
}

/// The end of a run that nobody saw.
pub(crate) fn lost_exit(why: &str) -> ProcessExit {
    ProcessExit {
        code: CODE_LOST,
        at_ns: shim_api::time::now_unix_ns(),
        oom_killed: false,
        error: format!("the exit of the process was not seen: {why}"),
    }
}
