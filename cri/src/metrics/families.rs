//! The metrics, one line each: name, what it says, its own labels, and where its values come from. Pure.
//!
//! CRI's values are whole numbers, so that times are in whole seconds.

use engine::container::{HugetlbStats, IoEntry, Pressure, PressureLine, ProcessFigures};
use engine::image::LayersCapacity;

use crate::metrics::subject::Subject;
use crate::proto::MetricType::{self, Counter, Gauge};

const SECOND_NS: u64 = 1_000_000_000;
/// What the kernel takes without a wish.
const CPU_PERIOD_US: u64 = 100_000;
const CPU_SHARES: u64 = 1024;

/// Values of a family's own labels, and the value.
type Values = Vec<(Vec<String>, u64)>;

/// See the module.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
    pub(super) values: fn(&Subject<'_>) -> Values,
}

const fn family(
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    values: fn(&Subject<'_>) -> Values,
    help: &'static str,
) -> Family {
    Family { name, help, kind, labels, values }
}

/// All of them, by name.
pub(super) static FAMILIES: [Family; 56] = [
    family(
        "container_blkio_device_usage_total",
        Counter,
        &["device", "major", "minor", "operation"],
        |s| devices(&s.cgroup.io.service_bytes),
        "Bytes moved from and to a block device.",
    ),
    family(
        "container_cpu_cfs_periods_total",
        Counter,
        &[],
        |s| one(s.cgroup.cpu.periods),
        "Periods with a quota in force.",
    ),
    family(
        "container_cpu_cfs_throttled_periods_total",
        Counter,
        &[],
        |s| one(s.cgroup.cpu.throttled_periods),
        "Periods in which the quota ran out.",
    ),
    family(
        "container_cpu_cfs_throttled_seconds_total",
        Counter,
        &[],
        |s| one(s.cgroup.cpu.throttled_ns / SECOND_NS),
        "Time throttled, in whole seconds.",
    ),
    family(
        "container_cpu_system_seconds_total",
        Counter,
        &[],
        |s| one(s.cgroup.cpu.system_ns / SECOND_NS),
        "CPU time used in the kernel, in whole seconds.",
    ),
    family(
        "container_cpu_usage_seconds_total",
        Counter,
        &["cpu"],
        |s| labelled("total", s.cgroup.cpu.usage_ns / SECOND_NS),
        "CPU time used, in whole seconds.",
    ),
    family(
        "container_cpu_user_seconds_total",
        Counter,
        &[],
        |s| one(s.cgroup.cpu.user_ns / SECOND_NS),
        "CPU time used in user mode, in whole seconds.",
    ),
    family("container_file_descriptors", Gauge, &[], |s| figure(s, |f| Some(f.descriptors)), "Open file descriptors."),
    family(
        "container_fs_inodes_free",
        Gauge,
        &["device"],
        |s| layers(s, |l| l.inodes_free),
        "Free inodes of the file system of the writable layer.",
    ),
    family(
        "container_fs_inodes_total",
        Gauge,
        &["device"],
        |s| layers(s, |l| l.inodes),
        "Inodes of the file system of the writable layer.",
    ),
    family(
        "container_fs_limit_bytes",
        Gauge,
        &["device"],
        |s| layers(s, |l| l.bytes),
        "Size of the file system of the writable layer, in bytes.",
    ),
    family(
        "container_fs_reads_bytes_total",
        Counter,
        &["device"],
        |s| operation(&s.cgroup.io.service_bytes, "Read"),
        "Bytes read.",
    ),
    family(
        "container_fs_reads_total",
        Counter,
        &["device"],
        |s| operation(&s.cgroup.io.serviced, "Read"),
        "Reads done.",
    ),
    family("container_fs_usage_bytes", Gauge, &["device"], written, "Bytes of the writable layer."),
    family(
        "container_fs_writes_bytes_total",
        Counter,
        &["device"],
        |s| operation(&s.cgroup.io.service_bytes, "Write"),
        "Bytes written.",
    ),
    family(
        "container_fs_writes_total",
        Counter,
        &["device"],
        |s| operation(&s.cgroup.io.serviced, "Write"),
        "Writes done.",
    ),
    family(
        "container_hugetlb_max_usage_bytes",
        Gauge,
        &["pagesize"],
        |s| hugetlb(s, |h| h.max_usage),
        "Greatest use of huge pages so far, in bytes.",
    ),
    family(
        "container_hugetlb_usage_bytes",
        Gauge,
        &["pagesize"],
        |s| hugetlb(s, |h| h.usage),
        "Huge pages in use, in bytes.",
    ),
    family(
        "container_last_seen",
        Gauge,
        &[],
        |s| one(seconds(s.time_ns)),
        "When it was seen last, in seconds since 1970.",
    ),
    family(
        "container_memory_cache",
        Gauge,
        &[],
        |s| one(stat(s, &["total_cache", "cache", "file"])),
        "Page cache, in bytes.",
    ),
    family(
        "container_memory_failcnt",
        Counter,
        &[],
        |s| one(s.cgroup.memory.failcnt),
        "How often the memory limit was hit.",
    ),
    family("container_memory_failures_total", Counter, &["failure_type", "scope"], faults, "Page faults."),
    family(
        "container_memory_kernel_usage",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.kernel.unwrap_or(0)),
        "Kernel memory, in bytes.",
    ),
    family(
        "container_memory_mapped_file",
        Gauge,
        &[],
        |s| one(stat(s, &["total_mapped_file", "mapped_file", "file_mapped"])),
        "Files mapped into memory, in bytes.",
    ),
    family(
        "container_memory_max_usage_bytes",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.max_usage),
        "Greatest memory use so far, in bytes.",
    ),
    family("container_memory_rss", Gauge, &[], |s| one(s.cgroup.memory.rss()), "Anonymous memory, in bytes."),
    family(
        "container_memory_swap",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.swap.map_or(0, |swap| swap.usage)),
        "Swap in use, in bytes.",
    ),
    family(
        "container_memory_usage_bytes",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.usage),
        "Memory in use with page cache, in bytes.",
    ),
    family(
        "container_memory_working_set_bytes",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.working_set()),
        "Memory in use that cannot be dropped at once, in bytes.",
    ),
    family("container_network_receive_bytes_total", Counter, &["interface"], |s| interfaces(s, 0), "Bytes received."),
    family(
        "container_network_receive_errors_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 2),
        "Errors while packets were received.",
    ),
    family(
        "container_network_receive_packets_dropped_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 3),
        "Packets dropped that were to be received.",
    ),
    family(
        "container_network_receive_packets_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 1),
        "Packets received.",
    ),
    family(
        "container_network_transmit_bytes_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 4),
        "Bytes transmitted.",
    ),
    family(
        "container_network_transmit_errors_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 6),
        "Errors while packets were transmitted.",
    ),
    family(
        "container_network_transmit_packets_dropped_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 7),
        "Packets dropped that were to be transmitted.",
    ),
    family(
        "container_network_transmit_packets_total",
        Counter,
        &["interface"],
        |s| interfaces(s, 5),
        "Packets transmitted.",
    ),
    family(
        "container_oom_events_total",
        Counter,
        &[],
        |s| one(s.cgroup.memory.oom_kills),
        "Processes killed because memory ran out.",
    ),
    family(
        "container_pressure_cpu_stalled_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.cpu.pressure, |p| p.full),
        "Time in which all tasks waited for CPU, in whole seconds.",
    ),
    family(
        "container_pressure_cpu_waiting_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.cpu.pressure, |p| p.some),
        "Time in which some tasks waited for CPU, in whole seconds.",
    ),
    family(
        "container_pressure_io_stalled_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.io.pressure, |p| p.full),
        "Time in which all tasks waited for input and output, in whole seconds.",
    ),
    family(
        "container_pressure_io_waiting_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.io.pressure, |p| p.some),
        "Time in which some tasks waited for input and output, in whole seconds.",
    ),
    family(
        "container_pressure_memory_stalled_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.memory.pressure, |p| p.full),
        "Time in which all tasks waited for memory, in whole seconds.",
    ),
    family(
        "container_pressure_memory_waiting_seconds_total",
        Counter,
        &[],
        |s| pressure(s.cgroup.memory.pressure, |p| p.some),
        "Time in which some tasks waited for memory, in whole seconds.",
    ),
    family("container_processes", Gauge, &[], |s| figure(s, |f| Some(f.processes)), "Processes."),
    family("container_sockets", Gauge, &[], |s| figure(s, |f| Some(f.sockets)), "Open sockets."),
    family(
        "container_spec_cpu_period",
        Gauge,
        &[],
        |s| one(s.limits.cpu_period_us.unwrap_or(CPU_PERIOD_US)),
        "Period of the CPU quota, in microseconds.",
    ),
    family("container_spec_cpu_quota", Gauge, &[], quota, "CPU quota in each period, in microseconds."),
    family("container_spec_cpu_shares", Gauge, &[], |s| one(s.limits.cpu_shares.unwrap_or(CPU_SHARES)), "CPU shares."),
    family(
        "container_spec_memory_limit_bytes",
        Gauge,
        &[],
        |s| one(s.cgroup.memory.limit.unwrap_or(0)),
        "Memory limit in bytes; 0 is none.",
    ),
    family(
        "container_spec_memory_reservation_limit_bytes",
        Gauge,
        &[],
        |s| one(positive(s.limits.memory_reservation_bytes)),
        "Soft memory limit in bytes; 0 is none.",
    ),
    family(
        "container_spec_memory_swap_limit_bytes",
        Gauge,
        &[],
        |s| one(positive(s.limits.memory_swap_bytes)),
        "Limit of memory and swap together in bytes; 0 is none.",
    ),
    family(
        "container_start_time_seconds",
        Gauge,
        &[],
        |s| one(seconds(s.started_ns)),
        "When it was started, in seconds since 1970.",
    ),
    family("container_threads", Gauge, &[], |s| one(s.cgroup.pids.current), "Threads."),
    family(
        "container_threads_max",
        Gauge,
        &[],
        |s| one(s.cgroup.pids.limit.unwrap_or(0)),
        "Greatest number of threads allowed; 0 is without limit.",
    ),
    family("container_ulimits_soft", Gauge, &["ulimit"], open_files, "Soft limits of the first process."),
];

fn one(value: u64) -> Values {
    vec![(Vec::new(), value)]
}

fn labelled(label: &str, value: u64) -> Values {
    vec![(vec![label.to_owned()], value)]
}

fn seconds(time_ns: i64) -> u64 {
    u64::try_from(time_ns).unwrap_or(0) / SECOND_NS
}

fn positive(limit: Option<i64>) -> u64 {
    limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0)
}

/// Of the keys that the versions of cgroups have for one thing, the first that is there.
fn stat(s: &Subject<'_>, keys: &[&str]) -> u64 {
    keys.iter().find_map(|key| s.cgroup.memory.stat.get(*key).copied()).unwrap_or(0)
}

fn figure(s: &Subject<'_>, value: fn(&ProcessFigures) -> Option<u64>) -> Values {
    s.figures.as_ref().and_then(value).map(one).unwrap_or_default()
}

fn open_files(s: &Subject<'_>) -> Values {
    let limit = s.figures.as_ref().and_then(|figures| figures.open_files_soft);
    limit.map(|limit| labelled("max_open_files", limit)).unwrap_or_default()
}

fn layers(s: &Subject<'_>, value: fn(&LayersCapacity) -> u64) -> Values {
    s.layers.map(|layers| labelled(&layers.device, value(layers))).unwrap_or_default()
}

fn written(s: &Subject<'_>) -> Values {
    let written = s.layers.zip(s.writable);
    written.map(|(layers, measured)| labelled(&layers.device, measured.usage.bytes)).unwrap_or_default()
}

fn hugetlb(s: &Subject<'_>, value: fn(&HugetlbStats) -> u64) -> Values {
    s.cgroup.hugetlb.iter().map(|(size, figures)| (vec![size.clone()], value(figures))).collect()
}

fn quota(s: &Subject<'_>) -> Values {
    s.limits.cpu_quota_us.and_then(|quota| u64::try_from(quota).ok()).map(one).unwrap_or_default()
}

fn interfaces(s: &Subject<'_>, index: usize) -> Values {
    s.network.iter().map(|(name, counters)| (vec![name.clone()], counters[index])).collect()
}

fn pressure(pressure: Option<Pressure>, line: fn(&Pressure) -> PressureLine) -> Values {
    pressure.map(|pressure| one(line(&pressure).total_us / 1_000_000)).unwrap_or_default()
}

fn faults(s: &Subject<'_>) -> Values {
    let row = |kind: &str, scope: &str, value: u64| (vec![kind.to_owned(), scope.to_owned()], value);
    let (minor, major) = (s.cgroup.memory.page_faults(), s.cgroup.memory.major_page_faults());
    vec![
        row("pgfault", "container", stat(s, &["pgfault"])),
        row("pgfault", "hierarchy", minor),
        row("pgmajfault", "container", stat(s, &["pgmajfault"])),
        row("pgmajfault", "hierarchy", major),
    ]
}

fn device(entry: &IoEntry) -> String {
    format!("{}:{}", entry.major, entry.minor)
}

fn devices(entries: &[IoEntry]) -> Values {
    let row = |entry: &IoEntry| {
        let labels = vec![device(entry), entry.major.to_string(), entry.minor.to_string(), entry.op.clone()];
        (labels, entry.value)
    };
    entries.iter().map(row).collect()
}

fn operation(entries: &[IoEntry], op: &str) -> Values {
    entries.iter().filter(|entry| entry.op == op).map(|entry| (vec![device(entry)], entry.value)).collect()
}
