//! One sample of a sandbox's use: its containers', its parent cgroup's if it was given one, its network's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::config::CgroupDriver;
use crate::container::{CgroupStats, ContainerHandle, ContainerView, InterfaceCounters, Phase, StatsSample, stats};
use crate::error::{Error, Result};
use crate::event::now_ns;
use crate::sandbox::{SandboxHandle, SandboxPhase, SandboxView};
use crate::spec::NetworkMode;

/// Containers of one pod that are asked at once.
const PARALLEL_MAX: usize = 8;
/// For one container or cgroup; what hangs is left out.
const SAMPLE_MAX: Duration = Duration::from_secs(2);

/// A container's sample, with what it was when it was taken.
pub type ContainerSample = (Arc<ContainerView>, StatsSample);

/// A sample of a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxSample {
    /// The sandbox as it was.
    pub view: Arc<SandboxView>,
    /// When, ns since 1970.
    pub time_ns: i64,
    /// Of the cgroup that was given as its parent; else the sum of its containers.
    pub cgroup: CgroupStats,
    /// Nanoseconds of CPU time used each second since the sample before; `None` at the first.
    pub cpu_nano_cores: Option<u64>,
    /// Of its network namespace; empty on the host's network.
    pub network: Vec<InterfaceCounters>,
    /// Processes.
    pub processes: u64,
    /// Its containers that run.
    pub containers: Vec<ContainerSample>,
}

/// Takes a sample now.
pub(crate) async fn sample(sandbox: &SandboxHandle) -> Result<SandboxSample> {
    let view = sandbox.view();
    if view.phase != SandboxPhase::Ready {
        return Err(Error::conflict(format!("sandbox {} is not up", view.id)));
    }
    let containers = containers(sandbox, &view).await;
    let driver = sandbox.core.config.cgroup_driver;
    let of_kernel = {
        let view = Arc::clone(&view);
        let paths: Vec<String> = containers.iter().map(|(container, _)| container.cgroup_path.clone()).collect();
        tokio::task::spawn_blocking(move || read(&view, driver, &paths))
    };
    let (parent, processes, network) = match tokio::time::timeout(SAMPLE_MAX, of_kernel).await {
        Ok(Ok(read)) => read,
        _ => return Err(Error::new(crate::ErrorKind::DeadlineExceeded, format!("sandbox {}: no figures", view.id))),
    };
    let time_ns = now_ns();
    let cgroup = parent.unwrap_or_else(|| sum(containers.iter().map(|(_, sample)| &sample.cgroup)));
    let cpu_nano_cores = sandbox.cell.cpu_rate.note(time_ns, cgroup.cpu.usage_ns);
    Ok(SandboxSample { view, time_ns, cgroup, cpu_nano_cores, network, processes, containers })
}

async fn containers(sandbox: &SandboxHandle, view: &SandboxView) -> Vec<ContainerSample> {
    let running = view.containers.iter().filter_map(|id| {
        let cell = sandbox.core.containers.get(id)?;
        let container = ContainerHandle { core: Arc::clone(&sandbox.core), cell };
        matches!(container.view().phase, Phase::Running | Phase::Paused).then_some(container)
    });
    let samples = running.collect::<Vec<_>>().into_iter().map(|container| async move {
        let sample = tokio::time::timeout(SAMPLE_MAX, container.stats()).await.ok()?.ok()?;
        Some((container.view(), sample))
    });
    let samples = futures_util::stream::iter(samples).buffered(PARALLEL_MAX);
    samples.filter_map(|sample| async { sample }).collect().await
}

/// What is read from the kernel: the pod's own cgroup, its processes, its network. Blocking.
fn read(
    view: &SandboxView,
    driver: CgroupDriver,
    containers: &[String],
) -> (Option<CgroupStats>, u64, Vec<InterfaceCounters>) {
    let driver = match driver {
        CgroupDriver::Cgroupfs => sys::cgroup::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => sys::cgroup::CgroupDriver::Systemd,
    };
    let parent = Some(view.spec.cgroup_parent.as_str()).filter(|parent| !parent.is_empty());
    let parent = parent.and_then(|parent| parent_cgroup(driver, parent)?.stats().ok());
    let processes = containers.iter().filter_map(|path| sys::cgroup::Cgroup::new(driver, path).ok()?.pids().ok());
    let processes = processes.map(|pids| pids.len() as u64).sum();
    let network = match view.spec.network {
        NetworkMode::Host => Vec::new(),
        _ => stats::counters_at(&view.netns_path),
    };
    (parent, processes, network)
}

/// The cgroup that containers of a sandbox are made below.
fn parent_cgroup(driver: sys::cgroup::CgroupDriver, parent: &str) -> Option<sys::cgroup::Cgroup> {
    let path = match driver {
        sys::cgroup::CgroupDriver::Cgroupfs => parent.to_owned(),
        // A slice's folder is found as that of a unit in it.
        sys::cgroup::CgroupDriver::Systemd => {
            let unit = sys::cgroup::Cgroup::new(driver, &format!("{parent}:gantry:pod")).ok()?;
            unit.path().rsplit_once('/')?.0.to_owned()
        }
    };
    sys::cgroup::Cgroup::new(sys::cgroup::CgroupDriver::Cgroupfs, &path).ok()
}

/// PURE. The figures of several cgroups as one; limits have no sum.
fn sum<'a>(parts: impl Iterator<Item = &'a CgroupStats>) -> CgroupStats {
    let mut whole = CgroupStats::default();
    for part in parts {
        whole.version = part.version;
        whole.cpu.usage_ns += part.cpu.usage_ns;
        whole.cpu.user_ns += part.cpu.user_ns;
        whole.cpu.system_ns += part.cpu.system_ns;
        whole.memory.usage += part.memory.usage;
        whole.memory.oom_kills += part.memory.oom_kills;
        for (key, value) in &part.memory.stat {
            *whole.memory.stat.entry(key.clone()).or_default() += value;
        }
        if let Some(swap) = part.memory.swap {
            whole.memory.swap.get_or_insert_default().usage += swap.usage;
        }
        whole.pids.current += part.pids.current;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut part = CgroupStats { version: 2, ..Default::default() };
        part.cpu.usage_ns = 3;
        part.memory.usage = 10;
        part.memory.stat.insert("inactive_file".into(), 4);
        part.pids.current = 2;
        let whole = sum([&part, &part].into_iter());
        assert_eq!((whole.cpu.usage_ns, whole.memory.usage, whole.pids.current), (6, 20, 4));
        assert_eq!(whole.memory.working_set(), 12);
        assert_eq!(sum(std::iter::empty()), CgroupStats::default());
    }
}
