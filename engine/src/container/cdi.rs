//! Reading the node's CDI files, and adding to a container what its devices need. They are written by the node's
//! device drivers, as trusted as this engine's own configuration.

use std::path::Path;

use oci_spec::runtime::{Hook, HookBuilder, Hooks, Spec};

use crate::config::CDI_DIRS;
use crate::container::ResolvedProcess;
use crate::error::{Error, Result};
use crate::spec::cdi::{self, CdiFile, CdiHook, CdiMount, Edits};
use crate::spec::facts::{DeviceNode, ResolvedMount};
use crate::spec::{DeviceSpec, Propagation};

/// Files that are read of one directory.
const FILES_MAX: usize = 256;
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the named devices need; nothing without names.
pub(crate) fn edits(names: &[String]) -> Result<Edits> {
    if names.is_empty() {
        return Ok(Edits::default());
    }
    let files: Vec<CdiFile> = CDI_DIRS.iter().flat_map(|dir| read_dir(Path::new(dir))).collect();
    cdi::edits(&files, names)
}

/// The files of a directory, in the order of their names. One that cannot be understood is passed over: it may be
/// about other devices.
fn read_dir(dir: &Path) -> Vec<CdiFile> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_cdi = |path: &Path| path.extension().is_some_and(|e| e == "json" || e == "yaml");
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| is_cdi(path)).collect();
    paths.sort();
    let files = paths.iter().take(FILES_MAX).filter_map(|path| match read(path) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a CDI file is passed over");
            None
        }
    });
    files.collect()
}

fn read(path: &Path) -> Result<CdiFile> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(Error::invalid(format!("it is not a file of at most {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path)?;
    let wrong = |error: String| Error::invalid(error);
    if path.extension().is_some_and(|e| e == "yaml") {
        serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))
    } else {
        serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))
    }
}

/// The device nodes of the edits, as found on the host.
pub(crate) fn nodes(edits: &Edits) -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::with_capacity(edits.device_nodes.len());
    for asked in &edits.device_nodes {
        let host_path = if asked.host_path.is_empty() { &asked.path } else { &asked.host_path };
        let device = DeviceSpec {
            host_path: host_path.clone(),
            container_path: asked.path.clone(),
            permissions: asked.permissions.clone(),
        };
        for mut node in super::process::asked_devices(&[device])? {
            node.mode = asked.file_mode.unwrap_or(node.mode) & 0o7777;
            node.uid = asked.uid.unwrap_or(node.uid);
            node.gid = asked.gid.unwrap_or(node.gid);
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// The mounts of the edits.
pub(crate) fn mounts(edits: &Edits) -> impl Iterator<Item = ResolvedMount> + '_ {
    edits.mounts.iter().map(|asked: &CdiMount| {
        let is = |word: &str| asked.options.iter().any(|option| option == word);
        let own = ["ro", "rw", "rro", "bind", "rbind", "private", "rprivate"];
        let (readonly, recursive_readonly) = (is("ro") || is("rro"), is("rro"));
        ResolvedMount {
            target: asked.container_path.clone(),
            kind: if asked.kind.is_empty() { "bind".to_owned() } else { asked.kind.clone() },
            source: asked.host_path.clone(),
            options: asked.options.iter().filter(|option| !own.contains(&option.as_str())).cloned().collect(),
            readonly,
            recursive_readonly,
            non_recursive: is("bind") && !is("rbind"),
            propagation: Propagation::Rprivate,
            id_maps: None,
        }
    })
}

/// The process with the edits' environment; a variable that is there already is replaced.
pub(crate) fn process(process: &ResolvedProcess, edits: &Edits) -> ResolvedProcess {
    let mut process = process.clone();
    for entry in &edits.env {
        let key = entry.split_once('=').map_or(entry.as_str(), |(key, _)| key);
        process.env.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != key));
        process.env.push(entry.clone());
    }
    process
}

/// Adds the edits' hooks.
///
/// # Errors
/// `InvalidArgument` for a hook that the runtime spec does not know.
pub(crate) fn add_hooks(spec: &mut Spec, edits: &Edits) -> Result<()> {
    if edits.hooks.is_empty() {
        return Ok(());
    }
    let mut hooks: Hooks = spec.hooks().clone().unwrap_or_default();
    for asked in &edits.hooks {
        let made = hook(asked)?;
        let more = |list: &Option<Vec<Hook>>| Some(list.iter().flatten().cloned().chain([made.clone()]).collect());
        match asked.hook_name.as_str() {
            "createRuntime" => hooks.set_create_runtime(more(hooks.create_runtime())),
            "createContainer" => hooks.set_create_container(more(hooks.create_container())),
            "startContainer" => hooks.set_start_container(more(hooks.start_container())),
            "poststart" => hooks.set_poststart(more(hooks.poststart())),
            "poststop" => hooks.set_poststop(more(hooks.poststop())),
            other => return Err(Error::invalid(format!("a CDI device asks for an unknown hook {other:?}"))),
        };
    }
    spec.set_hooks(Some(hooks));
    Ok(())
}

fn hook(asked: &CdiHook) -> Result<Hook> {
    let mut builder = HookBuilder::default().path(&asked.path).args(asked.args.clone()).env(asked.env.clone());
    if let Some(timeout) = asked.timeout {
        builder = builder.timeout(timeout);
    }
    builder.build().map_err(|error| Error::internal("a CDI hook").with_source(error))
}
