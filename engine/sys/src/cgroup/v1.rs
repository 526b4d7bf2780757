//! cgroup v1: one hierarchy a controller (or a few co-mounted ones), each with a directory for the cgroup.
//!
//! On a hybrid host the v2 hierarchy gets a directory too. It has no controllers there, but it kills a whole cgroup
//! in one write, knows pressure, and (with `name=systemd`) keeps systemd from taking containers for part of the
//! service that started them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::v2::V2;
use super::{Controller, Error, Layout, Limits, Result, control_file, directory, v1_limits};

/// How long a cgroup may need to stand still.
const FREEZE_MS_MAX: u64 = 10_000;
/// How long `remove` waits for processes that were killed.
const REMOVE_MS_MAX: u64 = 5_000;

#[derive(Debug)]
pub(super) struct V1 {
    path: String,
    groups: Vec<Group>,
    unified: Option<V2>,
}

/// One hierarchy's share of the cgroup.
#[derive(Debug)]
struct Group {
    root: PathBuf,
    directory: PathBuf,
    controllers: Vec<Controller>,
}

impl Group {
    /// Whether it only keeps books, so that a failure to take part is no reason to fail.
    fn is_optional(&self) -> bool {
        self.controllers == [Controller::Systemd]
    }
}

impl V1 {
    pub(super) fn new(layout: &Layout, path: &str) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (controller, root) in layout.v1_all() {
            match groups.iter_mut().find(|group| group.root == root) {
                Some(group) => group.controllers.push(controller),
                None => groups.push(Group {
                    root: root.to_owned(),
                    directory: directory::below(root, path),
                    controllers: vec![controller],
                }),
            }
        }
        let unified = layout.v2().map(|root| V2::without_controllers(root, path));
        Self { path: path.to_owned(), groups, unified }
    }

    /// The directory of a controller's hierarchy.
    pub(super) fn directory(&self, controller: Controller) -> Option<&Path> {
        self.groups.iter().find(|g| g.controllers.contains(&controller)).map(|g| g.directory.as_path())
    }

    pub(super) fn unified(&self) -> Option<&V2> {
        self.unified.as_ref()
    }

    pub(super) fn directories(&self) -> Vec<(String, PathBuf)> {
        let name = |root: &Path| root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.groups.iter().map(|group| (name(&group.root), group.directory.clone())).collect()
    }

    pub(super) fn memory_directory(&self) -> Result<&Path> {
        self.directory(Controller::Memory)
            .ok_or_else(|| Error::unsupported("memory", "the kernel has no memory controller mounted"))
    }

    /// The hierarchy asked for the processes: all have the same ones.
    fn main(&self) -> Result<&Path> {
        [Controller::Freezer, Controller::Pids, Controller::Memory, Controller::Cpu]
            .into_iter()
            .find_map(|controller| self.directory(controller))
            .or_else(|| self.groups.first().map(|group| group.directory.as_path()))
            .ok_or_else(|| Error::unsupported("cgroupsPath", "no cgroup v1 controller is mounted"))
    }

    pub(super) fn make(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        for group in &self.groups {
            let cpuset = group.controllers.contains(&Controller::Cpuset);
            let prepare = |parent: &Path, child: &Path| if cpuset { inherit_cpuset(parent, child) } else { Ok(()) };
            match directory::make(&group.root, &self.path, made, prepare) {
                Err(_) if group.is_optional() => {}
                other => other?,
            }
        }
        if let Some(unified) = &self.unified {
            // Optional, see the head of the file.
            let _ = unified.make(made);
        }
        Ok(())
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        v1_limits::check(self, limits)
    }

    pub(super) fn set(&self, limits: &Limits) -> Result<()> {
        v1_limits::set(self, limits)
    }

    pub(super) fn add(&self, pid: i32) -> Result<()> {
        for group in &self.groups {
            match directory::add(&group.directory, pid) {
                Err(_) if group.is_optional() => {}
                other => other?,
            }
        }
        if let Some(unified) = &self.unified {
            let _ = unified.add(pid);
        }
        Ok(())
    }

    pub(super) fn exists(&self) -> bool {
        self.main().is_ok_and(Path::is_dir)
    }

    pub(super) fn pids(&self) -> Result<BTreeSet<i32>> {
        directory::pids(self.main()?)
    }

    fn freezer(&self) -> Result<&Path> {
        self.directory(Controller::Freezer)
            .ok_or_else(|| Error::unsupported("freezer", "the kernel has no freezer controller mounted"))
    }

    /// A cgroup whose tasks fork all the time may stay in `FREEZING`; runc found that thawing it now and then helps,
    /// and that writing `FROZEN` again does (kernel: freezer-subsystem.txt asks for the same).
    pub(super) fn freeze(&self) -> Result<()> {
        let freezer = self.freezer()?;
        let deadline = Instant::now() + Duration::from_millis(FREEZE_MS_MAX);
        let mut round = 0u32;
        while Instant::now() < deadline {
            round += 1;
            if round.is_multiple_of(50) {
                self.thaw()?;
                thread::sleep(Duration::from_millis(10));
            }
            control_file::write(freezer, "freezer.state", "FROZEN", "freezer")?;
            if self.freezer_state(freezer)? == "FROZEN" {
                return Ok(());
            }
            thread::sleep(Duration::from_micros(if round < 10 { 50 } else { 2_000 }));
        }
        self.thaw()?;
        Err(Error::TimedOut { waiting_for: format!("the processes of {} to freeze", freezer.display()) })
    }

    fn freezer_state(&self, freezer: &Path) -> Result<String> {
        let state = control_file::read(freezer, "freezer.state")?;
        state.map(|state| state.trim().to_owned()).ok_or_else(|| Error::NotFound { path: freezer.to_owned() })
    }

    pub(super) fn thaw(&self) -> Result<()> {
        control_file::write(self.freezer()?, "freezer.state", "THAWED", "freezer")
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        let freezer = self.freezer()?;
        Ok(self.freezer_state(freezer)? == "FROZEN")
    }

    pub(super) fn kill_all(&self) -> Result<()> {
        let inside = self.pids()?;
        if inside.is_empty() {
            return Ok(());
        }
        // A child is born into the cgroups of its parent, so what holds for all processes now keeps holding.
        if let Some(unified) = &self.unified
            && unified.can_kill()
            && unified.pids().is_ok_and(|known| inside.is_subset(&known))
        {
            unified.kill_all()?;
            // A cgroup frozen by the v1 freezer would keep its dead.
            return if self.is_frozen().unwrap_or(false) { self.thaw() } else { Ok(()) };
        }
        directory::kill_each(&self.path, || self.freeze(), || self.pids(), || self.thaw())
    }

    pub(super) fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(REMOVE_MS_MAX);
        let mut first_error = Ok(());
        for group in &self.groups {
            let removed = directory::remove(&group.root, &self.path, deadline);
            if !group.is_optional() {
                first_error = first_error.and(removed);
            }
        }
        if let Some(unified) = &self.unified {
            let _ = unified.remove_until(deadline);
        }
        first_error
    }
}

/// A new v1 cpuset is empty, and takes no process before it has CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = control_file::read(child, file)?.unwrap_or_default();
        if own.trim().is_empty() {
            let inherited = control_file::read(parent, file)?.unwrap_or_default();
            if !inherited.trim().is_empty() {
                control_file::write(child, file, inherited.trim(), "cpu.cpus")?;
            }
        }
    }
    Ok(())
}
