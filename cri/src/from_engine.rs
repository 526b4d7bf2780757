//! From the engine's views to CRI messages. Pure.

use std::collections::HashMap;

use engine::container::{ContainerView, MountView, Phase, signal};
use engine::id::Owner;
use engine::image::ImageView;
use engine::sandbox::{EndpointInfo, SandboxPhase, SandboxView};
use engine::spec::user::ResolvedUser;
use engine::spec::{
    IdMap, MountSource, MountSpec, NamespaceMode, NetworkMode, PodIdentity, Propagation, Resources, UserNamespaceSpec,
};

use crate::proto as cri;

/// CRI shows what CRI made.
pub(crate) fn is_pod(view: &SandboxView) -> bool {
    view.spec.owner == Owner::Cri && view.spec.pod.is_some()
}

/// CRI shows what CRI made.
pub(crate) fn is_pods_container(view: &ContainerView) -> bool {
    view.spec.owner == Owner::Cri
}

pub(crate) fn metadata(pod: Option<&PodIdentity>) -> Option<cri::PodSandboxMetadata> {
    let pod = pod?;
    Some(cri::PodSandboxMetadata {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        attempt: pod.attempt,
    })
}

pub(crate) fn map(entries: &std::collections::BTreeMap<String, String>) -> HashMap<String, String> {
    entries.clone().into_iter().collect()
}

pub(crate) fn sandbox_state(phase: SandboxPhase) -> cri::PodSandboxState {
    match phase {
        SandboxPhase::Ready => cri::PodSandboxState::SandboxReady,
        SandboxPhase::Creating | SandboxPhase::Stopping | SandboxPhase::NotReady | SandboxPhase::Removing => {
            cri::PodSandboxState::SandboxNotready
        }
    }
}

pub(crate) fn container_state(phase: Phase) -> cri::ContainerState {
    match phase {
        Phase::Created | Phase::Starting => cri::ContainerState::ContainerCreated,
        Phase::Running | Phase::Paused => cri::ContainerState::ContainerRunning,
        Phase::Restarting | Phase::Exited | Phase::Removing => cri::ContainerState::ContainerExited,
        Phase::Dead => cri::ContainerState::ContainerUnknown,
    }
}

/// A line of ListPodSandbox.
pub(crate) fn sandbox(view: &SandboxView) -> cri::PodSandbox {
    cri::PodSandbox {
        id: view.id.to_string(),
        metadata: metadata(view.spec.pod.as_ref()),
        state: sandbox_state(view.phase) as i32,
        created_at: view.created_ns,
        labels: map(&view.spec.labels),
        annotations: map(&view.spec.annotations),
        runtime_handler: view.spec.runtime.clone(),
    }
}

/// PodSandboxStatus.
pub(crate) fn sandbox_status(view: &SandboxView) -> cri::PodSandboxStatus {
    cri::PodSandboxStatus {
        id: view.id.to_string(),
        metadata: metadata(view.spec.pod.as_ref()),
        state: sandbox_state(view.phase) as i32,
        created_at: view.created_ns,
        network: Some(network(&view.endpoints)),
        linux: Some(cri::LinuxPodSandboxStatus {
            namespaces: Some(cri::Namespace { options: Some(namespaces(view)) }),
        }),
        labels: map(&view.spec.labels),
        annotations: map(&view.spec.annotations),
        runtime_handler: view.spec.runtime.clone(),
    }
}

/// Addresses of the first endpoint first, IPv4 before IPv6. Host network has none, as the kubelet expects.
fn network(endpoints: &[EndpointInfo]) -> cri::PodSandboxNetworkStatus {
    let addresses = endpoints.iter().flat_map(|endpoint| {
        let v4 = endpoint.ipv4.map(|(address, _)| address.to_string());
        let v6 = endpoint.ipv6.map(|(address, _)| address.to_string());
        v4.into_iter().chain(v6)
    });
    let mut addresses = addresses;
    let ip = addresses.next().unwrap_or_default();
    cri::PodSandboxNetworkStatus { ip, additional_ips: addresses.map(|ip| cri::PodIp { ip }).collect() }
}

fn namespaces(view: &SandboxView) -> cri::NamespaceOption {
    let mode = |mode: &NamespaceMode| match mode {
        NamespaceMode::Host => cri::NamespaceMode::Node,
        NamespaceMode::Sandbox => cri::NamespaceMode::Pod,
        NamespaceMode::Private => cri::NamespaceMode::Container,
        NamespaceMode::Container(_) => cri::NamespaceMode::Target,
    };
    let node_or_pod = |host: bool| if host { cri::NamespaceMode::Node } else { cri::NamespaceMode::Pod };
    let userns_options = match &view.spec.user {
        UserNamespaceSpec::Host => None,
        UserNamespaceSpec::Mapped { uids, gids } => {
            Some(cri::UserNamespace { mode: cri::NamespaceMode::Pod as i32, uids: id_maps(uids), gids: id_maps(gids) })
        }
    };
    cri::NamespaceOption {
        network: node_or_pod(view.spec.network == NetworkMode::Host) as i32,
        pid: mode(&view.spec.pid) as i32,
        ipc: node_or_pod(view.spec.ipc == NamespaceMode::Host) as i32,
        target_id: String::new(),
        userns_options,
    }
}

fn id_maps(maps: &[IdMap]) -> Vec<cri::IdMapping> {
    let map = |m: &IdMap| cri::IdMapping { host_id: m.host_id, container_id: m.container_id, length: m.length };
    maps.iter().map(map).collect()
}

pub(crate) fn container_metadata(view: &ContainerView) -> Option<cri::ContainerMetadata> {
    Some(cri::ContainerMetadata { name: view.spec.door_document.clone(), attempt: view.spec.attempt })
}

fn image_spec(view: &ContainerView) -> cri::ImageSpec {
    let shown = if view.spec.image_display.is_empty() { &view.spec.image } else { &view.spec.image_display };
    cri::ImageSpec {
        image: shown.clone(),
        user_specified_image: view.spec.image_display.clone(),
        ..cri::ImageSpec::default()
    }
}

/// The digest reference of the image if it has one, else its id.
fn image_ref(view: &ContainerView, image: Option<&ImageView>) -> String {
    let digest = image.and_then(|image| image.digests.first());
    digest.map_or_else(|| view.image_id.to_string(), ToString::to_string)
}

/// A line of ListContainers.
pub(crate) fn container(view: &ContainerView, image: Option<&ImageView>) -> cri::Container {
    cri::Container {
        id: view.id.to_string(),
        pod_sandbox_id: view.sandbox_id.to_string(),
        metadata: container_metadata(view),
        image: Some(image_spec(view)),
        image_ref: image_ref(view, image),
        state: container_state(view.phase) as i32,
        created_at: view.created_ns,
        labels: map(&view.spec.labels),
        annotations: map(&view.spec.annotations),
        image_id: view.image_id.to_string(),
    }
}

/// ContainerStatus.
pub(crate) fn container_status(view: &ContainerView, image: Option<&ImageView>) -> cri::ContainerStatus {
    let (reason, message) = reason(view);
    cri::ContainerStatus {
        id: view.id.to_string(),
        metadata: container_metadata(view),
        state: container_state(view.phase) as i32,
        created_at: view.created_ns,
        started_at: view.started_ns,
        finished_at: view.finished_ns,
        exit_code: view.exit_code,
        image: Some(image_spec(view)),
        image_ref: image_ref(view, image),
        reason,
        message,
        labels: map(&view.spec.labels),
        annotations: map(&view.spec.annotations),
        mounts: view.spec.mounts.iter().zip(&view.mounts).map(|(asked, found)| mount(asked, found)).collect(),
        log_path: view.log_path.clone(),
        resources: Some(cri::ContainerResources { linux: Some(resources(&view.spec.resources)), windows: None }),
        image_id: view.image_id.to_string(),
        user: view.runs_as.as_ref().map(user),
        stop_signal: stop_signal(&view.resolved.stop_signal) as i32,
    }
}

/// The first process's identity. Its groups contain the first one, as the kernel has it from every other runtime.
fn user(user: &ResolvedUser) -> cri::ContainerUser {
    let mut groups: Vec<i64> = user.additional_gids.iter().map(|gid| i64::from(*gid)).collect();
    if !user.additional_gids.contains(&user.gid) {
        groups.insert(0, i64::from(user.gid));
    }
    let linux =
        cri::LinuxContainerUser { uid: i64::from(user.uid), gid: i64::from(user.gid), supplemental_groups: groups };
    cri::ContainerUser { linux: Some(linux) }
}

/// The signal in force: `SIGTERM` where neither the request nor the image names one.
fn stop_signal(text: &str) -> cri::Signal {
    let named = |name: &str| {
        let name = name.to_ascii_uppercase().replace("MAX-", "MAXMINUS").replace('+', "PLUS");
        cri::Signal::from_str_name(&format!("SIGNAL_{name}"))
    };
    let text = if text.is_empty() { "SIGTERM" } else { text };
    let of_number = || named(&signal::name(signal::parse(text).ok()?));
    named(text).or_else(of_number).unwrap_or(cri::Signal::RuntimeDefault)
}

/// The words that `kubectl describe` shows for the end of a container.
fn reason(view: &ContainerView) -> (String, String) {
    let ended = matches!(view.phase, Phase::Exited | Phase::Removing | Phase::Dead);
    let word = match () {
        () if !ended => "",
        () if !view.error.is_empty() => "StartError",
        () if view.oom_killed => "OOMKilled",
        () if view.exit_code == 0 => "Completed",
        () => "Error",
    };
    (word.to_owned(), view.error.clone())
}

fn mount(mount: &MountSpec, found: &MountView) -> cri::Mount {
    let propagation = match mount.propagation {
        Propagation::Rprivate | Propagation::Private => cri::MountPropagation::PropagationPrivate,
        Propagation::Rslave | Propagation::Slave => cri::MountPropagation::PropagationHostToContainer,
        Propagation::Rshared | Propagation::Shared => cri::MountPropagation::PropagationBidirectional,
    };
    let (uids, gids) = mount.id_maps.clone().unwrap_or_default();
    let mut message = cri::Mount {
        container_path: mount.target.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        uid_mappings: id_maps(&uids),
        gid_mappings: id_maps(&gids),
        recursive_read_only: mount.recursive_readonly,
        ..cri::Mount::default()
    };
    match &mount.source {
        MountSource::Bind { path, .. } => message.host_path.clone_from(path),
        MountSource::Image { image, subpath } => {
            let image_ref = found.source.clone();
            message.image = Some(cri::ImageSpec { image: image.clone(), image_ref, ..cri::ImageSpec::default() });
            message.image_sub_path.clone_from(subpath);
        }
        MountSource::Volume { name, .. } => message.host_path.clone_from(name),
        MountSource::Tmpfs { .. } => {}
    }
    message
}

/// Limits in CRI's form.
pub(crate) fn resources(limits: &Resources) -> cri::LinuxContainerResources {
    let signed = |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    let page = |(page_size, limit): &(String, u64)| cri::HugepageLimit { page_size: page_size.clone(), limit: *limit };
    cri::LinuxContainerResources {
        cpu_period: signed(limits.cpu_period_us),
        cpu_quota: limits.cpu_quota_us.unwrap_or(0),
        cpu_shares: signed(limits.cpu_shares),
        memory_limit_in_bytes: limits.memory_bytes.unwrap_or(0),
        oom_score_adj: i64::from(limits.oom_score_adj.unwrap_or(0)),
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        hugepage_limits: limits.hugetlb.iter().map(page).collect(),
        unified: map(&limits.unified),
        memory_swap_limit_in_bytes: limits.memory_swap_bytes.unwrap_or(0),
    }
}

/// An image. Its user is told as a number where it is one, else as a name, for runAsNonRoot.
pub(crate) fn image(view: &ImageView) -> cri::Image {
    let user = view.config.user.split(':').next().unwrap_or_default().to_owned();
    let number = user.parse::<u32>().ok();
    cri::Image {
        id: view.id.to_string(),
        repo_tags: view.names.iter().map(ToString::to_string).collect(),
        repo_digests: view.digests.iter().map(ToString::to_string).collect(),
        size: view.size,
        uid: number.map(|uid| cri::Int64Value { value: i64::from(uid) }),
        username: if number.is_some() { String::new() } else { user },
        spec: None,
        // What only the other door brought here is not the kubelet's to collect.
        pinned: view.pinned || !view.owners.contains(&Owner::Cri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_told_by_cris_names() {
        for (text, expected) in [
            ("", cri::Signal::Sigterm),
            ("SIGUSR1", cri::Signal::Sigusr1),
            ("usr2", cri::Signal::Sigusr2),
            ("9", cri::Signal::Sigkill),
            ("SIGRTMIN+3", cri::Signal::Sigrtminplus3),
            ("SIGRTMAX-14", cri::Signal::Sigrtmaxminus14),
            ("SIGPOLL", cri::Signal::Sigpoll),
        ] {
            assert_eq!(stop_signal(text), expected, "{text}");
        }
    }
}
