//! Writing limits to cgroup v1 files.

use std::path::Path;

use super::v1::V1;
use super::{BlockIo, Controller, Cpu, Error, Limits, Memory, Network, Result, control_file, convert, devices};

/// What can be refused before the first effect.
pub(super) fn check(v1: &V1, limits: &Limits) -> Result<()> {
    if let Some(file) = limits.unified.keys().next() {
        let reason = format!("{file:?} is a cgroup v2 file, and this host has cgroup v1");
        return Err(Error::unsupported("unified", reason));
    }
    devices::check(&limits.devices)?;
    if let Some(memory) = &limits.memory {
        convert::check_memory(memory)?;
    }
    let memory = limits.memory.as_ref().is_some_and(|memory| *memory != Memory::default());
    let cpu = limits.cpu.clone().unwrap_or_default();
    let placed = !cpu.cpus.is_empty() || !cpu.mems.is_empty();
    let timed = cpu != Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() };
    let network = limits.network.clone().unwrap_or_default();
    let needs = [
        (!limits.devices.is_empty(), Controller::Devices, "devices"),
        (memory, Controller::Memory, "memory"),
        (timed, Controller::Cpu, "cpu"),
        (placed, Controller::Cpuset, "cpu.cpus"),
        (limits.pids.is_some_and(|pids| pids.limit.unwrap_or(0) != 0), Controller::Pids, "pids"),
        (limits.block_io.as_ref().is_some_and(|io| *io != BlockIo::default()), Controller::Blkio, "blockIO"),
        (!limits.hugepage_limits.is_empty(), Controller::Hugetlb, "hugepageLimits"),
        (network.class_id.is_some(), Controller::NetCls, "network.classID"),
        (!network.priorities.is_empty(), Controller::NetPrio, "network.priorities"),
        (!limits.rdma.is_empty(), Controller::Rdma, "rdma"),
    ];
    for (asked, controller, field) in needs {
        if asked && v1.directory(controller).is_none() {
            let reason = format!("the kernel has no {controller} controller mounted");
            return Err(Error::unsupported(field, reason));
        }
    }
    Ok(())
}

/// Writes what is asked for. `check` went before, so a controller that is asked for is there.
pub(super) fn set(v1: &V1, limits: &Limits) -> Result<()> {
    let at = |controller| v1.directory(controller);
    if let (Some(memory), Some(directory)) = (&limits.memory, at(Controller::Memory)) {
        set_memory(directory, memory)?;
    }
    if let Some(cpu) = &limits.cpu {
        if let Some(directory) = at(Controller::Cpu) {
            set_cpu(directory, cpu)?;
        }
        if let Some(directory) = at(Controller::Cpuset) {
            set_cpuset(directory, cpu)?;
        }
    }
    if let (Some(limit), Some(directory)) = (limits.pids.and_then(|pids| pids.limit), at(Controller::Pids)) {
        match limit {
            0 => {}
            ..0 => control_file::write(directory, "pids.max", "max", "pids.limit")?,
            _ => control_file::write(directory, "pids.max", &limit.to_string(), "pids.limit")?,
        }
    }
    if let (Some(block_io), Some(directory)) = (&limits.block_io, at(Controller::Blkio)) {
        set_block_io(directory, block_io)?;
    }
    if let Some(directory) = at(Controller::Hugetlb) {
        for limit in &limits.hugepage_limits {
            let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
            control_file::write(directory, &file, &limit.limit.to_string(), "hugepageLimits")?;
        }
    }
    if let Some(network) = &limits.network {
        set_network(v1, network)?;
    }
    if let Some(directory) = at(Controller::Rdma) {
        for (device, rdma) in &limits.rdma {
            control_file::write(directory, "rdma.max", &convert::rdma_line(device, *rdma), "rdma")?;
        }
    }
    if let (false, Some(directory)) = (limits.devices.is_empty(), at(Controller::Devices)) {
        devices::write_v1(directory, &limits.devices)?;
    }
    Ok(())
}

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP: &str = "memory.memsw.limit_in_bytes";

fn set_memory(directory: &Path, memory: &Memory) -> Result<()> {
    set_memory_and_swap(directory, memory)?;
    if let Some(reservation) = memory.reservation.filter(|value| *value != 0) {
        let value = reservation.to_string();
        control_file::write(directory, "memory.soft_limit_in_bytes", &value, "memory.reservation")?;
    }
    // memory.kernel: refused by kernels since 5.16 and ignored by runc, crun and docker alike.
    if let Some(bytes) = memory.kernel_tcp.filter(|value| *value != 0) {
        control_file::write(directory, "memory.kmem.tcp.limit_in_bytes", &bytes.to_string(), "memory.kernelTCP")?;
    }
    if let Some(swappiness) = memory.swappiness.filter(|value| *value >= 0) {
        control_file::write(directory, "memory.swappiness", &swappiness.to_string(), "memory.swappiness")?;
    }
    if let Some(disable) = memory.disable_oom_killer {
        let value = if disable { "1" } else { "0" };
        control_file::write(directory, "memory.oom_control", value, "memory.disableOOMKiller")?;
    }
    // memory.useHierarchy: always so since 5.11, and the file takes nothing else where there are parents.
    Ok(())
}

/// The kernel holds limit ≤ limit of memory plus swap after every single write, so the order depends on the
/// direction: when both grow, swap goes first; when both shrink, memory does.
fn set_memory_and_swap(directory: &Path, memory: &Memory) -> Result<()> {
    let limit = memory.limit.filter(|value| *value != 0);
    let has_swap = directory.join(SWAP).exists();
    let swap = match memory.swap.filter(|value| *value != 0) {
        // Unlimited memory under an old limit of both would be refused.
        None if limit == Some(-1) && has_swap => Some(-1),
        Some(-1) if !has_swap => None,
        Some(_) if !has_swap => {
            return Err(Error::unsupported("memory.swap", "the kernel does not account swap (swapaccount=0)"));
        }
        swap => swap,
    };
    let swap_first = match (limit, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(swap)) => {
            let current = control_file::read_number(directory, LIMIT)?.unwrap_or(u64::MAX);
            current < swap.unsigned_abs()
        }
        _ => false,
    };
    if swap_first {
        write_limit(directory, SWAP, swap, "memory.swap")?;
    }
    if memory.check_before_update == Some(true) {
        refuse_below_usage(directory, limit)?;
    }
    write_limit(directory, LIMIT, limit, "memory.limit")?;
    if !swap_first {
        write_limit(directory, SWAP, swap, "memory.swap")?;
    }
    Ok(())
}

fn refuse_below_usage(directory: &Path, limit: Option<i64>) -> Result<()> {
    let usage = control_file::read_number(directory, "memory.usage_in_bytes")?.unwrap_or(0);
    convert::check_usage(limit, usage)
}

fn write_limit(directory: &Path, file: &str, value: Option<i64>, field: &str) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    match control_file::write(directory, file, &value.to_string(), field) {
        Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
            let usage = control_file::read_number(directory, "memory.usage_in_bytes")?.unwrap_or(0);
            let reason = format!("{value} bytes is less than what is in use and cannot be reclaimed ({usage} bytes)");
            Err(Error::invalid(field, reason))
        }
        other => other,
    }
}

fn set_cpu(directory: &Path, cpu: &Cpu) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        set_shares(directory, shares)?;
    }
    if let Some(idle) = cpu.idle {
        control_file::write(directory, "cpu.idle", &idle.to_string(), "cpu.idle")?;
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        control_file::write(directory, "cpu.rt_period_us", &period.to_string(), "cpu.realtimePeriod")?;
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        control_file::write(directory, "cpu.rt_runtime_us", &runtime.to_string(), "cpu.realtimeRuntime")?;
    }
    set_bandwidth(directory, cpu)
}

/// The kernel clamps shares in silence; a caller that asked for more should hear of it.
fn set_shares(directory: &Path, shares: u64) -> Result<()> {
    control_file::write(directory, "cpu.shares", &shares.to_string(), "cpu.shares")?;
    let taken = control_file::read_number(directory, "cpu.shares")?.unwrap_or(shares);
    match taken.cmp(&shares) {
        std::cmp::Ordering::Less => {
            Err(Error::invalid("cpu.shares", format!("{shares} is more than the most allowed, {taken}")))
        }
        std::cmp::Ordering::Greater => {
            Err(Error::invalid("cpu.shares", format!("{shares} is less than the least allowed, {taken}")))
        }
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// Period, quota and burst bound each other, and the kernel checks after each write. A period that the old quota does
/// not allow is written after the quota, a burst that the old quota does not allow too.
fn set_bandwidth(directory: &Path, cpu: &Cpu) -> Result<()> {
    let burst = cpu.burst.map(|burst| burst.to_string());
    let period = cpu.period.filter(|period| *period != 0).map(|period| period.to_string());
    let write = |file: &str, value: &Option<String>, field: &str| match value {
        Some(value) => control_file::write(directory, file, value, field),
        None => Ok(()),
    };
    let is_order = |result: &Result<()>| matches!(result, Err(Error::Invalid { .. }));
    let mut burst_result = write("cpu.cfs_burst_us", &burst, "cpu.burst");
    let mut period_result = write("cpu.cfs_period_us", &period, "cpu.period");
    if !is_order(&burst_result) {
        burst_result?;
        burst_result = Ok(());
    }
    if !is_order(&period_result) {
        period_result?;
        period_result = Ok(());
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        control_file::write(directory, "cpu.cfs_quota_us", &quota.max(-1).to_string(), "cpu.quota")?;
        if period_result.is_err() {
            period_result = write("cpu.cfs_period_us", &period, "cpu.period");
        }
        if burst_result.is_err() {
            burst_result = write("cpu.cfs_burst_us", &burst, "cpu.burst");
        }
    }
    period_result.and(burst_result)
}

fn set_cpuset(directory: &Path, cpu: &Cpu) -> Result<()> {
    if !cpu.cpus.is_empty() {
        control_file::write(directory, "cpuset.cpus", &cpu.cpus, "cpu.cpus")?;
    }
    if !cpu.mems.is_empty() {
        control_file::write(directory, "cpuset.mems", &cpu.mems, "cpu.mems")?;
    }
    Ok(())
}

fn set_block_io(directory: &Path, block_io: &BlockIo) -> Result<()> {
    let weight_file = if directory.join("blkio.weight").exists() { "blkio.weight" } else { "blkio.bfq.weight" };
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        control_file::write(directory, weight_file, &weight.to_string(), "blockIO.weight")?;
    }
    if let Some(weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        control_file::write(directory, "blkio.leaf_weight", &weight.to_string(), "blockIO.leafWeight")?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            let file = format!("{weight_file}_device");
            control_file::write(directory, &file, &value, "blockIO.weightDevice")?;
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            control_file::write(directory, "blkio.leaf_weight_device", &value, "blockIO.weightDevice")?;
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps_device, "blockIO.throttleReadBpsDevice"),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps_device, "blockIO.throttleWriteBpsDevice"),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops_device, "blockIO.throttleReadIOPSDevice"),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops_device, "blockIO.throttleWriteIOPSDevice"),
    ];
    for (file, devices, field) in throttles {
        for device in devices {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            control_file::write(directory, file, &value, field)?;
        }
    }
    Ok(())
}

fn set_network(v1: &V1, network: &Network) -> Result<()> {
    if let (Some(class), Some(directory)) = (network.class_id, v1.directory(Controller::NetCls)) {
        control_file::write(directory, "net_cls.classid", &class.to_string(), "network.classID")?;
    }
    if let Some(directory) = v1.directory(Controller::NetPrio) {
        for entry in &network.priorities {
            let value = format!("{} {}", entry.name, entry.priority);
            control_file::write(directory, "net_prio.ifpriomap", &value, "network.priorities")?;
        }
    }
    Ok(())
}
