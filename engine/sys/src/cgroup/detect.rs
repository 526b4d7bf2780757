//! Which cgroup hierarchies the host has mounted, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Error, Result};

/// A resource controller, or a named v1 hierarchy without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// `cpu`
    Cpu,
    /// `cpuacct` (v1)
    Cpuacct,
    /// `cpuset`
    Cpuset,
    /// `memory`
    Memory,
    /// `pids`
    Pids,
    /// `blkio` on v1, `io` on v2
    Blkio,
    /// `devices` (v1; a BPF program on v2)
    Devices,
    /// `freezer` (v1; a file of every cgroup on v2)
    Freezer,
    /// `hugetlb`
    Hugetlb,
    /// `net_cls` (v1)
    NetCls,
    /// `net_prio` (v1)
    NetPrio,
    /// `perf_event`
    PerfEvent,
    /// `rdma`
    Rdma,
    /// `misc`
    Misc,
    /// `name=systemd`: systemd's own book-keeping on v1
    Systemd,
}

impl Controller {
    const NAMES: [(Self, &'static str); 15] = [
        (Self::Cpu, "cpu"),
        (Self::Cpuacct, "cpuacct"),
        (Self::Cpuset, "cpuset"),
        (Self::Memory, "memory"),
        (Self::Pids, "pids"),
        (Self::Blkio, "blkio"),
        (Self::Devices, "devices"),
        (Self::Freezer, "freezer"),
        (Self::Hugetlb, "hugetlb"),
        (Self::NetCls, "net_cls"),
        (Self::NetPrio, "net_prio"),
        (Self::PerfEvent, "perf_event"),
        (Self::Rdma, "rdma"),
        (Self::Misc, "misc"),
        (Self::Systemd, "name=systemd"),
    ];

    /// The name in v1 mount options and `/proc/cgroups`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(controller, _)| *controller == self).map_or("", |(_, name)| name)
    }

    /// The controller of a v1 mount option or a word of `cgroup.controllers`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        // v2 calls blkio `io`.
        let name = if name == "io" { "blkio" } else { name };
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(controller, _)| *controller)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the host mixes the versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// v1 only.
    Legacy,
    /// Controllers on v1, and a v2 hierarchy beside them, which is used for what needs no controller.
    Hybrid,
    /// v2 only.
    Unified,
}

/// The hierarchies that are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    v1: BTreeMap<Controller, PathBuf>,
    v2: Option<PathBuf>,
}

impl Layout {
    /// Reads this process's `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let layout = Self::from_mountinfo(&String::from_utf8_lossy(&text));
        if layout.v1.is_empty() && layout.v2.is_none() {
            return Err(Error::unsupported("cgroupsPath", "no cgroup file system is mounted"));
        }
        Ok(layout)
    }

    /// A layout of v1 directories and perhaps a v2 one, for tests and unusual mount points.
    #[must_use]
    pub fn from_parts(v1: BTreeMap<Controller, PathBuf>, v2: Option<PathBuf>) -> Self {
        Self { v1, v2 }
    }

    /// The layout of a mountinfo text (proc_pid_mountinfo(5)). Of several mounts of one controller the first below
    /// `/sys/fs/cgroup` wins, else the first.
    #[must_use]
    pub fn from_mountinfo(text: &str) -> Self {
        let mut layout = Self::default();
        for line in text.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = mount.split(' ').nth(4) else { continue };
            let mount_point = PathBuf::from(unescape(mount_point));
            let mut words = file_system.split(' ');
            match (words.next(), words.nth(1)) {
                (Some("cgroup"), Some(options)) => {
                    for controller in options.split(',').filter_map(Controller::from_name) {
                        prefer_usual(layout.v1.entry(controller).or_insert_with(|| mount_point.clone()), &mount_point);
                    }
                }
                (Some("cgroup2"), _) => {
                    prefer_usual(layout.v2.get_or_insert_with(|| mount_point.clone()), &mount_point)
                }
                _ => {}
            }
        }
        layout
    }

    /// How versions are mixed. A v1 hierarchy without a controller (`name=systemd`) does not make a host v1.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let v1 = self.v1.keys().any(|controller| *controller != Controller::Systemd);
        match (v1, &self.v2) {
            (false, Some(_)) => Mode::Unified,
            (_, Some(_)) => Mode::Hybrid,
            (_, None) => Mode::Legacy,
        }
    }

    /// Where a v1 controller is mounted.
    #[must_use]
    pub fn v1(&self, controller: Controller) -> Option<&Path> {
        self.v1.get(&controller).map(PathBuf::as_path)
    }

    /// All v1 controllers and their mount points; co-mounted ones share one.
    pub fn v1_all(&self) -> impl Iterator<Item = (Controller, &Path)> {
        self.v1.iter().map(|(controller, path)| (*controller, path.as_path()))
    }

    /// Where v2 is mounted.
    #[must_use]
    pub fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The controllers there are, whichever version.
    #[must_use]
    pub fn controllers(&self) -> Vec<Controller> {
        if self.mode() != Mode::Unified {
            return self.v1.keys().copied().collect();
        }
        let listed = self.v2.as_ref().and_then(|root| std::fs::read_to_string(root.join("cgroup.controllers")).ok());
        listed.unwrap_or_default().split_whitespace().filter_map(Controller::from_name).collect()
    }
}

fn prefer_usual(chosen: &mut PathBuf, candidate: &Path) {
    let usual = Path::new("/sys/fs/cgroup");
    if !chosen.starts_with(usual) && candidate.starts_with(usual) {
        *chosen = candidate.to_owned();
    }
}

/// Undoes mountinfo's octal escapes (`\040` is a space).
fn unescape(field: &str) -> String {
    let mut plain = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}
