//! What a cgroup has used, in one shape for v1 and v2, from which docker's and CRI's statistics are both made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A reading of every controller that is there. A controller that is missing leaves its part at the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupStats {
    /// 1 or 2: whose semantics the figures have (docker's CLI and API clients ask).
    pub version: u8,
    /// CPU time.
    pub cpu: CpuStats,
    /// Memory and swap.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub io: IoStats,
    /// Huge pages, by size (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

/// CPU time; all times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// Time used.
    pub usage_ns: u64,
    /// Of it in user mode.
    pub user_ns: u64,
    /// Of it in the kernel.
    pub system_ns: u64,
    /// Time by CPU (v1 only; empty on v2).
    pub percpu_ns: Vec<u64>,
    /// Periods with a quota in force.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time throttled.
    pub throttled_ns: u64,
    /// Pressure, where the kernel says.
    pub pressure: Option<Pressure>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// Greatest use so far; 0 where the kernel does not keep it (v2 before 5.19).
    pub max_usage: u64,
    /// Hard limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// Swap alone (on v1: memory+swap less memory); `None` without swap accounting.
    pub swap: Option<SwapStats>,
    /// Kernel memory in use (v1 `memory.kmem.usage_in_bytes`, v2 `kernel` of `memory.stat`).
    pub kernel: Option<u64>,
    /// Processes killed in this cgroup because it was out of memory.
    pub oom_kills: u64,
    /// `memory.stat` as it is.
    pub stat: BTreeMap<String, u64>,
    /// Pressure, where the kernel says.
    pub pressure: Option<Pressure>,
}

/// Swap in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwapStats {
    /// In use.
    pub usage: u64,
    /// Hard limit; `None` is unlimited.
    pub limit: Option<u64>,
}

impl MemoryStats {
    fn stat(&self, key: &str) -> Option<u64> {
        self.stat.get(key).copied()
    }

    /// Use less the page cache that can go first: what the kubelet and cAdvisor call the working set.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        let inactive_file = self.stat("total_inactive_file").or_else(|| self.stat("inactive_file")).unwrap_or(0);
        self.usage.saturating_sub(inactive_file)
    }

    /// Anonymous memory, resident (CRI `rss_bytes`).
    #[must_use]
    pub fn rss(&self) -> u64 {
        self.stat("total_rss").or_else(|| self.stat("anon")).unwrap_or(0)
    }

    /// Page faults so far.
    #[must_use]
    pub fn page_faults(&self) -> u64 {
        self.stat("total_pgfault").or_else(|| self.stat("pgfault")).unwrap_or(0)
    }

    /// Page faults that had to read from disk.
    #[must_use]
    pub fn major_page_faults(&self) -> u64 {
        self.stat("total_pgmajfault").or_else(|| self.stat("pgmajfault")).unwrap_or(0)
    }

    /// What is left below the limit; `None` without a limit.
    #[must_use]
    pub fn available(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.working_set()))
    }
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Processes and threads there are.
    pub current: u64,
    /// Greatest number allowed; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Block device figures, one entry a device and operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoStats {
    /// Bytes moved.
    pub service_bytes: Vec<IoEntry>,
    /// Operations done.
    pub serviced: Vec<IoEntry>,
    /// Pressure, where the kernel says.
    pub pressure: Option<Pressure>,
}

/// One figure of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, on v1 also `Sync`, `Async`, `Discard`, `Total`.
    pub op: String,
    /// The figure.
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugetlbStats {
    /// In use.
    pub usage: u64,
    /// Greatest use so far (v1).
    pub max_usage: u64,
    /// Failed allocations.
    pub failcnt: u64,
    /// Hard limit; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Pressure stall information of one resource (kernel: accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// Shares of time in percent, and the total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PressureLine {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Microseconds so far.
    pub total_us: u64,
}

impl Pressure {
    /// Parses a pressure file; lines and keys that are not known are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut pressure = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let target = match words.next() {
                Some("some") => &mut pressure.some,
                Some("full") => &mut pressure.full,
                _ => continue,
            };
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                match key {
                    "avg10" => target.avg10 = value.parse().unwrap_or_default(),
                    "avg60" => target.avg60 = value.parse().unwrap_or_default(),
                    "avg300" => target.avg300 = value.parse().unwrap_or_default(),
                    "total" => target.total_us = value.parse().unwrap_or_default(),
                    _ => {}
                }
            }
        }
        pressure
    }
}
