//! Reading statistics from cgroup v2 files.

use std::fs;
use std::path::Path;

use super::v2::V2;
use super::{
    CgroupStats, CpuStats, Error, HugetlbStats, IoEntry, IoStats, MemoryStats, Pressure, Result, SwapStats,
    control_file, stats_v1,
};

pub(super) fn read(v2: &V2) -> Result<CgroupStats> {
    let directory = v2.directory();
    if !directory.is_dir() {
        return Err(Error::NotFound { path: directory.to_owned() });
    }
    let mut stats = CgroupStats {
        version: 2,
        cpu: read_cpu(directory)?,
        memory: read_memory(directory)?,
        pids: stats_v1::read_pids(directory)?,
        io: parse_io(&control_file::read(directory, "io.stat")?.unwrap_or_default()),
        hugetlb: std::collections::BTreeMap::new(),
    };
    for size in hugepage_sizes(directory, ".max")? {
        let file = |what: &str| format!("hugetlb.{size}.{what}");
        let events = control_file::read_map(directory, &file("events"))?;
        let figures = HugetlbStats {
            usage: control_file::read_number(directory, &file("current"))?.unwrap_or(0),
            max_usage: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
            limit: control_file::read_number(directory, &file("max"))?,
        };
        stats.hugetlb.insert(size, figures);
    }
    read_pressure(directory, &mut stats)?;
    Ok(stats)
}

/// See [`super::Cgroup::brief_stats`].
pub(super) fn read_brief(v2: &V2) -> Result<CgroupStats> {
    let directory = v2.directory();
    if !directory.is_dir() {
        return Err(Error::NotFound { path: directory.to_owned() });
    }
    let (cpu, memory) = (read_cpu(directory)?, read_memory(directory)?);
    let mut stats = CgroupStats { version: 2, cpu, memory, ..CgroupStats::default() };
    read_pressure(directory, &mut stats)?;
    Ok(stats)
}

fn read_cpu(directory: &Path) -> Result<CpuStats> {
    let stat = control_file::read_map(directory, "cpu.stat")?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| get(key).saturating_mul(1_000);
    Ok(CpuStats {
        usage_ns: nanoseconds("usage_usec"),
        user_ns: nanoseconds("user_usec"),
        system_ns: nanoseconds("system_usec"),
        percpu_ns: Vec::new(),
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_ns: nanoseconds("throttled_usec"),
        pressure: None,
    })
}

fn read_memory(directory: &Path) -> Result<MemoryStats> {
    let number = |file: &str| control_file::read_number(directory, file);
    let events = control_file::read_map(directory, "memory.events")?;
    let event = |key: &str| events.get(key).copied().unwrap_or(0);
    let stat = control_file::read_map(directory, "memory.stat")?;
    let swap = match number("memory.swap.current")? {
        Some(usage) => Some(SwapStats { usage, limit: number("memory.swap.max")? }),
        None => None,
    };
    Ok(MemoryStats {
        usage: number("memory.current")?.unwrap_or(0),
        max_usage: number("memory.peak")?.unwrap_or(0),
        limit: number("memory.max")?,
        failcnt: event("max"),
        swap,
        kernel: stat.get("kernel").copied(),
        oom_kills: event("oom_kill"),
        stat,
        pressure: None,
    })
}

/// Lines of `major:minor rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn parse_io(text: &str) -> IoStats {
    let mut io = IoStats::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut io.service_bytes, "Read"),
                "wbytes" => (&mut io.service_bytes, "Write"),
                "dbytes" => (&mut io.service_bytes, "Discard"),
                "rios" => (&mut io.serviced, "Read"),
                "wios" => (&mut io.serviced, "Write"),
                "dios" => (&mut io.serviced, "Discard"),
                _ => continue,
            };
            list.push(IoEntry { major, minor, op: op.to_owned(), value });
        }
    }
    io
}

pub(super) fn read_pressure(directory: &Path, stats: &mut CgroupStats) -> Result<()> {
    let pressure = |file: &str| -> Result<Option<Pressure>> {
        Ok(control_file::read(directory, file)?.map(|text| Pressure::parse(&text)))
    };
    stats.cpu.pressure = pressure("cpu.pressure")?;
    stats.memory.pressure = pressure("memory.pressure")?;
    stats.io.pressure = pressure("io.pressure")?;
    Ok(())
}

/// The page sizes that have a file `hugetlb.<size><ending>`.
pub(super) fn hugepage_sizes(directory: &Path, ending: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).map_err(|e| Error::io("list", directory, e))?;
    let mut sizes: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(ending)?;
            // `2MB.rsvd` counts reservations.
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_stat_becomes_entries_by_operation() {
        let io = parse_io("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\nnonsense rbytes=1\n");
        let figures = |list: &[IoEntry]| -> Vec<_> { list.iter().map(|e| (e.minor, e.op.clone(), e.value)).collect() };
        let expect = |values: [u64; 3]| {
            ["Read", "Write", "Discard"].iter().zip(values).map(|(op, v)| (16, (*op).to_owned(), v)).collect::<Vec<_>>()
        };
        assert_eq!(figures(&io.service_bytes), expect([1, 2, 5]));
        assert_eq!(figures(&io.serviced), expect([3, 4, 6]));
    }
}
