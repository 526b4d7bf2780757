//! Checkpoints: memory images of running containers, which criu would write. This engine takes none; what is said tells
//! whether this machine could at all.

use std::path::Path;

use crate::container::ContainerHandle;
use crate::error::{Error, Result};
use crate::program;

const CRIU: &str = "criu";
/// Of what criu complains about, so many characters are shown.
const COMPLAINT_CHARS_MAX: usize = 300;

impl ContainerHandle {
    /// Would write a memory image of the container.
    ///
    /// # Errors
    /// Always `NotImplemented`, with the first thing that is in the way: no criu, a criu that cannot work on this
    /// kernel, or only that this engine does not drive it.
    pub async fn checkpoint(&self) -> Result<()> {
        let Some(path) = program::find(Path::new(CRIU)) else {
            return Err(refused("they need criu, which is not on PATH"));
        };
        let check = program::ask(&path, "check").await;
        Err(match check {
            Ok(answer) if answer.success => {
                refused("criu works on this kernel, but this version of the engine does not drive it")
            }
            Ok(answer) => refused(&format!("`criu check` fails on this kernel: {}", complaint(&answer.stderr))),
            Err(error) => refused(&format!("`criu check` cannot be run: {error}")),
        })
    }
}

fn refused(why: &str) -> Error {
    Error::not_implemented(format!("checkpoints are not possible: {why}"))
}

/// PURE. criu's first error: later ones follow from it.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().find(|line| line.contains("Error")).or_else(|| lines.next());
    first.unwrap_or("without a word").chars().take(COMPLAINT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_shown() {
        let said = b"Warn: something\nError (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds\nError: more\n";
        assert_eq!(complaint(said), "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds");
        assert_eq!(complaint(b"\nplain\n"), "plain");
        assert_eq!(complaint(b""), "without a word");
        assert_eq!(complaint(&[b'x'; 9000]).len(), COMPLAINT_CHARS_MAX);
    }
}
