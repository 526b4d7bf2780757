//! What this host is and can: the facts behind docker's `info` and CRI's `Status`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::{Controller, Layout, Mode};

/// Facts about the host. Those about limits say whether a container may ask for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SysInfo {
    /// `uname -r`
    pub kernel_release: String,
    /// `uname -v`
    pub kernel_version: String,
    /// `uname -m`
    pub machine: String,
    /// Bytes of memory.
    pub memory_total: u64,
    /// CPUs that this process may run on.
    pub cpus: usize,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Controllers in the kernel's v1 names.
    pub controllers: Vec<String>,
    /// `memory.limit`
    pub memory_limit: bool,
    /// `memory.swap`
    pub swap_limit: bool,
    /// `memory.disableOOMKiller`
    pub oom_kill_disable: bool,
    /// `memory.swappiness`
    pub swappiness: bool,
    /// `cpu.shares`
    pub cpu_shares: bool,
    /// `cpu.quota` and `cpu.period`
    pub cpu_quota: bool,
    /// `cpu.realtimeRuntime` and `cpu.realtimePeriod`
    pub cpu_realtime: bool,
    /// `cpu.cpus` and `cpu.mems`
    pub cpuset: bool,
    /// `pids.limit`
    pub pids_limit: bool,
    /// `blockIO.weight`
    pub io_weight: bool,
    /// `blockIO.throttle…`
    pub io_throttle: bool,
    /// Huge page sizes that can be limited.
    pub hugepages: bool,
    /// Whether seccomp filters can be loaded.
    pub seccomp: bool,
    /// Whether AppArmor is in force.
    pub apparmor: bool,
    /// Whether SELinux is in force.
    pub selinux: bool,
    /// IPv4 forwarding between interfaces.
    pub ipv4_forwarding: bool,
}

impl SysInfo {
    /// Reads the facts; a few files, so not for every request.
    pub fn detect() -> io::Result<Self> {
        let uname = rustix::system::uname();
        let layout = Layout::detect()?;
        let controllers = layout.controllers();
        let mut info = Self {
            kernel_release: uname.release().to_string_lossy().into_owned(),
            kernel_version: uname.version().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            memory_total: memory_total()?,
            cpus: std::thread::available_parallelism()?.get(),
            controllers: controllers.iter().map(ToString::to_string).collect(),
            seccomp: fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok(),
            apparmor: crate::lsm::has_apparmor(),
            selinux: crate::lsm::has_selinux(),
            ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
            ..Self::default()
        };
        let has = |controller| controllers.contains(&controller);
        info.memory_limit = has(Controller::Memory);
        info.cpuset = has(Controller::Cpuset);
        info.pids_limit = has(Controller::Pids);
        info.hugepages = has(Controller::Hugetlb);
        match layout.mode() {
            Mode::Unified => info.fill_v2(&has),
            Mode::Legacy | Mode::Hybrid => info.fill_v1(&layout),
        }
        Ok(info)
    }

    fn fill_v1(&mut self, layout: &Layout) {
        let file = |controller, name: &str| layout.v1(controller).is_some_and(|root| root.join(name).exists());
        self.cgroup_version = 1;
        self.swap_limit = file(Controller::Memory, "memory.memsw.limit_in_bytes");
        self.oom_kill_disable = file(Controller::Memory, "memory.oom_control");
        self.swappiness = file(Controller::Memory, "memory.swappiness");
        self.cpu_shares = file(Controller::Cpu, "cpu.shares");
        self.cpu_quota = file(Controller::Cpu, "cpu.cfs_quota_us");
        self.cpu_realtime = file(Controller::Cpu, "cpu.rt_runtime_us");
        self.io_weight = file(Controller::Blkio, "blkio.weight") || file(Controller::Blkio, "blkio.bfq.weight");
        self.io_throttle = file(Controller::Blkio, "blkio.throttle.read_bps_device");
    }

    /// Most v2 files are not in the root cgroup, so this goes by controllers, and by `/proc` for swap.
    fn fill_v2(&mut self, has: &dyn Fn(Controller) -> bool) {
        self.cgroup_version = 2;
        self.swap_limit = has(Controller::Memory) && Path::new("/proc/swaps").exists();
        self.cpu_shares = has(Controller::Cpu);
        self.cpu_quota = has(Controller::Cpu);
        self.io_weight = has(Controller::Blkio);
        self.io_throttle = has(Controller::Blkio);
    }
}

/// Bytes of memory, of `/proc/meminfo`.
pub fn memory_total() -> io::Result<u64> {
    parse_memory_total(&fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no MemTotal in /proc/meminfo"))
}

fn parse_memory_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_memory_is_in_bytes() {
        assert_eq!(parse_memory_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(parse_memory_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_host_has_a_kernel_memory_and_cpus() {
        let info = SysInfo::detect().unwrap();
        assert!(info.kernel_release.contains('.') && info.memory_total > 1 << 20 && info.cpus > 0);
        assert!(info.cgroup_version == 1 || info.cgroup_version == 2);
        assert!(info.seccomp);
    }
}
