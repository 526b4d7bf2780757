//! PURE. A sample of use -> docker's stats.

use std::collections::BTreeMap;

use docker_api::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData,
};
use engine::container::StatsSample;

use crate::time::rfc3339;

/// Facts of the machine that stand in each sample.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Machine {
    /// Nanoseconds of CPU time of the whole machine.
    pub(crate) cpu_ns: u64,
    /// CPUs.
    pub(crate) cpus: u32,
    /// Bytes of memory: the limit of containers without one.
    pub(crate) memory_bytes: u64,
}

/// One sample, with the CPU figures of the one before.
pub(crate) fn stats(name: &str, id: &str, sample: &StatsSample, machine: Machine, before: Option<&Stats>) -> Stats {
    let networks = sample.network.iter().map(|(interface, figures)| (interface.clone(), network(*figures)));
    Stats {
        name: format!("/{name}"),
        id: id.to_owned(),
        read: rfc3339(sample.time_ns),
        preread: before.map_or_else(|| rfc3339(0), |before| before.read.clone()),
        pids_stats: PidsStats {
            current: sample.cgroup.pids.current,
            limit: sample.cgroup.pids.limit.unwrap_or(u64::MAX),
        },
        blkio_stats: blkio(sample),
        num_procs: 0,
        storage_stats: docker_api::Empty {},
        cpu_stats: cpu(sample, machine),
        precpu_stats: before.map(|before| before.cpu_stats.clone()).unwrap_or_default(),
        memory_stats: memory(sample, machine),
        networks: networks.collect(),
    }
}

fn cpu(sample: &StatsSample, machine: Machine) -> CpuStats {
    let cpu = &sample.cgroup.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.usage_ns,
            percpu_usage: cpu.percpu_ns.clone(),
            usage_in_kernelmode: cpu.system_ns,
            usage_in_usermode: cpu.user_ns,
        },
        system_cpu_usage: machine.cpu_ns,
        online_cpus: machine.cpus,
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_ns,
        },
    }
}

fn memory(sample: &StatsSample, machine: Machine) -> MemoryStats {
    let memory = &sample.cgroup.memory;
    let v1 = sample.cgroup.version == 1;
    MemoryStats {
        usage: memory.usage,
        max_usage: if v1 { memory.max_usage } else { 0 },
        stats: memory.stat.clone(),
        failcnt: if v1 { memory.failcnt } else { 0 },
        limit: memory.limit.map_or(machine.memory_bytes, |limit| limit.min(machine.memory_bytes)),
    }
}

fn blkio(sample: &StatsSample) -> BlkioStats {
    let v1 = sample.cgroup.version == 1;
    let list = |entries: &[engine::container::IoEntry]| -> Vec<BlkioEntry> {
        let entry = |entry: &engine::container::IoEntry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.op.to_ascii_lowercase(),
            value: entry.value,
        };
        entries.iter().map(entry).collect()
    };
    let empty = || v1.then(Vec::new);
    BlkioStats {
        io_service_bytes_recursive: Some(list(&sample.cgroup.io.service_bytes)),
        io_serviced_recursive: Some(list(&sample.cgroup.io.serviced)).filter(|list| v1 || !list.is_empty()),
        io_queue_recursive: empty(),
        io_service_time_recursive: empty(),
        io_wait_time_recursive: empty(),
        io_merged_recursive: empty(),
        io_time_recursive: empty(),
        sectors_recursive: empty(),
    }
}

fn network(figures: [u64; 8]) -> NetworkStats {
    let [rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped] = figures;
    NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
}

/// Nanoseconds of CPU time of the whole machine, from `/proc/stat`.
pub(crate) fn machine_cpu_ns(proc_stat: &str) -> u64 {
    /// Clock ticks are 1/100 s on every architecture that Linux still runs containers on.
    const TICK_NS: u64 = 10_000_000;
    let first = proc_stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq; guest time is in user already.
    let ticks = first.split_whitespace().skip(1).take(8).filter_map(|word| word.parse::<u64>().ok());
    ticks.fold(0_u64, u64::saturating_add).saturating_mul(TICK_NS)
}

/// Statistics of a container that does not run: zeros with its names.
pub(crate) fn stopped(name: &str, id: &str) -> Stats {
    Stats {
        name: format!("/{name}"),
        id: id.to_owned(),
        read: rfc3339(0),
        preread: rfc3339(0),
        networks: BTreeMap::new(),
        ..Stats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_time_is_the_sum_of_the_first_line() {
        let text = "cpu  1 2 3 4 5 6 7 8 900 900\ncpu0 1 2 3 4 5 6 7 8 900 900\n";
        assert_eq!(machine_cpu_ns(text), 36 * 10_000_000);
        assert_eq!(machine_cpu_ns(""), 0);
    }
}
