//! From the engine's samples to CRI's statistics. Pure.

use engine::container::{ContainerView, InterfaceCounters, MemoryStats, Pressure, PressureLine, StatsSample};
use engine::sandbox::SandboxSample;
use engine::snapshot::Measured;

use crate::from_engine::{container_metadata, map, metadata};
use crate::proto as cri;

/// ContainerStats; `layers` is the directory that holds writable layers.
pub(crate) fn container(view: &ContainerView, sample: &StatsSample, layers: &str) -> cri::ContainerStats {
    let timestamp = sample.time_ns;
    cri::ContainerStats {
        attributes: Some(cri::ContainerAttributes {
            id: view.id.to_string(),
            metadata: container_metadata(view),
            labels: map(&view.spec.labels),
            annotations: map(&view.spec.annotations),
        }),
        cpu: Some(cpu(timestamp, &sample.cgroup, sample.cpu_nano_cores)),
        memory: Some(memory(timestamp, &sample.cgroup.memory)),
        writable_layer: sample.writable.map(|measured| writable_layer(measured, layers)),
        swap: swap(timestamp, &sample.cgroup.memory),
        io: Some(cri::IoUsage { timestamp, psi: sample.cgroup.io.pressure.map(psi) }),
    }
}

/// PodSandboxStats, with those of its containers.
pub(crate) fn sandbox(sample: &SandboxSample, layers: &str) -> cri::PodSandboxStats {
    let (view, timestamp) = (&sample.view, sample.time_ns);
    let containers = sample.containers.iter().map(|(view, sample)| container(view, sample, layers));
    cri::PodSandboxStats {
        attributes: Some(cri::PodSandboxAttributes {
            id: view.id.to_string(),
            metadata: metadata(view.spec.pod.as_ref()),
            labels: map(&view.spec.labels),
            annotations: map(&view.spec.annotations),
        }),
        linux: Some(cri::LinuxPodSandboxStats {
            cpu: Some(cpu(timestamp, &sample.cgroup, sample.cpu_nano_cores)),
            memory: Some(memory(timestamp, &sample.cgroup.memory)),
            network: network(timestamp, &sample.network),
            process: Some(cri::ProcessUsage { timestamp, process_count: value(sample.processes) }),
            containers: containers.collect(),
            io: Some(cri::IoUsage { timestamp, psi: sample.cgroup.io.pressure.map(psi) }),
        }),
        windows: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a field that may be absent")]
fn value(value: u64) -> Option<cri::UInt64Value> {
    Some(cri::UInt64Value { value })
}

fn cpu(timestamp: i64, cgroup: &engine::container::CgroupStats, nano_cores: Option<u64>) -> cri::CpuUsage {
    cri::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(cgroup.cpu.usage_ns),
        usage_nano_cores: nano_cores.and_then(value),
        psi: cgroup.cpu.pressure.map(psi),
    }
}

fn memory(timestamp: i64, memory: &MemoryStats) -> cri::MemoryUsage {
    cri::MemoryUsage {
        timestamp,
        working_set_bytes: value(memory.working_set()),
        available_bytes: memory.available().and_then(value),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss()),
        page_faults: value(memory.page_faults()),
        major_page_faults: value(memory.major_page_faults()),
        psi: memory.pressure.map(psi),
    }
}

/// Nothing where the kernel does not count swap.
fn swap(timestamp: i64, memory: &MemoryStats) -> Option<cri::SwapUsage> {
    let swap = memory.swap?;
    Some(cri::SwapUsage {
        timestamp,
        swap_available_bytes: swap.limit.and_then(|limit| value(limit.saturating_sub(swap.usage))),
        swap_usage_bytes: value(swap.usage),
    })
}

fn writable_layer(measured: Measured, layers: &str) -> cri::FilesystemUsage {
    cri::FilesystemUsage {
        timestamp: measured.time_ns,
        fs_id: Some(cri::FilesystemIdentifier { mountpoint: layers.to_owned() }),
        used_bytes: value(measured.usage.bytes),
        inodes_used: value(measured.usage.inodes),
    }
}

/// The interface that the default route leaves by is called `eth0` in every pod; without it, the first.
fn network(timestamp: i64, counters: &[InterfaceCounters]) -> Option<cri::NetworkUsage> {
    let default = counters.iter().position(|(name, _)| name == "eth0").unwrap_or(0);
    let interface = |(name, [rx_bytes, _, rx_errors, _, tx_bytes, _, tx_errors, _]): &InterfaceCounters| {
        cri::NetworkInterfaceUsage {
            name: name.clone(),
            rx_bytes: value(*rx_bytes),
            rx_errors: value(*rx_errors),
            tx_bytes: value(*tx_bytes),
            tx_errors: value(*tx_errors),
        }
    };
    let default_interface = counters.get(default).map(interface)?;
    let others = counters.iter().enumerate().filter(|(index, _)| *index != default);
    let interfaces = others.map(|(_, counters)| interface(counters)).collect();
    Some(cri::NetworkUsage { timestamp, default_interface: Some(default_interface), interfaces })
}

/// The kernel counts microseconds, CRI nanoseconds.
fn psi(pressure: Pressure) -> cri::PsiStats {
    let data = |line: PressureLine| cri::PsiData {
        total: line.total_us.saturating_mul(1000),
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    cri::PsiStats { full: Some(data(pressure.full)), some: Some(data(pressure.some)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_interface_stands_apart() {
        let counters = [("net1".to_owned(), [1; 8]), ("eth0".to_owned(), [1, 2, 3, 4, 5, 6, 7, 8])];
        let usage = network(9, &counters).unwrap();
        let eth0 = usage.default_interface.unwrap();
        let figures =
            [eth0.rx_bytes, eth0.rx_errors, eth0.tx_bytes, eth0.tx_errors].map(|figure| figure.unwrap().value);
        assert_eq!((eth0.name.as_str(), figures), ("eth0", [1, 3, 5, 7]));
        assert_eq!(usage.interfaces.len(), 1);
        assert!(network(9, &[]).is_none());
    }

    #[test]
    fn swap_is_told_only_where_it_is_counted() {
        assert!(swap(1, &MemoryStats::default()).is_none());
        let counted = engine::container::SwapStats { usage: 3, limit: Some(10) };
        let told = swap(1, &MemoryStats { swap: Some(counted), ..Default::default() }).unwrap();
        assert_eq!(told.swap_available_bytes.unwrap().value, 7);
    }
}
