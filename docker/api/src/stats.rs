//! `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::skip::zero;

/// One sample, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Name with a leading slash.
    pub name: String,
    /// Container id.
    pub id: String,
    /// RFC 3339.
    pub read: String,
    /// RFC 3339 of the sample before.
    pub preread: String,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Block IO.
    pub blkio_stats: BlkioStats,
    /// Windows.
    pub num_procs: u32,
    /// Windows.
    pub storage_stats: crate::Empty,
    /// CPU.
    pub cpu_stats: CpuStats,
    /// CPU of the sample before.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// By interface.
    #[serde(skip_serializing_if = "zero")]
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// At most; u64::MAX = no limit.
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// Block IO; lists are `null` where the kernel has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes.
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    /// Operations.
    pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub io_queue_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub io_merged_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub io_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1.
    pub sectors_recursive: Option<Vec<BlkioEntry>>,
}

/// One figure of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// Major.
    pub major: u64,
    /// Minor.
    pub minor: u64,
    /// `read`, `write`.
    pub op: String,
    /// Figure.
    pub value: u64,
}

/// CPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// Use.
    pub cpu_usage: CpuUsage,
    /// Nanoseconds of the whole machine.
    #[serde(skip_serializing_if = "zero")]
    pub system_cpu_usage: u64,
    /// CPUs.
    #[serde(skip_serializing_if = "zero")]
    pub online_cpus: u32,
    /// Throttling.
    pub throttling_data: ThrottlingData,
}

/// CPU use in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// All.
    pub total_usage: u64,
    /// By CPU (cgroup v1).
    #[serde(skip_serializing_if = "zero")]
    pub percpu_usage: Vec<u64>,
    /// Kernel.
    pub usage_in_kernelmode: u64,
    /// User.
    pub usage_in_usermode: u64,
}

/// Throttling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottlingData {
    /// Periods.
    pub periods: u64,
    /// Of them throttled.
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// Now.
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    /// Highest (cgroup v1).
    #[serde(skip_serializing_if = "zero")]
    pub max_usage: u64,
    /// memory.stat.
    #[serde(skip_serializing_if = "zero")]
    pub stats: BTreeMap<String, u64>,
    /// Times the limit was hit (cgroup v1).
    #[serde(skip_serializing_if = "zero")]
    pub failcnt: u64,
    /// At most.
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// One interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    /// Bytes in.
    pub rx_bytes: u64,
    /// Packets in.
    pub rx_packets: u64,
    /// Errors in.
    pub rx_errors: u64,
    /// Dropped in.
    pub rx_dropped: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Packets out.
    pub tx_packets: u64,
    /// Errors out.
    pub tx_errors: u64,
    /// Dropped out.
    pub tx_dropped: u64,
}
