//! `--security-opt`, `--cap-add`, `--cap-drop`.

use std::io::Read;

use docker_api::container::StrSlice;

use crate::error::{Error, Result, open_file, reason};

/// A seccomp profile may have this many bytes.
const PROFILE_BYTES_MAX: u64 = 4 << 20;

/// The options for the daemon.
#[derive(Debug, Default)]
pub(crate) struct Security {
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: no path is masked or read-only.
    pub(crate) unmasked: bool,
}

/// Reads every `--security-opt`; a seccomp profile is read from its file and sent whole.
pub(crate) fn options(list: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for text in list {
        if text == "systempaths=unconfined" {
            security.unmasked = true;
            continue;
        }
        let Some((name, value)) = text.split_once('=').or_else(|| text.split_once(':')) else {
            if text != "no-new-privileges" {
                return Err(Error::message(format!("Invalid --security-opt: {text:?}")));
            }
            security.options.push(text.clone());
            continue;
        };
        if name == "seccomp" && value != "unconfined" && value != "builtin" {
            security.options.push(format!("seccomp={}", profile(value)?));
        } else {
            security.options.push(text.clone());
        }
    }
    Ok(security)
}

fn profile(path: &str) -> Result<String> {
    let fail = |reason: String| Error::message(format!("opening seccomp profile ({path}) failed: {reason}"));
    let file = open_file(path).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    file.take(PROFILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| fail(reason(&error)))?;
    if text.len() as u64 > PROFILE_BYTES_MAX {
        return Err(fail(format!("more than {PROFILE_BYTES_MAX} bytes")));
    }
    let profile: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::message(format!("compacting json for seccomp profile ({path}) failed: {error}")))?;
    Ok(profile.to_string())
}

/// Full names, sorted, each once; `ALL` swallows the others; what is added is not dropped.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> (Option<StrSlice>, Option<StrSlice>) {
    let add = normalized(add);
    let mut drop = normalized(drop);
    drop.retain(|name| name == "ALL" || !add.contains(name));
    let some = |list: Vec<String>| Some(StrSlice(list)).filter(|list| !list.0.is_empty());
    (some(add), some(drop))
}

fn normalized(list: &[String]) -> Vec<String> {
    let mut names: Vec<String> = list
        .iter()
        .map(|name| {
            let name = name.trim().to_uppercase();
            if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
        })
        .collect();
    names.sort();
    names.dedup();
    if names.iter().any(|name| name == "ALL") {
        return vec!["ALL".to_owned()];
    }
    names
}
