//! One sample of a container's use: the shim reads the cgroup, the engine the network counters, and the writable layer
//! is counted in the background.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use crate::config::CgroupDriver;
use crate::container::{ContainerHandle, StatsSample};
use crate::error::{Error, Result};
use crate::event::now_ns;
use crate::spec::NetworkMode;

/// For the cgroups of some containers.
const READ_MAX: Duration = Duration::from_secs(2);
/// Interfaces of one container at most.
const INTERFACES_MAX: usize = 256;

/// Counters of one interface: bytes, packets, errors and drops, received and sent.
pub type InterfaceCounters = (String, [u64; 8]);

/// Takes a sample now.
pub(crate) async fn sample(container: &ContainerHandle) -> Result<StatsSample> {
    let view = container.view();
    let text = container.cell.shim()?.stats(container.id()).await?;
    let cgroup: sys::cgroup::CgroupStats =
        serde_json::from_slice(&text).map_err(|e| Error::internal("statistics of a shim").with_source(e))?;
    let sandbox = container.core.sandboxes.get(&view.sandbox_id);
    let own_network = sandbox.is_some_and(|s| s.view.borrow().spec.network != NetworkMode::Host);
    let network = if own_network && view.pid != 0 { counters(view.pid) } else { Vec::new() };
    let writable = container.core.usage.usage(&view.id.as_str().parse()?).await;
    let time_ns = now_ns();
    let cpu_nano_cores = container.cell.cpu_rate.note(time_ns, cgroup.cpu.usage_ns);
    Ok(StatsSample { time_ns, cgroup, cpu_nano_cores, network, writable })
}

/// Samples of several containers: what a kubelet asks for each ten seconds, read from their cgroups without waking their
/// shims, and without the network, which is the pod's. A container whose cgroup is gone or hangs has none.
pub(crate) async fn brief(containers: &[ContainerHandle]) -> Vec<Option<StatsSample>> {
    let Some(first) = containers.first() else { return Vec::new() };
    let driver = match first.core.config.cgroup_driver {
        CgroupDriver::Cgroupfs => sys::cgroup::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => sys::cgroup::CgroupDriver::Systemd,
    };
    let paths: Vec<String> = containers.iter().map(|container| container.view().cgroup_path.clone()).collect();
    let work = move || {
        let layout = sys::cgroup::Layout::detect().ok()?;
        let read = |path: &String| {
            let cgroup = sys::cgroup::Cgroup::on(layout.clone(), driver, path).ok()?;
            cgroup.brief_stats().ok()
        };
        Some(paths.iter().map(read).collect::<Vec<_>>())
    };
    let read = tokio::time::timeout(READ_MAX, tokio::task::spawn_blocking(work)).await;
    let Ok(Ok(Some(cgroups))) = read else { return containers.iter().map(|_| None).collect() };
    let time_ns = now_ns();
    let mut samples = Vec::with_capacity(containers.len());
    for (container, cgroup) in containers.iter().zip(cgroups) {
        let (Some(cgroup), Ok(key)) = (cgroup, container.id().as_str().parse()) else {
            samples.push(None);
            continue;
        };
        let writable = container.core.usage.usage(&key).await;
        let cpu_nano_cores = container.cell.cpu_rate.note(time_ns, cgroup.cpu.usage_ns);
        samples.push(Some(StatsSample { time_ns, cgroup, cpu_nano_cores, network: Vec::new(), writable }));
    }
    samples
}

/// The counters of the network namespace that process `pid` is in, without `lo`.
fn counters(pid: u32) -> Vec<InterfaceCounters> {
    std::fs::read_to_string(format!("/proc/{pid}/net/dev")).map(|text| parse(&text)).unwrap_or_default()
}

/// The counters of the network namespace at `path`, without `lo`. Blocking.
pub(crate) fn counters_at(path: &str) -> Vec<InterfaceCounters> {
    let read = || {
        let netns = sys::namespace::open(Path::new(path))?;
        sys::netlink::netns::within(netns.as_fd(), || std::fs::read_to_string("/proc/thread-self/net/dev"))
    };
    read().map(|text: String| parse(&text)).unwrap_or_default()
}

/// /proc/net/dev: bytes, packets, errors and drops, received and sent.
pub(crate) fn parse(text: &str) -> Vec<InterfaceCounters> {
    let lines = text.lines().skip(2).filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let figures: Vec<u64> = rest.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        let at = |index: usize| figures.get(index).copied().unwrap_or(0);
        let name = name.trim();
        let all = [at(0), at(1), at(2), at(3), at(8), at(9), at(10), at(11)];
        (name != "lo").then(|| (name.to_owned(), all))
    });
    lines.take(INTERFACES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_net_dev_is_read_without_lo() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0\n  \
            eth0:    1250      11    1    2    0     0          0         0      850       7    3    4    0     0       0          0\n";
        assert_eq!(parse(text), [("eth0".to_owned(), [1250, 11, 1, 2, 850, 7, 3, 4])]);
        assert!(parse("").is_empty());
    }
}
