//! PURE. Limits of HostConfig -> [`Resources`]. A zero is "not set", as on the wire.

use docker_api::container::{HostConfig, ThrottleDevice};
use engine::spec::Resources;
use engine::{Error, Result};

/// Period that NanoCpus is turned into a quota of, in microseconds.
const NANO_CPUS_PERIOD_US: i64 = 100_000;
const NANOS: i64 = 1_000_000_000;

/// Translates the limits; also used by update.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(crate) fn resources(host: &HostConfig, cpus: usize) -> Result<Resources> {
    let (cpu_quota_us, cpu_period_us) = cfs(host, cpus)?;
    Ok(Resources {
        cpu_shares: set("CpuShares", host.cpu_shares)?,
        cpu_quota_us,
        cpu_period_us,
        cpu_burst_us: None,
        cpu_rt_runtime_us: (host.cpu_realtime_runtime != 0).then_some(host.cpu_realtime_runtime),
        cpu_rt_period_us: set("CpuRealtimePeriod", host.cpu_realtime_period)?,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        memory_bytes: (host.memory != 0).then_some(host.memory),
        memory_reservation_bytes: (host.memory_reservation != 0).then_some(host.memory_reservation),
        memory_swap_bytes: (host.memory_swap != 0).then_some(host.memory_swap),
        // Clients send -1 for "not set".
        memory_swappiness: match host.memory_swappiness {
            None | Some(-1) => None,
            Some(value) => Some(u64::try_from(value).map_err(|_| {
                Error::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"))
            })?),
        },
        kernel_memory_tcp_bytes: (host.kernel_memory_tcp != 0).then_some(host.kernel_memory_tcp),
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        oom_score_adj: match host.oom_score_adj {
            0 => None,
            value => Some(i32::try_from(value).ok().filter(|v| (-1000..=1000).contains(v)).ok_or_else(|| {
                Error::invalid(format!("Invalid value {value}, range for oom score adj is [-1000, 1000]"))
            })?),
        },
        pids_max: host.pids_limit.filter(|limit| *limit != 0),
        blkio_weight: (host.blkio_weight != 0).then_some(host.blkio_weight),
        blkio_weight_device: host.blkio_weight_device.iter().flatten().map(|d| (d.path.clone(), d.weight)).collect(),
        blkio_read_bps: rates(host.blkio_device_read_bps.as_deref()),
        blkio_write_bps: rates(host.blkio_device_write_bps.as_deref()),
        blkio_read_iops: rates(host.blkio_device_read_iops.as_deref()),
        blkio_write_iops: rates(host.blkio_device_write_iops.as_deref()),
        hugetlb: Vec::new(),
        unified: Default::default(),
        ulimits: ulimits(host.ulimits.as_deref().unwrap_or_default())?,
    })
}

/// Quota and period, from NanoCpus or as given.
fn cfs(host: &HostConfig, cpus: usize) -> Result<(Option<i64>, Option<u64>)> {
    if host.nano_cpus == 0 {
        let quota = (host.cpu_quota != 0).then_some(host.cpu_quota);
        return Ok((quota, set("CpuPeriod", host.cpu_period)?));
    }
    if host.cpu_period != 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set."));
    }
    if host.cpu_quota != 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set."));
    }
    let most = i64::try_from(cpus.max(1)).unwrap_or(i64::MAX).saturating_mul(NANOS);
    if host.nano_cpus < 0 || host.nano_cpus > most {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    let quota = i128::from(host.nano_cpus) * i128::from(NANO_CPUS_PERIOD_US) / i128::from(NANOS);
    let quota = i64::try_from(quota).unwrap_or(i64::MAX);
    Ok((Some(quota), Some(NANO_CPUS_PERIOD_US.unsigned_abs())))
}

fn set(field: &str, value: i64) -> Result<Option<u64>> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Error::invalid(format!("HostConfig.{field}: {value} is negative"))),
    }
}

fn rates(devices: Option<&[ThrottleDevice]>) -> Vec<(String, u64)> {
    devices.unwrap_or_default().iter().map(|device| (device.path.clone(), device.rate)).collect()
}

/// -1 is "unlimited".
pub(crate) fn ulimits(asked: &[docker_api::container::Ulimit]) -> Result<Vec<(String, u64, u64)>> {
    let limit = |name: &str, value: i64| match value {
        -1 => Ok(u64::MAX),
        _ => {
            u64::try_from(value).map_err(|_| Error::invalid(format!("HostConfig.Ulimits.{name}: {value} is negative")))
        }
    };
    let one = |ulimit: &docker_api::container::Ulimit| {
        let (soft, hard) = (limit(&ulimit.name, ulimit.soft)?, limit(&ulimit.name, ulimit.hard)?);
        if soft > hard {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            )));
        }
        Ok((ulimit.name.clone(), soft, hard))
    };
    asked.iter().map(one).collect()
}
