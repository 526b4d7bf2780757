//! Control groups: one contract over cgroup v1, the hybrid layout and cgroup v2, made by us or by systemd.
//!
//! [`Cgroup`] is the whole surface. [`Layout`] says what the host has and is a parameter, so tests run on a tree of
//! plain files. The order of use is `create` → (`dir_fd` for `CLONE_INTO_CGROUP`, or `add`) → `set`, `freeze`,
//! `stats`, … → `kill_all` → `remove`. Under systemd the scope cannot exist without a process, so there `create` only
//! checks and remembers, and the first `add` starts the scope; callers that follow the order need not care.

mod control_file;
mod convert;
mod detect;
mod devices;
mod devices_bpf;
mod directory;
mod error;
mod limits;
mod oom;
mod stats;
mod stats_v1;
mod stats_v2;
mod systemd;
mod v1;
mod v1_limits;
mod v2;
mod v2_limits;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;

pub use convert::{cpu_shares_to_weight, io_weight_from_blkio, swap_only};
pub use detect::{Controller, Layout, Mode};
pub use error::{Error, Result};
pub use limits::{
    BlockIo, Cpu, DeviceKind, DeviceRule, HugepageLimit, InterfacePriority, Limits, Memory, Network, Pids, Rdma,
    ThrottleDevice, WeightDevice,
};
pub use oom::{OomReading, OomWatch};
use serde::{Deserialize, Serialize};
pub use stats::{
    CgroupStats, CpuStats, HugetlbStats, IoEntry, IoStats, MemoryStats, PidsStats, Pressure, PressureLine, SwapStats,
};

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// This process, by making directories.
    #[default]
    Cgroupfs,
    /// systemd, which is asked for a transient scope.
    Systemd,
}

/// One container's or sandbox's cgroup, there or still to be made.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    hierarchy: Hierarchy,
    scope: Option<Scope>,
}

/// The files of the cgroup, by version.
#[derive(Debug)]
enum Hierarchy {
    V1(v1::V1),
    V2(v2::V2),
}

/// What the systemd driver keeps besides the files.
#[derive(Debug)]
struct Scope {
    unit: systemd::Unit,
    /// Limits of `create`, until the first process comes and the scope can be started.
    pending: Mutex<Option<Limits>>,
}

impl Cgroup {
    /// The cgroup at `path` on this host; nothing is made or changed.
    ///
    /// `path` is OCI `linux.cgroupsPath`: for [`CgroupDriver::Cgroupfs`] a path below the mount points of the
    /// controllers, for [`CgroupDriver::Systemd`] `slice:prefix:name`, such as `system.slice:gantry:4f5e`.
    pub fn new(driver: CgroupDriver, path: &str) -> Result<Self> {
        Self::on(Layout::detect()?, driver, path)
    }

    /// As [`Cgroup::new`] on a given layout: to save the detection, and for tests on a tree of plain files.
    pub fn on(layout: Layout, driver: CgroupDriver, path: &str) -> Result<Self> {
        let (path, scope) = match driver {
            CgroupDriver::Cgroupfs => (directory::clean_path(path)?, None),
            CgroupDriver::Systemd => {
                let unit = systemd::Unit::parse(path)?;
                (unit.cgroup_path()?, Some(Scope { unit, pending: Mutex::new(None) }))
            }
        };
        let hierarchy = match layout.mode() {
            Mode::Unified => Hierarchy::V2(v2::V2::new(&layout, &path)?),
            Mode::Legacy | Mode::Hybrid => Hierarchy::V1(v1::V1::new(&layout, &path)),
        };
        Ok(Self { path, hierarchy, scope })
    }

    /// The path below the mount points, beginning with `/`: what `/proc/<pid>/cgroup` of its processes says.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// 1 or 2: whose semantics limits and figures have.
    #[must_use]
    pub fn version(&self) -> u8 {
        match self.hierarchy {
            Hierarchy::V1(_) => 1,
            Hierarchy::V2(_) => 2,
        }
    }

    /// The directory by controller (v1, `name=systemd` included), or the one directory under the key `""` (v2):
    /// what to bind into a container as its cgroup file system.
    #[must_use]
    pub fn directories(&self) -> Vec<(String, PathBuf)> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.directories(),
            Hierarchy::V2(v2) => vec![(String::new(), v2.directory().to_owned())],
        }
    }

    /// Makes the cgroup with its parents and sets `limits`. A cgroup that is there already is used as it is.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Invalid`] names the field; directories made by the failed call are removed.
    pub fn create(&self, limits: &Limits) -> Result<()> {
        self.check(limits)?;
        if let Some(scope) = &self.scope {
            *lock(&scope.pending) = Some(limits.clone());
            return Ok(());
        }
        self.make(limits)
    }

    fn make(&self, limits: &Limits) -> Result<()> {
        let mut made = Vec::new();
        let done = match &self.hierarchy {
            Hierarchy::V1(v1) => v1.make(&mut made).and_then(|()| v1.set(limits)),
            Hierarchy::V2(v2) => v2.make(&mut made).and_then(|()| v2.set(limits)),
        };
        done.inspect_err(|_| directory::unmake(&made))
    }

    /// What of `limits` can be refused before the first effect.
    pub fn check(&self, limits: &Limits) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.check(limits),
            Hierarchy::V2(v2) => v2.check(limits),
        }
    }

    /// The directory for `CLONE_INTO_CGROUP`, opened `O_PATH`; `None` where a process has to be put in by
    /// [`Cgroup::add`] instead (v1, and systemd before the scope runs).
    pub fn dir_fd(&self) -> Result<Option<OwnedFd>> {
        match &self.hierarchy {
            Hierarchy::V2(v2) if !self.is_pending() => v2.dir_fd().map(Some),
            _ => Ok(None),
        }
    }

    fn is_pending(&self) -> bool {
        self.scope.as_ref().is_some_and(|scope| lock(&scope.pending).is_some())
    }

    /// Moves process `pid` in, with all its threads. Under systemd the first one starts the scope.
    pub fn add(&self, pid: i32) -> Result<()> {
        if pid <= 0 {
            return Err(Error::invalid("pid", format!("{pid} is no process")));
        }
        if let Some(scope) = &self.scope
            && let Some(limits) = lock(&scope.pending).take()
        {
            return self.start_scope(scope, &limits, pid);
        }
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.add(pid),
            Hierarchy::V2(v2) => v2.add(pid),
        }
    }

    fn start_scope(&self, scope: &Scope, limits: &Limits, pid: i32) -> Result<()> {
        let properties = systemd::properties(&scope.unit, limits, self.version(), pid)?;
        scope.unit.start(&properties)?;
        // systemd sets what it knows and makes the directories it wants; the rest is ours.
        let finish = || {
            self.make(limits)?;
            match &self.hierarchy {
                Hierarchy::V1(v1) => v1.add(pid),
                Hierarchy::V2(_) => Ok(()),
            }
        };
        finish().inspect_err(|_| {
            let _ = scope.unit.stop();
        })
    }

    /// Changes the limits; fields that are absent stay as they are.
    pub fn set(&self, limits: &Limits) -> Result<()> {
        self.check(limits)?;
        if let Some(scope) = &self.scope {
            let mut pending = lock(&scope.pending);
            if pending.is_some() {
                *pending = Some(limits.clone());
                return Ok(());
            }
            drop(pending);
            scope.unit.set_properties(&systemd::limit_properties(limits, self.version())?)?;
        }
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.set(limits),
            Hierarchy::V2(v2) => v2.set(limits),
        }
    }

    /// Stops every process in it and below, and returns once they stand.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after ten seconds; the cgroup is thawed again then.
    pub fn freeze(&self) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.freeze(),
            Hierarchy::V2(v2) => v2.freeze(),
        }
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.thaw(),
            Hierarchy::V2(v2) => v2.thaw(),
        }
    }

    /// Whether it is frozen now.
    pub fn is_frozen(&self) -> Result<bool> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.is_frozen(),
            Hierarchy::V2(v2) => v2.is_frozen(),
        }
    }

    /// Sends SIGKILL to every process in it and below, none of which can escape by forking. Returns before they are
    /// gone (a process in uninterruptible sleep dies when it wakes).
    pub fn kill_all(&self) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.kill_all(),
            Hierarchy::V2(v2) => v2.kill_all(),
        }
    }

    /// The processes in it and in cgroups below it, as this process's PID namespace numbers them.
    pub fn pids(&self) -> Result<BTreeSet<i32>> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.pids(),
            Hierarchy::V2(v2) => v2.pids(),
        }
    }

    /// Whether it is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.exists(),
            Hierarchy::V2(v2) => v2.directory().is_dir(),
        }
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the cgroup is gone; a single missing file is not an error.
    pub fn stats(&self) -> Result<CgroupStats> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => stats_v1::read(v1),
            Hierarchy::V2(v2) => stats_v2::read(v2),
        }
    }

    /// CPU, memory, swap and pressure: what is asked of every container again and again, with a third of the reads of
    /// [`Cgroup::stats`].
    pub fn brief_stats(&self) -> Result<CgroupStats> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => stats_v1::read_brief(v1),
            Hierarchy::V2(v2) => stats_v2::read_brief(v2),
        }
    }

    /// Watches for processes killed because this cgroup was out of memory.
    pub fn oom_events(&self) -> Result<OomWatch> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => OomWatch::v1(v1.memory_directory()?),
            Hierarchy::V2(v2) => OomWatch::v2(v2.directory()),
        }
    }

    /// Removes the cgroup, cgroups below it, and parents that [`Cgroup::create`] made and that are empty now. One
    /// that is gone already is no error. Processes must have ended (see [`Cgroup::kill_all`]); the kernel may need a
    /// moment after that, for which this waits up to five seconds.
    pub fn remove(&self) -> Result<()> {
        if let Some(scope) = &self.scope {
            if lock(&scope.pending).take().is_some() {
                return Ok(());
            }
            scope.unit.stop()?;
        }
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.remove(),
            Hierarchy::V2(v2) => v2.remove(),
        }
    }
}

/// A poisoned lock only means that another thread panicked between two statements that cannot panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
