//! Writing limits to cgroup v2 files.

use std::fmt::Write as _;
use std::path::Path;

use super::v2::V2;
use super::{BlockIo, Cpu, Error, Limits, Memory, Result, ThrottleDevice, control_file, convert, devices, devices_bpf};

/// What can be refused before the first effect.
pub(super) fn check(v2: &V2, limits: &Limits) -> Result<()> {
    devices::check(&limits.devices)?;
    let mut needs: Vec<(&str, String)> = Vec::new();
    if let Some(memory) = &limits.memory {
        check_memory(memory)?;
        if *memory != Memory::default() {
            needs.push(("memory", "memory".to_owned()));
        }
    }
    if let Some(cpu) = &limits.cpu {
        if cpu.realtime_runtime.unwrap_or(0) != 0 || cpu.realtime_period.unwrap_or(0) != 0 {
            return Err(Error::unsupported("cpu.realtimeRuntime", "cgroup v2 has no real-time bandwidth"));
        }
        if !cpu.cpus.is_empty() || !cpu.mems.is_empty() {
            needs.push(("cpuset", "cpu.cpus".to_owned()));
        }
        if *cpu != (Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() }) {
            needs.push(("cpu", "cpu".to_owned()));
        }
    }
    if limits.network.as_ref().is_some_and(|n| n.class_id.is_some() || !n.priorities.is_empty()) {
        return Err(Error::unsupported("network", "cgroup v2 has no network classes and priorities"));
    }
    if limits.pids.is_some_and(|pids| pids.limit.unwrap_or(0) != 0) {
        needs.push(("pids", "pids".to_owned()));
    }
    if limits.block_io.as_ref().is_some_and(|io| *io != BlockIo::default()) {
        needs.push(("io", "blockIO".to_owned()));
    }
    if !limits.hugepage_limits.is_empty() {
        needs.push(("hugetlb", "hugepageLimits".to_owned()));
    }
    if !limits.rdma.is_empty() {
        needs.push(("rdma", "rdma".to_owned()));
    }
    for file in limits.unified.keys() {
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            return Err(Error::invalid(format!("unified[{file:?}]"), "not the name of a cgroup v2 file"));
        };
        if controller != "cgroup" {
            needs.push((controller, format!("unified[{file:?}]")));
        }
    }
    if needs.is_empty() {
        return Ok(());
    }
    let available = v2.available_controllers()?;
    for (controller, field) in needs {
        if !available.iter().any(|have| have == controller) {
            return Err(Error::unsupported(
                field,
                format!("the kernel gives no {controller} controller to this cgroup"),
            ));
        }
    }
    Ok(())
}

fn check_memory(memory: &Memory) -> Result<()> {
    convert::check_memory(memory)?;
    convert::swap_only(memory.limit, memory.swap)?;
    if memory.disable_oom_killer == Some(true) {
        return Err(Error::unsupported("memory.disableOOMKiller", "cgroup v2 has no such switch"));
    }
    if memory.swappiness.is_some_and(|swappiness| swappiness >= 0) {
        return Err(Error::unsupported("memory.swappiness", "cgroup v2 has no swappiness"));
    }
    Ok(())
}

/// Writes what is asked for into `directory`.
pub(super) fn set(directory: &Path, limits: &Limits) -> Result<()> {
    if let Some(memory) = &limits.memory {
        set_memory(directory, memory)?;
    }
    if let Some(cpu) = &limits.cpu {
        set_cpu(directory, cpu)?;
    }
    if let Some(limit) = limits.pids.and_then(|pids| pids.limit).filter(|limit| *limit != 0) {
        control_file::write(directory, "pids.max", &convert::or_max(limit), "pids.limit")?;
    }
    if let Some(block_io) = &limits.block_io {
        set_block_io(directory, block_io)?;
    }
    for limit in &limits.hugepage_limits {
        let value = limit.limit.to_string();
        control_file::write(directory, &format!("hugetlb.{}.max", limit.page_size), &value, "hugepageLimits")?;
        // Reserved pages are counted apart since 5.7; without a limit there the other one kills by SIGBUS.
        let reserved = format!("hugetlb.{}.rsvd.max", limit.page_size);
        if directory.join(&reserved).exists() {
            control_file::write(directory, &reserved, &value, "hugepageLimits")?;
        }
    }
    for (device, rdma) in &limits.rdma {
        control_file::write(directory, "rdma.max", &convert::rdma_line(device, *rdma), "rdma")?;
    }
    if !limits.devices.is_empty() {
        devices_bpf::attach(directory, &limits.devices)?;
    }
    for (file, value) in &limits.unified {
        for line in value.lines() {
            control_file::write(directory, file, line, &format!("unified[{file:?}]"))?;
        }
    }
    Ok(())
}

fn set_memory(directory: &Path, memory: &Memory) -> Result<()> {
    let limit = memory.limit.filter(|value| *value != 0);
    if memory.check_before_update == Some(true) {
        let usage = control_file::read_number(directory, "memory.current")?.unwrap_or(0);
        convert::check_usage(limit, usage)?;
    }
    if let Some(swap) = convert::swap_only(memory.limit, memory.swap)? {
        match control_file::write(directory, "memory.swap.max", &convert::or_max(swap), "memory.swap") {
            // No swap in this kernel, and none was asked for.
            Err(Error::Unsupported { .. }) if swap <= 0 => {}
            other => other?,
        }
    }
    if let Some(limit) = limit {
        control_file::write(directory, "memory.max", &convert::or_max(limit), "memory.limit")?;
    }
    if let Some(reservation) = memory.reservation.filter(|value| *value != 0) {
        control_file::write(directory, "memory.low", &convert::or_max(reservation), "memory.reservation")?;
    }
    Ok(())
}

fn set_cpu(directory: &Path, cpu: &Cpu) -> Result<()> {
    if let Some(idle) = cpu.idle {
        control_file::write(directory, "cpu.idle", &idle.to_string(), "cpu.idle")?;
    }
    // An idle cgroup has a fixed weight and refuses any other.
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
        let weight = convert::cpu_shares_to_weight(shares).to_string();
        control_file::write(directory, "cpu.weight", &weight, "cpu.shares")?;
    }
    set_bandwidth(directory, cpu)?;
    if !cpu.cpus.is_empty() {
        control_file::write(directory, "cpuset.cpus", &cpu.cpus, "cpu.cpus")?;
    }
    if !cpu.mems.is_empty() {
        control_file::write(directory, "cpuset.mems", &cpu.mems, "cpu.mems")?;
    }
    Ok(())
}

/// Quota and period are one file, so only the burst has to wait where the old quota is below it.
fn set_bandwidth(directory: &Path, cpu: &Cpu) -> Result<()> {
    let write_burst = || match cpu.burst {
        Some(burst) => control_file::write(directory, "cpu.max.burst", &burst.to_string(), "cpu.burst"),
        None => Ok(()),
    };
    let burst = write_burst();
    if !matches!(burst, Ok(()) | Err(Error::Invalid { .. })) {
        return burst;
    }
    let quota = cpu.quota.unwrap_or(0);
    let period = cpu.period.unwrap_or(0);
    if quota == 0 && period == 0 {
        return burst;
    }
    let quota = match quota {
        0 => current_quota(directory)?,
        quota => convert::or_max(quota),
    };
    let value = if period == 0 { quota } else { format!("{quota} {period}") };
    control_file::write(directory, "cpu.max", &value, "cpu.quota")?;
    burst.or_else(|_| write_burst())
}

/// A period alone leaves the quota as it is.
fn current_quota(directory: &Path) -> Result<String> {
    let text = control_file::read(directory, "cpu.max")?.unwrap_or_default();
    Ok(text.split_whitespace().next().unwrap_or("max").to_owned())
}

fn set_block_io(directory: &Path, block_io: &BlockIo) -> Result<()> {
    if block_io.leaf_weight.unwrap_or(0) != 0 {
        return Err(Error::unsupported("blockIO.leafWeight", "cgroup v2 has no leaf weights"));
    }
    let bfq = directory.join("io.bfq.weight").exists();
    let (file, convert): (&str, fn(u16) -> u64) =
        if bfq { ("io.bfq.weight", u64::from) } else { ("io.weight", convert::io_weight_from_blkio) };
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        control_file::write(directory, file, &convert(weight).to_string(), "blockIO.weight")?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let value = format!("{}:{} {}", device.major, device.minor, convert(weight));
            control_file::write(directory, file, &value, "blockIO.weightDevice")?;
        }
    }
    let throttles: [(&str, &[ThrottleDevice], &str); 4] = [
        ("rbps", &block_io.throttle_read_bps_device, "blockIO.throttleReadBpsDevice"),
        ("wbps", &block_io.throttle_write_bps_device, "blockIO.throttleWriteBpsDevice"),
        ("riops", &block_io.throttle_read_iops_device, "blockIO.throttleReadIOPSDevice"),
        ("wiops", &block_io.throttle_write_iops_device, "blockIO.throttleWriteIOPSDevice"),
    ];
    for (key, devices, field) in throttles {
        for device in devices {
            let mut value = format!("{}:{} {key}=", device.major, device.minor);
            match device.rate {
                0 => value.push_str("max"),
                rate => write!(value, "{rate}").unwrap_or_default(),
            }
            control_file::write(directory, "io.max", &value, field)?;
        }
    }
    Ok(())
}
