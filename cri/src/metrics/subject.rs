//! What metrics are taken of: a container, or a sandbox as a whole.

use engine::container::{CgroupStats, ContainerView, InterfaceCounters, ProcessFigures, StatsSample};
use engine::image::LayersCapacity;
use engine::sandbox::{SandboxSample, SandboxView};
use engine::snapshot::Measured;
use engine::spec::Resources;

/// Labels that every metric has, as the kubelet's cAdvisor gives them. `id` is the cgroup, `name` the container's id.
pub(super) const BASE_LABELS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// See the module.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) labels: [String; 6],
    pub(super) time_ns: i64,
    pub(super) started_ns: i64,
    pub(super) cgroup: &'a CgroupStats,
    pub(super) network: &'a [InterfaceCounters],
    pub(super) limits: &'a Resources,
    pub(super) figures: Option<ProcessFigures>,
    pub(super) writable: Option<Measured>,
    pub(super) layers: Option<&'a LayersCapacity>,
}

impl<'a> Subject<'a> {
    pub(super) fn container(
        sandbox: &SandboxView,
        view: &'a ContainerView,
        sample: &'a StatsSample,
        figures: Option<ProcessFigures>,
        layers: Option<&'a LayersCapacity>,
    ) -> Self {
        let [namespace, pod] = pod(sandbox);
        let (name, id) = (view.spec.door_document.clone(), view.cgroup_path.clone());
        let image =
            if view.spec.image_display.is_empty() { view.spec.image.clone() } else { view.spec.image_display.clone() };
        Self {
            labels: [name, id, image, view.id.to_string(), namespace, pod],
            time_ns: sample.time_ns,
            started_ns: view.started_ns,
            cgroup: &sample.cgroup,
            // The network is the sandbox's.
            network: &[],
            limits: &view.spec.resources,
            figures,
            writable: sample.writable,
            layers,
        }
    }

    pub(super) fn sandbox(sample: &'a SandboxSample) -> Self {
        let [namespace, pod] = pod(&sample.view);
        let id = sample.view.cgroup_parent.clone();
        Self {
            labels: [String::new(), id, String::new(), String::new(), namespace, pod],
            time_ns: sample.time_ns,
            started_ns: sample.view.created_ns,
            cgroup: &sample.cgroup,
            network: &sample.network,
            limits: &sample.view.spec.resources,
            figures: None,
            writable: None,
            layers: None,
        }
    }
}

fn pod(sandbox: &SandboxView) -> [String; 2] {
    let pod = sandbox.spec.pod.as_ref();
    [pod.map(|pod| pod.namespace.clone()), pod.map(|pod| pod.name.clone())].map(Option::unwrap_or_default)
}

/// A subject that has everything.
#[cfg(test)]
pub(super) fn full() -> Subject<'static> {
    use engine::container::{HugetlbStats, IoEntry, Pressure, SwapStats};
    let mut cgroup = CgroupStats { version: 2, ..Default::default() };
    cgroup.cpu.pressure = Some(Pressure::default());
    cgroup.memory.pressure = Some(Pressure::default());
    cgroup.io.pressure = Some(Pressure::default());
    cgroup.memory.swap = Some(SwapStats::default());
    cgroup.hugetlb.insert("2MB".into(), HugetlbStats::default());
    for op in ["Read", "Write"] {
        let entry = IoEntry { major: 8, minor: 0, op: op.into(), value: 1 };
        cgroup.io.service_bytes.push(entry.clone());
        cgroup.io.serviced.push(entry);
    }
    let limits = Resources { cpu_quota_us: Some(1000), ..Default::default() };
    let layers = LayersCapacity { device: "/dev/sda".into(), bytes: 1, inodes: 2, inodes_free: 1 };
    Subject {
        labels: Default::default(),
        time_ns: 1,
        started_ns: 1,
        cgroup: Box::leak(Box::new(cgroup)),
        network: Box::leak(Box::new([("eth0".to_owned(), [1; 8])])),
        limits: Box::leak(Box::new(limits)),
        figures: Some(ProcessFigures { open_files_soft: Some(1), ..Default::default() }),
        writable: Some(Measured { usage: Default::default(), time_ns: 1 }),
        layers: Some(Box::leak(Box::new(layers))),
    }
}
