//! What each runtime handler can do, as far as it says so: the built-in one is known, OCI programs are asked with their
//! `features` command (runtime-spec, features.md), and who does not answer can do nothing special.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::Value;

use crate::config::{EngineConfig, RuntimeConfig};
use crate::program;

/// What a handler can do beyond what every handler can (CRI `RuntimeHandlerFeatures`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandlerFeatures {
    /// Bind mounts that are read-only with all mounts below them.
    pub recursive_read_only_mounts: bool,
    /// Pods with user namespaces, whose volumes are id-mapped.
    pub user_namespaces: bool,
}

/// A program's file as it was when it was asked: another one is asked again.
type Asked = (Option<(SystemTime, u64)>, HandlerFeatures);

/// The answers so far.
#[derive(Debug, Default)]
pub(crate) struct KnownFeatures(Mutex<BTreeMap<PathBuf, Asked>>);

impl KnownFeatures {
    /// The features of all handlers by name.
    pub(crate) async fn all(&self, config: &EngineConfig) -> BTreeMap<String, HandlerFeatures> {
        let kernel = of_kernel();
        let mut all = BTreeMap::new();
        for (name, runtime) in &config.runtimes {
            let own = match runtime {
                RuntimeConfig::Builtin => kernel,
                RuntimeConfig::Oci { path } => self.of_program(path).await.and(kernel),
                // containerd's protocol has no question for it that shims of all ages answer.
                RuntimeConfig::Shim { .. } => HandlerFeatures::default(),
            };
            all.insert(name.clone(), own);
        }
        all
    }

    async fn of_program(&self, path: &Path) -> HandlerFeatures {
        let Some(path) = program::find(path) else { return HandlerFeatures::default() };
        let now = std::fs::metadata(&path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
        if let Some((_, features)) = known.filter(|(then, _)| *then == now) {
            return features;
        }
        let features = ask(&path).await;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, (now, features));
        features
    }
}

impl HandlerFeatures {
    const fn and(self, other: Self) -> Self {
        Self {
            recursive_read_only_mounts: self.recursive_read_only_mounts && other.recursive_read_only_mounts,
            user_namespaces: self.user_namespaces && other.user_namespaces,
        }
    }
}

/// What the kernel lets the built-in runtime do.
fn of_kernel() -> HandlerFeatures {
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    HandlerFeatures {
        recursive_read_only_mounts: true,
        user_namespaces: limit.trim().parse::<u64>().is_ok_and(|most| most > 0),
    }
}

/// Asks a program; one that has no `features` command, or hangs, can do nothing special.
async fn ask(path: &Path) -> HandlerFeatures {
    match program::ask(path, "features").await {
        Ok(answer) if answer.success => told(&answer.stdout),
        Ok(_) => HandlerFeatures::default(),
        Err(error) => {
            tracing::warn!(program = %path.display(), %error, "a runtime does not say what it can do");
            HandlerFeatures::default()
        }
    }
}

/// PURE. What the answer of `features` means.
fn told(text: &[u8]) -> HandlerFeatures {
    let Ok(document) = serde_json::from_slice::<Value>(text) else { return HandlerFeatures::default() };
    let has = |pointer: &str, word: &str| {
        document.pointer(pointer).and_then(Value::as_array).is_some_and(|list| list.iter().any(|one| one == word))
    };
    let id_maps = document.pointer("/linux/mountExtensions/idmap/enabled").and_then(Value::as_bool);
    HandlerFeatures {
        recursive_read_only_mounts: has("/mountOptions", "rro"),
        user_namespaces: id_maps == Some(true) && has("/linux/namespaces", "user"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_answer() {
        // runc 1.1 (Debian 12) knows rro but no id-mapped mounts; runc 1.2 knows both.
        let old = br#"{"ociVersionMax":"1.0.2-dev","mountOptions":["ro","rro"],"linux":{"namespaces":["user","pid"]}}"#;
        let new =
            br#"{"mountOptions":["rro"],"linux":{"namespaces":["user"],"mountExtensions":{"idmap":{"enabled":true}}}}"#;
        let both = HandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true };
        assert_eq!(told(old), HandlerFeatures { user_namespaces: false, ..both });
        assert_eq!(told(new), both);
        for wrong in [&b""[..], b"[]", b"{}", b"{\"mountOptions\":7}"] {
            assert_eq!(told(wrong), HandlerFeatures::default());
        }
    }

    #[tokio::test]
    async fn one_that_has_no_such_command_can_do_nothing_special() {
        assert_eq!(ask(Path::new("/bin/false")).await, HandlerFeatures::default());
        assert_eq!(ask(Path::new("/nonexistent")).await, HandlerFeatures::default());
    }
}
