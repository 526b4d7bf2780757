//! Hooks (runtime-spec, "POSIX-platform Hooks"): programs that get the container's state on their standard input.

use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::json;
use sys::pidfd::PidFd;
use sys::spawn::Program;

use crate::oci::{Hook, Spec};
use crate::reaper::Reaper;
use crate::runtime::{Failure, Result};

/// For hooks that have no timeout of their own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The state that hooks are given.
pub(super) fn state(spec: &Spec, id: &str, bundle: &std::path::Path, status: &str, pid: i32) -> Vec<u8> {
    let version = if spec.oci_version.is_empty() { "1.2.0" } else { &spec.oci_version };
    let state = json!({
        "ociVersion": version, "id": id, "status": status, "pid": pid, "bundle": bundle,
        "annotations": spec.annotations,
    });
    state.to_string().into_bytes()
}

fn start(hook: &Hook, state: &[u8]) -> io::Result<i32> {
    let (read, mut write) = io::pipe()?;
    let mut program = Program::new(&hook.path).stdin(read.into());
    let mut args = hook.args.iter();
    if let Some(name) = args.next() {
        program = program.argv0(name);
    }
    program = program.args(args);
    for (name, value) in hook.env.iter().filter_map(|entry| entry.split_once('=')) {
        program = program.env(name, value);
    }
    let pid = program.start()?;
    // A state is far below a pipe's size, so that this does not wait; a hook that does not read is fine.
    let _ = write.write_all(state);
    Ok(pid)
}

fn timeout(hook: &Hook) -> Duration {
    hook.timeout.map_or(TIMEOUT_DEFAULT, Duration::from_secs)
}

fn failed(kind: &str, hook: &Hook, why: impl std::fmt::Display) -> Failure {
    Failure::new("hook", format!("{kind} hook {}: {why}", hook.path.display()))
}

/// Runs hooks in the shim's namespaces, one after the other; the first that fails ends it.
pub(super) async fn run_outside(kind: &str, hooks: &[Hook], state: &[u8], reaper: &Reaper) -> Result<()> {
    for hook in hooks {
        let pid = start(hook, state).map_err(|e| failed(kind, hook, e))?;
        let pidfd = PidFd::open(pid);
        let exit = tokio::time::timeout(timeout(hook), reaper.watch(pid)).await;
        match exit {
            Ok(Ok(exit)) if exit.status == 0 => {}
            Ok(Ok(exit)) => return Err(failed(kind, hook, format!("exit status {}", exit.status))),
            Ok(Err(_dropped)) => return Err(failed(kind, hook, "lost")),
            Err(_elapsed) => {
                if let Ok(pidfd) = pidfd {
                    let _ = pidfd.send_signal(libc::SIGKILL);
                }
                return Err(failed(kind, hook, format!("no end within {:?}", timeout(hook))));
            }
        }
    }
    Ok(())
}

/// Runs hooks in the calling process's namespaces, waiting for each: for the child.
pub(super) fn run_inside(kind: &str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    for hook in hooks {
        let about = |e: io::Error| failed(kind, hook, e);
        let pid = start(hook, state).map_err(about)?;
        let pidfd = PidFd::open(pid).map_err(about)?;
        if !pidfd.wait_end(timeout(hook)).map_err(about)? {
            let _ = pidfd.send_signal(libc::SIGKILL);
            let _ = pidfd.reap();
            return Err(failed(kind, hook, format!("no end within {:?}", timeout(hook))));
        }
        match pidfd.reap().map_err(about)? {
            0 => {}
            status => return Err(failed(kind, hook, format!("exit status {status}"))),
        }
    }
    Ok(())
}
