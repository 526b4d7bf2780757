//! One run of one plugin: what it may take, print and last, and what it says when it fails.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// Bytes that a plugin may answer.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Bytes of its complaints that are kept; the rest is read and dropped.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// Pause before another try to run a program that is being replaced.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// Time for a killed plugin to be gone.
const REAP: Duration = Duration::from_secs(1);
/// Variables of ours that are nobody else's business.
const OWN_VARIABLES: [&str; 5] = ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC"];

/// Codes of the specification for "not now": try again later, not available, limited connectivity.
const NOT_NOW: [u32; 3] = [11, 50, 51];

/// One call of a plugin.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// `ADD`, `DEL`, …
    pub(super) command: &'static str,
    /// Further variables: `CNI_CONTAINERID`, …
    pub(super) variables: &'a [(&'static str, String)],
    /// What it reads.
    pub(super) input: Vec<u8>,
}

/// Where programs are looked for.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) folders: Vec<PathBuf>,
    pub(super) deadline: Duration,
}

impl Programs {
    /// The path of a plugin.
    ///
    /// # Errors
    /// `Unavailable` with the directories: a plugin may still be installed.
    pub(super) fn find(&self, program: &str) -> Result<PathBuf> {
        let found = self.folders.iter().map(|folder| folder.join(program)).find(|path| is_program(path));
        found.ok_or_else(|| {
            let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
            Error::new(ErrorKind::Unavailable, format!("CNI plugin {program:?} is not in {}", folders.join(" or ")))
        })
    }

    /// Runs a plugin to its end and gives what it printed.
    ///
    /// # Errors
    /// The plugin's own words with its code; `DeadlineExceeded` when it was killed for its time.
    pub(super) async fn run(&self, program: &str, call: Call<'_>) -> Result<Vec<u8>> {
        let path = self.find(program)?;
        let named = format!("CNI plugin {program:?} ({})", call.command);
        let end = Instant::now() + self.deadline;
        let mut child = self.start(&path, &call, end).await.map_err(|e| Error::from(e).context(&named))?;
        let outcome = tokio::time::timeout_at(end, converse(&mut child, call.input)).await;
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                kill(child).await;
                return Err(error.context(&named));
            }
            Err(_) => {
                kill(child).await;
                let text = format!("{named} did not end within {} ms", self.deadline.as_millis());
                return Err(Error::new(ErrorKind::DeadlineExceeded, text));
            }
        };
        if outcome.code == Some(0) { Ok(outcome.output) } else { Err(failure(&outcome).context(&named)) }
    }

    async fn start(&self, path: &Path, call: &Call<'_>, end: Instant) -> std::io::Result<Child> {
        let folders = std::env::join_paths(&self.folders).unwrap_or_default();
        loop {
            let mut command = Command::new(path);
            for (name, _) in std::env::vars_os() {
                let ours = name.to_str().is_some_and(|n| n.starts_with("GANTRY_") || OWN_VARIABLES.contains(&n));
                if ours {
                    command.env_remove(name);
                }
            }
            command.env("CNI_COMMAND", call.command).env("CNI_PATH", &folders);
            command.envs(call.variables.iter().map(|(name, value)| (name, value)));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.process_group(0).kill_on_drop(true).current_dir("/");
            match command.spawn() {
                Err(error)
                    if error.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() + BUSY_PAUSE < end =>
                {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => return other,
            }
        }
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

async fn converse(child: &mut Child, input: Vec<u8>) -> Result<Outcome> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // One that does not read its configuration says what is wrong by itself.
            let _unread = stdin.write_all(&input).await;
        }
        Ok(())
    };
    let ((), output, complaint) = tokio::try_join!(feed, whole(stdout), beginning(stderr))?;
    let status = child.wait().await.map_err(|e| Error::from(e).context("wait"))?;
    Ok(Outcome { code: status.code(), output, complaint })
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(stream) = stream else { return Ok(bytes) };
    stream.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(Error::internal(format!("it printed more than {OUTPUT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut stream) = stream else { return Ok(bytes) };
    (&mut stream).take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// Ends it with what it has started.
async fn kill(mut child: Child) {
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, Signal::KILL)
    {
        tracing::warn!(%error, "a CNI plugin could not be killed");
    }
    if tokio::time::timeout(REAP, child.wait()).await.is_err() {
        tracing::warn!("a CNI plugin was killed and has not ended: it hangs in the kernel");
    }
}

/// The error that the specification has plugins print.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Complaint {
    code: u32,
    msg: String,
    details: String,
}

fn failure(outcome: &Outcome) -> Error {
    let said: Complaint = serde_json::from_slice(&outcome.output).unwrap_or_default();
    let kind = if NOT_NOW.contains(&said.code) { ErrorKind::Unavailable } else { ErrorKind::Internal };
    let ended = outcome.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
    // A program that panics says much; its first words tell.
    let stderr = String::from_utf8_lossy(&outcome.complaint);
    let stderr = stderr.trim().lines().next().unwrap_or_default();
    let text = match (said.msg.trim(), stderr) {
        ("", "") => format!("it ended {ended} and said nothing"),
        ("", stderr) => format!("it ended {ended}: {stderr}"),
        (msg, _) if said.details.trim().is_empty() => format!("{msg} (error {})", said.code),
        (msg, _) => format!("{msg}; {} (error {})", said.details.trim(), said.code),
    };
    Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn run(script: &str, deadline_ms: u64) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs { folders: vec![dir.path().to_owned()], deadline: Duration::from_millis(deadline_ms) };
        let call =
            Call { command: "ADD", variables: &[("CNI_IFNAME", "eth0".to_owned())], input: b"{\"a\":1}".to_vec() };
        programs.run("plugin", call).await
    }

    #[tokio::test]
    async fn it_reads_its_input_and_its_variables() {
        let printed = run("cat; echo \"$CNI_COMMAND $CNI_IFNAME\"", 20_000).await.unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "{\"a\":1}ADD eth0\n");
    }

    #[tokio::test]
    async fn its_error_is_told_in_its_words() {
        let error =
            run(r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"no lease","details":"pool empty"}'; exit 1"#, 20_000)
                .await
                .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.to_string(), r#"CNI plugin "plugin" (ADD): no lease; pool empty (error 11)"#);
        let error = run("echo panic >&2; exit 3", 20_000).await.unwrap_err();
        assert!(error.message().ends_with("it ended with code 3: panic"), "{error}");
        let error = run("kill -9 $$", 20_000).await.unwrap_err();
        assert!(error.message().contains("by a signal"), "{error}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let error = run("sleep 1000 & sleep 1000", 200).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.message().contains("200 ms"), "{error}");
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = run("exec yes", 20_000).await.unwrap_err();
        assert!(error.message().contains("printed more than"), "{error}");
        let error = run("yes | head -c 9000000 >&2; exit 1", 20_000).await.unwrap_err();
        assert!(error.message().len() < 8192, "{}", error.message().len());
    }

    #[tokio::test]
    async fn a_missing_one_is_named() {
        let programs = Programs { folders: vec!["/nowhere".into()], deadline: Duration::from_secs(1) };
        let error = programs.find("bridge").unwrap_err();
        assert!(error.message().contains("\"bridge\"") && error.message().contains("/nowhere"), "{error}");
    }
}
