//! Reading statistics from cgroup v1 files.

use std::path::Path;

use super::v1::V1;
use super::{
    CgroupStats, Controller, CpuStats, Error, HugetlbStats, IoEntry, IoStats, MemoryStats, PidsStats, Result,
    SwapStats, control_file, stats_v2,
};

pub(super) fn read(v1: &V1) -> Result<CgroupStats> {
    if !v1.exists() {
        let path = v1.directories().into_iter().next().map(|(_, path)| path).unwrap_or_default();
        return Err(Error::NotFound { path });
    }
    let mut stats = CgroupStats { version: 1, ..CgroupStats::default() };
    read_cpu(v1, &mut stats.cpu)?;
    if let Some(directory) = v1.directory(Controller::Memory) {
        read_memory(directory, &mut stats.memory)?;
    }
    if let Some(directory) = v1.directory(Controller::Pids) {
        stats.pids = read_pids(directory)?;
    }
    if let Some(directory) = v1.directory(Controller::Blkio) {
        read_io(directory, &mut stats.io)?;
    }
    if let Some(directory) = v1.directory(Controller::Hugetlb) {
        for size in stats_v2::hugepage_sizes(directory, ".limit_in_bytes")? {
            let number = |what: &str| control_file::read_number(directory, &format!("hugetlb.{size}.{what}"));
            let figures = HugetlbStats {
                usage: number("usage_in_bytes")?.unwrap_or(0),
                max_usage: number("max_usage_in_bytes")?.unwrap_or(0),
                failcnt: number("failcnt")?.unwrap_or(0),
                limit: number("limit_in_bytes")?,
            };
            stats.hugetlb.insert(size, figures);
        }
    }
    if let Some(unified) = v1.unified() {
        stats_v2::read_pressure(unified.directory(), &mut stats)?;
    }
    Ok(stats)
}

/// See [`super::Cgroup::brief_stats`].
pub(super) fn read_brief(v1: &V1) -> Result<CgroupStats> {
    let gone =
        || Error::NotFound { path: v1.directories().into_iter().next().map(|(_, path)| path).unwrap_or_default() };
    let mut stats = CgroupStats { version: 1, ..CgroupStats::default() };
    if let Some(directory) = v1.directory(Controller::Cpuacct) {
        stats.cpu.usage_ns = control_file::read_number(directory, "cpuacct.usage")?.ok_or_else(gone)?;
    }
    if let Some(directory) = v1.directory(Controller::Memory) {
        read_memory_use(directory, &mut stats.memory)?;
    }
    if let Some(unified) = v1.unified() {
        stats_v2::read_pressure(unified.directory(), &mut stats)?;
    }
    Ok(stats)
}

fn read_cpu(v1: &V1, cpu: &mut CpuStats) -> Result<()> {
    if let Some(directory) = v1.directory(Controller::Cpuacct) {
        let number = |file: &str| control_file::read_number(directory, file);
        cpu.usage_ns = number("cpuacct.usage")?.unwrap_or(0);
        match (number("cpuacct.usage_user")?, number("cpuacct.usage_sys")?) {
            (Some(user), Some(system)) => (cpu.user_ns, cpu.system_ns) = (user, system),
            // Linux before 4.6 counts only in ticks, of which there are 100 a second on every architecture here.
            _ => {
                let ticks = control_file::read_map(directory, "cpuacct.stat")?;
                let nanoseconds = |key: &str| ticks.get(key).copied().unwrap_or(0).saturating_mul(10_000_000);
                (cpu.user_ns, cpu.system_ns) = (nanoseconds("user"), nanoseconds("system"));
            }
        }
        let percpu = control_file::read(directory, "cpuacct.usage_percpu")?.unwrap_or_default();
        cpu.percpu_ns = percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    }
    if let Some(directory) = v1.directory(Controller::Cpu) {
        let stat = control_file::read_map(directory, "cpu.stat")?;
        let get = |key: &str| stat.get(key).copied().unwrap_or(0);
        cpu.periods = get("nr_periods");
        cpu.throttled_periods = get("nr_throttled");
        cpu.throttled_ns = get("throttled_time");
    }
    Ok(())
}

fn read_memory(directory: &Path, memory: &mut MemoryStats) -> Result<()> {
    let number = |file: &str| control_file::read_number(directory, file);
    read_memory_use(directory, memory)?;
    memory.max_usage = number("memory.max_usage_in_bytes")?.unwrap_or(0);
    memory.failcnt = number("memory.failcnt")?.unwrap_or(0);
    memory.kernel = number("memory.kmem.usage_in_bytes")?;
    memory.oom_kills = control_file::read_map(directory, "memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
    Ok(())
}

fn read_memory_use(directory: &Path, memory: &mut MemoryStats) -> Result<()> {
    let number = |file: &str| control_file::read_number(directory, file);
    memory.usage = number("memory.usage_in_bytes")?.unwrap_or(0);
    memory.limit = number("memory.limit_in_bytes")?;
    memory.swap = match number("memory.memsw.usage_in_bytes")? {
        Some(both) => Some(SwapStats {
            usage: both.saturating_sub(memory.usage),
            limit: number("memory.memsw.limit_in_bytes")?
                .zip(memory.limit)
                .map(|(both, memory)| both.saturating_sub(memory)),
        }),
        None => None,
    };
    memory.stat = control_file::read_map(directory, "memory.stat")?;
    Ok(())
}

pub(super) fn read_pids(directory: &Path) -> Result<PidsStats> {
    Ok(PidsStats {
        current: control_file::read_number(directory, "pids.current")?.unwrap_or(0),
        limit: control_file::read_number(directory, "pids.max")?,
    })
}

/// Which files count depends on the scheduler of the disk; the throttle layer's count for all of them but are there
/// last, because before Linux 4.x they missed what was not throttled.
fn read_io(directory: &Path, io: &mut IoStats) -> Result<()> {
    for prefix in ["blkio.bfq.io", "blkio.io", "blkio.throttle.io"] {
        let entries = |what: &str| -> Result<Vec<IoEntry>> {
            let text = control_file::read(directory, &format!("{prefix}_{what}_recursive"))?;
            Ok(parse_blkio(&text.unwrap_or_default()))
        };
        io.service_bytes = entries("service_bytes")?;
        io.serviced = entries("serviced")?;
        if !io.serviced.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Lines of `major:minor Op number`, and a total without a device, which is passed over.
fn parse_blkio(text: &str) -> Vec<IoEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let op = words.next()?.to_owned();
        let value = words.next()?.parse().ok()?;
        Some(IoEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, op, value })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_lines_become_entries_and_the_total_is_passed_over() {
        let entries = parse_blkio("8:0 Read 4096\n8:0 Write 0\n253:1 Total 7\nTotal 4103\ngarbage\n");
        let figures: Vec<_> = entries.iter().map(|e| (e.major, e.minor, e.op.as_str(), e.value)).collect();
        assert_eq!(figures, [(8, 0, "Read", 4096), (8, 0, "Write", 0), (253, 1, "Total", 7)]);
    }
}
