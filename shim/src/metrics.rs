//! Resource usage as containerd's clients read it.

use prost::Message as _;
use shim_api::Any;
use shim_api::proto::{metrics_v1 as v1, metrics_v2 as v2};
use sys::cgroup::CgroupStats;

/// The metrics message of the host's cgroup version.
pub(crate) fn to_containerd(stats: &CgroupStats) -> Any {
    if stats.version == 2 {
        let value = second(stats).encode_to_vec();
        Any { type_url: "io.containerd.cgroups.v2.Metrics".to_owned(), value }
    } else {
        let value = first(stats).encode_to_vec();
        Any { type_url: "io.containerd.cgroups.v1.Metrics".to_owned(), value }
    }
}

fn first(stats: &CgroupStats) -> v1::Metrics {
    let cpu = &stats.cpu;
    let usage =
        v1::CpuUsage { total: cpu.usage_ns, kernel: cpu.system_ns, user: cpu.user_ns, per_cpu: cpu.percpu_ns.clone() };
    let throttling = v1::Throttle {
        periods: cpu.periods,
        throttled_periods: cpu.throttled_periods,
        throttled_time: cpu.throttled_ns,
    };
    let memory = &stats.memory;
    let entry = v1::MemoryEntry {
        limit: memory.limit.unwrap_or(u64::MAX),
        usage: memory.usage,
        max: memory.max_usage,
        failcnt: memory.failcnt,
    };
    v1::Metrics {
        pids: Some(v1::PidsStat { current: stats.pids.current, limit: stats.pids.limit.unwrap_or(0) }),
        cpu: Some(v1::CpuStat { usage: Some(usage), throttling: Some(throttling) }),
        memory: Some(v1::MemoryStat { usage: Some(entry), ..v1::MemoryStat::default() }),
        ..v1::Metrics::default()
    }
}

fn second(stats: &CgroupStats) -> v2::Metrics {
    let cpu = &stats.cpu;
    let memory = &stats.memory;
    v2::Metrics {
        pids: Some(v2::PidsStat { current: stats.pids.current, limit: stats.pids.limit.unwrap_or(0) }),
        cpu: Some(v2::CpuStat {
            usage_usec: cpu.usage_ns / 1000,
            user_usec: cpu.user_ns / 1000,
            system_usec: cpu.system_ns / 1000,
            nr_periods: cpu.periods,
            nr_throttled: cpu.throttled_periods,
            throttled_usec: cpu.throttled_ns / 1000,
        }),
        memory: Some(v2::MemoryStat {
            usage: memory.usage,
            usage_limit: memory.limit.unwrap_or(u64::MAX),
            max_usage: memory.max_usage,
            ..v2::MemoryStat::default()
        }),
        ..v2::Metrics::default()
    }
}
