//! Limits of a runtime spec.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use crate::error::{Error, Result};
use crate::spec::Resources;
use crate::spec::build::built;

/// All but the device rules. `block_devices` gives the numbers of the devices that the limits name by path.
///
/// # Errors
/// `InvalidArgument` for a device that was not found.
pub fn oci(asked: &Resources, block_devices: &HashMap<String, (u32, u32)>) -> Result<LinuxResources> {
    let mut builder = LinuxResourcesBuilder::default();
    builder = builder.cpu(cpu(asked)?).memory(memory(asked)?);
    if let Some(limit) = asked.pids_max {
        builder = builder.pids(built(LinuxPidsBuilder::default().limit(if limit <= 0 { -1 } else { limit }).build())?);
    }
    if let Some(block_io) = block_io(asked, block_devices)? {
        builder = builder.block_io(block_io);
    }
    if !asked.hugetlb.is_empty() {
        let limits = asked.hugetlb.iter().map(|(size, bytes)| {
            let limit = i64::try_from(*bytes).unwrap_or(i64::MAX);
            built(LinuxHugepageLimitBuilder::default().page_size(size.clone()).limit(limit).build())
        });
        builder = builder.hugepage_limits(limits.collect::<Result<Vec<_>>>()?);
    }
    if !asked.unified.is_empty() {
        builder = builder.unified(asked.unified.clone().into_iter().collect::<HashMap<_, _>>());
    }
    built(builder.build())
}

fn cpu(asked: &Resources) -> Result<oci_spec::runtime::LinuxCpu> {
    let mut cpu = built(LinuxCpuBuilder::default().build())?;
    cpu.set_shares(asked.cpu_shares)
        .set_quota(asked.cpu_quota_us)
        .set_period(asked.cpu_period_us)
        .set_burst(asked.cpu_burst_us)
        .set_realtime_runtime(asked.cpu_rt_runtime_us)
        .set_realtime_period(asked.cpu_rt_period_us);
    let text = |value: &String| Some(value.clone()).filter(|v| !v.is_empty());
    cpu.set_cpus(text(&asked.cpuset_cpus)).set_mems(text(&asked.cpuset_mems));
    Ok(cpu)
}

fn memory(asked: &Resources) -> Result<oci_spec::runtime::LinuxMemory> {
    let mut memory = built(LinuxMemoryBuilder::default().build())?;
    memory
        .set_limit(asked.memory_bytes)
        .set_reservation(asked.memory_reservation_bytes)
        .set_swap(asked.memory_swap_bytes)
        .set_swappiness(asked.memory_swappiness)
        .set_kernel_tcp(asked.kernel_memory_tcp_bytes)
        .set_disable_oom_killer(asked.oom_kill_disable.then_some(true));
    Ok(memory)
}

fn block_io(
    asked: &Resources,
    numbers: &HashMap<String, (u32, u32)>,
) -> Result<Option<oci_spec::runtime::LinuxBlockIo>> {
    let lists = [&asked.blkio_read_bps, &asked.blkio_write_bps, &asked.blkio_read_iops, &asked.blkio_write_iops];
    let none = asked.blkio_weight.is_none() && asked.blkio_weight_device.is_empty();
    if none && lists.iter().all(|list| list.is_empty()) {
        return Ok(None);
    }
    let find = |path: &str| {
        let number = numbers.get(path).copied();
        number.ok_or_else(|| Error::invalid(format!("blkio limit: no such block device: {path}")))
    };
    let throttle = |list: &[(String, u64)]| -> Result<Vec<LinuxThrottleDevice>> {
        let entries = list.iter().map(|(path, rate)| {
            let (major, minor) = find(path)?;
            built(LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(*rate).build())
        });
        entries.collect()
    };
    let weights = asked.blkio_weight_device.iter().map(|(path, weight)| {
        let (major, minor) = find(path)?;
        built(LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(*weight).build())
    });
    let mut block_io = built(LinuxBlockIoBuilder::default().build())?;
    block_io
        .set_weight(asked.blkio_weight)
        .set_weight_device(Some(weights.collect::<Result<Vec<_>>>()?))
        .set_throttle_read_bps_device(Some(throttle(&asked.blkio_read_bps)?))
        .set_throttle_write_bps_device(Some(throttle(&asked.blkio_write_bps)?))
        .set_throttle_read_iops_device(Some(throttle(&asked.blkio_read_iops)?))
        .set_throttle_write_iops_device(Some(throttle(&asked.blkio_write_iops)?));
    Ok(Some(block_io))
}
