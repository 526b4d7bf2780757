//! cgroup v2: one directory in the one hierarchy.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use super::{Error, Layout, Limits, Result, control_file, directory, v2_limits};

/// How long a cgroup may need to stand still.
const FREEZE_MS_MAX: u64 = 10_000;
/// How long `remove` waits for processes that were killed.
const REMOVE_MS_MAX: u64 = 5_000;

#[derive(Debug)]
pub(super) struct V2 {
    root: PathBuf,
    path: String,
    directory: PathBuf,
    /// Whether controllers are to be enabled; not on a hybrid host, where v1 has them.
    with_controllers: bool,
}

impl V2 {
    pub(super) fn new(layout: &Layout, path: &str) -> Result<Self> {
        let root =
            layout.v2().ok_or_else(|| Error::unsupported("cgroupsPath", "no cgroup v2 file system is mounted"))?;
        Ok(Self { with_controllers: true, ..Self::without_controllers(root, path) })
    }

    pub(super) fn without_controllers(root: &Path, path: &str) -> Self {
        Self {
            root: root.to_owned(),
            path: path.to_owned(),
            directory: directory::below(root, path),
            with_controllers: false,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn dir_fd(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(|errno| match errno {
            rustix::io::Errno::NOENT => Error::NotFound { path: self.directory.clone() },
            errno => Error::io("open", &self.directory, errno.into()),
        })
    }

    pub(super) fn make(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        directory::make(&self.root, &self.path, made, |parent, child| {
            if !self.with_controllers {
                return Ok(());
            }
            enable_controllers(parent)?;
            refuse_invalid_domain(child)
        })
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        v2_limits::check(self, limits)
    }

    pub(super) fn set(&self, limits: &Limits) -> Result<()> {
        v2_limits::set(&self.directory, limits)
    }

    pub(super) fn add(&self, pid: i32) -> Result<()> {
        directory::add(&self.directory, pid)
    }

    pub(super) fn pids(&self) -> Result<BTreeSet<i32>> {
        directory::pids(&self.directory)
    }

    pub(super) fn freeze(&self) -> Result<()> {
        self.write_freeze("1")?;
        if self.wait_until_frozen(Instant::now() + Duration::from_millis(FREEZE_MS_MAX))? {
            return Ok(());
        }
        self.thaw()?;
        Err(Error::TimedOut { waiting_for: format!("the processes of {} to freeze", self.directory.display()) })
    }

    pub(super) fn thaw(&self) -> Result<()> {
        self.write_freeze("0")
    }

    fn write_freeze(&self, value: &str) -> Result<()> {
        control_file::write(&self.directory, "cgroup.freeze", value, "freezer")
    }

    /// The kernel raises POLLPRI on `cgroup.events` whenever its content changes (kernel: cgroup-v2.rst).
    fn wait_until_frozen(&self, deadline: Instant) -> Result<bool> {
        let path = self.directory.join("cgroup.events");
        let events = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        loop {
            if self.is_frozen()? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            // Short waits, so that a change between the reading and the poll costs little.
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("poll", &path, errno.into())),
            }
        }
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        let events = control_file::read(&self.directory, "cgroup.events")?
            .ok_or_else(|| Error::NotFound { path: self.directory.clone() })?;
        Ok(control_file::parse_map(&events).get("frozen") == Some(&1))
    }

    /// Whether the kernel has `cgroup.kill` (5.14).
    pub(super) fn can_kill(&self) -> bool {
        self.directory.join("cgroup.kill").exists()
    }

    pub(super) fn kill_all(&self) -> Result<()> {
        match control_file::write(&self.directory, "cgroup.kill", "1", "kill") {
            // Kernels before 5.14 have no such file.
            Err(Error::Unsupported { .. }) => {
                directory::kill_each(&self.path, || self.freeze(), || self.pids(), || self.thaw())
            }
            other => other,
        }
    }

    pub(super) fn remove(&self) -> Result<()> {
        self.remove_until(Instant::now() + Duration::from_millis(REMOVE_MS_MAX))
    }

    pub(super) fn remove_until(&self, deadline: Instant) -> Result<()> {
        directory::remove(&self.root, &self.path, deadline)
    }

    /// The controllers that a cgroup can have here: they are handed down from the root by `make`, or by systemd once
    /// a property asks for one.
    pub(super) fn available_controllers(&self) -> Result<Vec<String>> {
        let text = control_file::read(&self.root, "cgroup.controllers")?.unwrap_or_default();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }
}

/// Hands every controller of `parent` down to its children. One that cannot be (a realtime process in `cpu`, a
/// cgroup with processes of its own) is left out here; the limit that needs it then fails and names itself.
fn enable_controllers(parent: &Path) -> Result<()> {
    let available = control_file::read(parent, "cgroup.controllers")?.unwrap_or_default();
    let enabled = control_file::read(parent, "cgroup.subtree_control")?.unwrap_or_default();
    let missing: Vec<String> = available
        .split_whitespace()
        .filter(|controller| !enabled.split_whitespace().any(|have| have == *controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = parent.join("cgroup.subtree_control");
    if control_file::write_raw(&file, &missing.join(" ")).is_err() {
        for controller in &missing {
            let _ = control_file::write_raw(&file, controller);
        }
    }
    Ok(())
}

/// Below a threaded cgroup a new one takes no processes until somebody decides what it is to be.
fn refuse_invalid_domain(child: &Path) -> Result<()> {
    let kind = control_file::read(child, "cgroup.type")?.unwrap_or_default();
    if kind.trim() == "domain invalid" {
        let reason = format!("{} is below a threaded cgroup and can hold no processes", child.display());
        return Err(Error::invalid("cgroupsPath", reason));
    }
    Ok(())
}
