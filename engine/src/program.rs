//! Programs of the host that are asked something: found, run for a while, and heard.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// For a program to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of each of its outputs that are read; one that says more is ended.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What a program said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// It ended with 0.
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The file of a program that is given by path, or by a name that `PATH` has.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(runs);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(runs)
}

/// Runs a program to its end.
///
/// # Errors
/// Those of its start; `TimedOut` when it was killed for its time.
pub(crate) async fn ask(path: &Path, argument: &str) -> std::io::Result<Answer> {
    let mut command = tokio::process::Command::new(path);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).current_dir("/");
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer = async {
        let (stdout, stderr) = tokio::try_join!(heard(stdout), heard(stderr))?;
        Ok(Answer { success: child.wait().await?.success(), stdout, stderr })
    };
    tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_elapsed| {
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no end within {ANSWER_MAX:?}")))
    })
}

async fn heard(output: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(output) = output {
        output.take(ANSWER_BYTES_MAX).read_to_end(&mut text).await?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_path_and_by_name() {
        assert!(find(Path::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find(Path::new("/nonexistent/runc")), None);
        assert_eq!(find(Path::new("/etc/passwd")), None);
    }

    #[tokio::test]
    async fn both_outputs_are_heard() {
        let answer = ask(Path::new("/bin/ls"), "/nonexistent").await.unwrap();
        assert!(!answer.success && answer.stdout.is_empty());
        assert!(String::from_utf8_lossy(&answer.stderr).contains("/nonexistent"));
        assert_eq!(ask(Path::new("/bin/echo"), "word").await.unwrap().stdout, b"word\n");
    }
}
