//! The census, live: what exists on this machine by the engine's doing that no record owns. Nothing is removed here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::netlink::{self, Protocol, Socket};

use crate::engine::Engine;
use crate::id::ContainerId;
use crate::sandbox::SandboxPhase;

/// What is being made is on its way to its record: only what is still there after this time is told.
const SETTLE: Duration = Duration::from_millis(500);
/// Length of an id in names of cgroups and directories.
const ID_LEN: usize = 64;

/// Something that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leak {
    /// What it is: `shim`, `writable layer`, `directory`, `cgroup`, `interface`, `CNI attachment`, `sandbox`.
    pub kind: &'static str,
    /// Its id, name or path.
    pub name: String,
    /// What is known of it, in words; may be empty.
    pub detail: String,
}

impl Engine {
    /// Looks twice, and tells what was there both times.
    ///
    /// # Errors
    /// When the work ended before its time.
    pub async fn leaks(&self) -> crate::Result<Vec<Leak>> {
        let first = self.unowned().await?;
        if first.is_empty() {
            return Ok(first);
        }
        tokio::time::sleep(SETTLE).await;
        let second: HashSet<Leak> = self.unowned().await?.into_iter().collect();
        let mut leaks: Vec<Leak> = first.into_iter().filter(|leak| second.contains(leak)).collect();
        leaks.sort();
        Ok(leaks)
    }

    async fn unowned(&self) -> crate::Result<Vec<Leak>> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || this.look()).await;
        looked.map_err(|e| crate::Error::internal("the census ended early").with_source(e))?
    }

    fn look(&self) -> crate::Result<Vec<Leak>> {
        let core = self.core();
        let sandboxes = self.sandboxes();
        let ids: HashSet<String> = sandboxes
            .iter()
            .map(|view| view.id.to_string())
            .chain(self.containers().iter().map(|view| view.id.to_string()))
            .collect();
        let mut leaks = Vec::new();
        let mut tell = |kind, name: String, detail: &str| {
            leaks.push(Leak { kind, name, detail: detail.to_owned() });
        };
        for id in core.runtime.traces()?.iter().filter(|id| !ids.contains(id.as_str())) {
            tell("shim", id.to_string(), "a bundle in the run directory whose sandbox has no record");
        }
        for snapshot in core.snapshots.list() {
            let key = snapshot.key.as_str();
            if key.parse::<ContainerId>().is_ok() && !ids.contains(key) {
                tell("writable layer", key.to_owned(), "its container has no record");
            }
        }
        for parent in ["containers", "sandboxes"] {
            for path in unowned_directories(&core.config.root.join(parent), &ids) {
                tell("directory", path.display().to_string(), "its object has no record");
            }
        }
        for path in unowned_cgroups(&core.config.cgroup_parent, &ids) {
            tell("cgroup", path.display().to_string(), "its container has no record");
        }
        for name in self.unowned_interfaces()? {
            tell("interface", name, "on a bridge of ours, and no endpoint has it");
        }
        for id in core.pod_network.attached().iter().filter(|id| !ids.contains(id.as_str())) {
            tell("CNI attachment", id.to_string(), "its sandbox has no record; DEL is tried again");
        }
        for view in sandboxes.iter().filter(|view| view.phase == SandboxPhase::Stopping && !view.error.is_empty()) {
            tell("sandbox", view.id.to_string(), &format!("cannot be taken down yet: {}", view.error));
        }
        Ok(leaks)
    }

    /// Ports of our bridges that no endpoint names.
    fn unowned_interfaces(&self) -> crate::Result<Vec<String>> {
        let networks = self.networks().list();
        let known: HashSet<&str> =
            networks.iter().flat_map(|network| &network.endpoints).map(|e| e.host_interface.as_str()).collect();
        let links = Socket::open(Protocol::Route, 0).and_then(|mut socket| netlink::list_links(&mut socket));
        let links = links.map_err(|e| crate::Error::internal("list links").with_source(e))?;
        let is_ours = |name: &str| networks.iter().any(|network| network.bridge.as_deref() == Some(name));
        let bridges: HashSet<u32> = links.iter().filter(|link| is_ours(&link.name)).map(|link| link.index).collect();
        let ports = links.into_iter().filter(|link| link.master.is_some_and(|master| bridges.contains(&master)));
        Ok(ports.map(|link| link.name).filter(|name| !known.contains(name.as_str())).collect())
    }
}

/// The id in the name of a directory or cgroup (`<id>`, `gantry-<id>.scope`), if there is one.
fn id_in(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let id = stem.get(stem.len().checked_sub(ID_LEN)?..)?;
    id.parse::<ContainerId>().is_ok().then_some(id)
}

fn unowned_directories(parent: &Path, ids: &HashSet<String>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let unowned = entries.filter(|entry| {
        let name = entry.file_name();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_directory && name.to_str().and_then(id_in).is_some_and(|id| !ids.contains(id))
    });
    unowned.map(|entry| entry.path()).collect()
}

/// Below the engine's own parent, in whatever hierarchies exist.
fn unowned_cgroups(parent: &str, ids: &HashSet<String>) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let parent = parent.trim_start_matches('/');
    let hierarchies = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = hierarchies
        .filter(|path| !path.is_symlink())
        .chain([top.to_owned()])
        .flat_map(|hierarchy| unowned_directories(&hierarchy.join(parent), ids))
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_unknown_ids_are_unowned() {
        let dir = tempfile::tempdir().unwrap();
        let (known, unknown) = (ContainerId::random(), ContainerId::random());
        for name in [known.as_str(), unknown.as_str(), &format!("gantry-{unknown}.scope"), "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join(ContainerId::random().as_str()), "a file").unwrap();
        let ids = [known.to_string()].into();
        assert_eq!(unowned_directories(dir.path(), &ids).len(), 2);
        assert!(unowned_directories(&dir.path().join("absent"), &ids).is_empty());
        assert_eq!(id_in("é"), None);
    }
}
