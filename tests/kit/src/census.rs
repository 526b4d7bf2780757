//! The leak census: everything an engine can leave behind, as a value that is equal before and after.
//!
//! Names that differ from run to run (ids, inode numbers, pids) are folded, so that what is compared is what kinds of
//! things exist and how many of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::command::run_with;
use crate::world::{World, cgroup_directories};

/// The category of the daemon's open descriptors.
const DESCRIPTOR: &str = "descriptor of the daemon";

/// Counted things, by category and name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    counts: BTreeMap<(&'static str, String), usize>,
}

impl Census {
    /// Counts everything that belongs to `world`, and what of it shows on the host.
    pub fn take(world: &World) -> Self {
        let mut census = Self::default();
        census.host_mounts(world);
        census.world_mounts(world);
        census.processes(world);
        census.network(world);
        census.unix_sockets(world);
        census.cgroups(world);
        census.directories("root", &world.root());
        let run = format!("/proc/{}/root/run", world.init());
        census.directories("run", Path::new(&run));
        census.loop_devices(world);
        census
    }

    fn add(&mut self, category: &'static str, name: impl Into<String>) {
        *self.counts.entry((category, name.into())).or_default() += 1;
    }

    /// Only what any engine must give back at once. dockerd keeps files, descriptors and namespaces and sweeps later.
    #[must_use]
    pub fn of_the_kernel(&self) -> Self {
        const KERNEL: [&str; 5] = ["cgroup", "link", "loop device", "mount on the host", "process"];
        let kept = self.counts.iter().filter(|((category, _), _)| KERNEL.contains(category));
        Self { counts: kept.map(|(key, count)| (key.clone(), *count)).collect() }
    }

    /// What differs from `self` to `after`, one line each; empty when nothing does.
    pub fn difference(&self, after: &Self) -> String {
        let mut lines = String::new();
        let keys: std::collections::BTreeSet<_> = self.counts.keys().chain(after.counts.keys()).collect();
        for key in keys {
            let count = |census: &Self| census.counts.get(key).copied().unwrap_or(0);
            let (was, is) = (count(self), count(after));
            // A descriptor that is gone (a client's connection that was open before) is no leak; one more is.
            let fewer_is_well = key.0 == DESCRIPTOR && is < was;
            if was != is && !fewer_is_well {
                lines.push_str(&format!("  {}: {} — {was} before, {is} now\n", key.0, key.1));
            }
        }
        lines
    }

    /// How many things of a category have a name that contains `part`.
    pub fn count(&self, category: &str, part: &str) -> usize {
        let matching = self.counts.iter().filter(|((c, name), _)| *c == category && name.contains(part));
        matching.map(|(_, count)| count).sum()
    }

    /// The host's own mount table must hold nothing of the world's.
    fn host_mounts(&mut self, world: &World) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let dir = world.dir().to_string_lossy().into_owned();
        for line in table.lines().filter(|l| l.contains(&dir)) {
            self.add("mount on the host", line.to_owned());
        }
    }

    fn world_mounts(&mut self, world: &World) {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", world.init())).unwrap_or_default();
        for line in table.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            let kind = line.split(" - ").nth(1).and_then(|r| r.split(' ').next()).unwrap_or_default();
            self.add("mount", format!("{kind} on {}", folded(point)));
        }
    }

    fn processes(&mut self, world: &World) {
        let daemon = world.daemon_pid();
        for pid in world.processes() {
            let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
            self.add("process", name.trim());
            if let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/net")) {
                self.namespaces_held(pid, &namespace.to_string_lossy());
            }
            if Some(pid) == daemon {
                self.descriptors(pid);
            }
        }
    }

    /// Network namespaces that a process holds by descriptor, beside the one it is in.
    fn namespaces_held(&mut self, pid: i32, own: &str) {
        for target in descriptor_targets(pid) {
            if target.starts_with("net:[") && target != own {
                self.add("network namespace", "held by descriptor");
            }
        }
    }

    fn descriptors(&mut self, pid: i32) {
        // Connections to registries are kept alive for a while and then closed: a bounded pool, no leak.
        let connections = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
        let connections: String = connections.into_iter().flatten().collect();
        let is_connection = |target: &str| {
            let inode = target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']'));
            inode.is_some_and(|inode| connections.split_whitespace().any(|field| field == inode))
        };
        for target in descriptor_targets(pid).into_iter().filter(|t| !is_connection(t)) {
            let kind = match target.split_once(":[") {
                Some((kind, _)) => kind.to_owned(),
                None => folded(&target),
            };
            self.add(DESCRIPTOR, kind);
        }
    }

    fn network(&mut self, world: &World) {
        let mut ip = world.enter("ip");
        ip.args(["-brief", "link"]);
        for line in run_with(ip, b"").ok().lines() {
            let name = line.split([' ', '@']).next().unwrap_or_default();
            let name = if name.starts_with("veth") { "veth*" } else { name };
            self.add("link", name);
        }
        let mut nft = world.enter("nft");
        nft.args(["-s", "list", "ruleset"]);
        let mut context = String::new();
        for line in run_with(nft, b"").ok().lines().map(str::trim).filter(|l| !l.is_empty() && *l != "}") {
            if line.ends_with('{') {
                context = line.to_owned();
            }
            self.add("nft", format!("{context} {line}"));
        }
    }

    fn unix_sockets(&mut self, world: &World) {
        let table = fs::read_to_string(format!("/proc/{}/net/unix", world.init())).unwrap_or_default();
        for line in table.lines().skip(1) {
            // Flags 00010000 are listening sockets: the others come and go with clients.
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, "00010000", _, _, _, path] = fields[..] {
                self.add("listening socket", folded(path));
            }
        }
    }

    fn cgroups(&mut self, world: &World) {
        // The parent itself is made with the first container and stays.
        let inside = |dir: &std::path::PathBuf| !dir.ends_with(world.cgroup().trim_start_matches('/'));
        for dir in cgroup_directories(world.cgroup()).into_iter().filter(inside) {
            self.add("cgroup", folded(&dir.to_string_lossy()));
        }
    }

    fn directories(&mut self, what: &'static str, top: &Path) {
        let mut pending = vec![top.to_path_buf()];
        while let Some(dir) = pending.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let shown = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
                // The database's journal comes and goes; the tree inside an unpacked layer is the image's own affair.
                let transient = shown.ends_with("-wal") || shown.ends_with("-shm") || shown.ends_with("-journal");
                // Parents that are made with their first child stay.
                let lazy = ["sandboxes", "containers", "gantry/shim"].contains(&shown.as_str());
                if !transient && !lazy {
                    self.add(what, folded(&shown));
                }
                let inside_layer = shown.split('/').any(|part| part == "fs" || part == "diff" || part == "upper");
                if !inside_layer && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    pending.push(path);
                }
            }
        }
    }

    fn loop_devices(&mut self, world: &World) {
        let dir = world.dir().to_string_lossy().into_owned();
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
            if backing.contains(&dir) {
                self.add("loop device", backing.trim());
            }
        }
    }
}

fn descriptor_targets(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|e| Some(fs::read_link(e.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// Replaces runs of 12 or more hexadecimal digits (ids, digests) and long numbers by `*`.
fn folded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let hex = rest.bytes().take_while(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count();
        if hex >= 12 {
            out.push('*');
            rest = &rest[hex..];
            continue;
        }
        let take = hex.max(1);
        let take = (take..=rest.len()).find(|n| rest.is_char_boundary(*n)).unwrap_or(rest.len());
        out.push_str(&rest[..take]);
        rest = &rest[take..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_folded_and_words_are_not() {
        assert_eq!(folded("/run/shim/0123456789abcdef/shim.sock"), "/run/shim/*/shim.sock");
        assert_eq!(folded("/dead/beef/ä"), "/dead/beef/ä");
    }

    #[test]
    fn the_difference_names_what_is_new_and_what_is_gone() {
        let (mut before, mut after) = (Census::default(), Census::default());
        before.add("process", "shim");
        after.add("link", "veth*");
        after.add("link", "veth*");
        let difference = before.difference(&after);
        assert!(difference.contains("link: veth* — 0 before, 2 now"), "{difference}");
        assert!(difference.contains("process: shim — 1 before, 0 now"), "{difference}");
        assert_eq!(before.difference(&before.clone()), "");
    }
}
