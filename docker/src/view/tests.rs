//! Golden tests of what clients see of a container.

use std::sync::Arc;

use engine::container::{ContainerView, HealthView, MountView, Phase, ResolvedProcess};
use engine::id::{Digest, Owner};
use engine::sandbox::{EndpointInfo, PublishedPort};
use engine::spec::{ContainerSpec, NamespaceMode, NetworkMode, Protocol, SandboxChoice};

use super::container::{Surroundings, inspect, summary};
use super::status::status;
use crate::to_spec::{CreateRequest, container_spec};

const SECOND: i64 = 1_000_000_000;
const T0: i64 = 1_700_000_000 * SECOND;

fn hex<T: std::str::FromStr<Err = engine::Error>>(digit: char) -> T {
    digit.to_string().repeat(64).parse().unwrap()
}

fn spec(body: &str) -> ContainerSpec {
    let config = docker_api::from_slice(body.as_bytes()).unwrap();
    let extras: docker_api::container::CreateExtras = docker_api::from_slice(body.as_bytes()).unwrap();
    container_spec(CreateRequest {
        name: "web",
        platform: "",
        config: &config,
        host: &extras.host_config,
        networks: &extras.networking_config,
        image_ports: &[],
        cgroup_version: 1,
        cpus: 2,
        find: &|_| unreachable!("the bodies here name no other container"),
        document: body.to_owned(),
    })
    .unwrap()
}

fn view(spec: ContainerSpec) -> ContainerView {
    let resolved = ResolvedProcess {
        path: "sh".into(),
        args: vec!["-c".into(), "echo hi".into()],
        cmd: vec!["sh".into(), "-c".into(), "echo hi".into()],
        env: vec!["PATH=/bin".into(), "A=1".into()],
        cwd: "/".into(),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        stop_signal: "SIGTERM".into(),
        exposed_ports: vec!["8080/tcp".into()],
        ..ResolvedProcess::default()
    };
    ContainerView {
        id: hex('a'),
        name: "web".into(),
        spec: Arc::new(spec),
        sandbox_id: hex('b'),
        image_id: Digest::of(b"image"),
        resolved: Arc::new(resolved),
        phase: Phase::Running,
        pid: 42,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        created_ns: T0 + 1,
        started_ns: T0 + SECOND,
        finished_ns: 0,
        restart_count: 0,
        stopped_by_user: false,
        health: None,
        mounts: vec![MountView {
            kind: "volume".into(),
            name: "data".into(),
            source: "/v/data/_data".into(),
            destination: "/data".into(),
            driver: "local".into(),
            mode: String::new(),
            rw: true,
            propagation: String::new(),
            anonymous: false,
        }],
        endpoints: vec![EndpointInfo {
            network_id: hex('c'),
            network_name: "bridge".into(),
            endpoint_id: hex('d'),
            ipv4: Some(("172.17.0.2".parse().unwrap(), 16)),
            ipv6: None,
            gateway_ipv4: Some("172.17.0.1".parse().unwrap()),
            gateway_ipv6: None,
            mac: "02:42:ac:11:00:02".into(),
            interface: "eth0".into(),
            aliases: Vec::new(),
            gateway_priority: 0,
        }],
        ports: vec![PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
        }],
        log_path: "/l/a-json.log".into(),
        etc_paths: ("/e/resolv.conf".into(), "/e/hostname".into(), "/e/hosts".into()),
        exec_ids: Vec::new(),
        runs_as: None,
        cgroup_path: "/gantry/a".into(),
        seq: 7,
    }
}

fn with_surroundings<T>(then: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let network_id = |name: &str| (name == "bridge").then(|| "c".repeat(64));
    then(&Surroundings { sandbox: None, default_runtime: "gantry", image: "busybox", network_id: &network_id })
}

#[test]
fn inspect_of_a_running_container() {
    let view = view(spec(include_str!("../to_spec/testdata/run.json")));
    insta::assert_json_snapshot!(with_surroundings(|around| inspect(&view, around)));
}

#[test]
fn a_row_of_a_list() {
    let view = view(spec(include_str!("../to_spec/testdata/run.json")));
    insta::assert_json_snapshot!(with_surroundings(|around| summary(&view, around, T0 + 130 * SECOND)));
}

#[test]
fn inspect_of_a_pod_s_container_is_derived_from_its_spec() {
    let mut spec = spec(include_str!("../to_spec/testdata/run.json"));
    spec.owner = Owner::Cri;
    spec.sandbox = SandboxChoice::Pod(hex('b'));
    spec.namespaces.ipc = NamespaceMode::Sandbox;
    spec.door_document = r#"{"metadata":{"name":"not docker's"}}"#.into();
    let view = view(spec);
    let answer = with_surroundings(|around| inspect(&view, around));
    assert_eq!(answer.host_config.binds.as_deref(), Some(&["/etc:/host:ro".to_owned()][..]));
    assert_eq!((answer.host_config.ipc_mode.as_str(), answer.host_config.memory), ("shareable", 64 << 20));
    assert_eq!((answer.config.image.as_str(), answer.config.tty), ("busybox", true));
}

#[test]
fn a_stopped_container_keeps_its_networks_and_has_no_ports() {
    let mut view = view(spec(include_str!("../to_spec/testdata/run.json")));
    (view.phase, view.endpoints) = (Phase::Exited, Vec::new());
    let answer = with_surroundings(|around| inspect(&view, around));
    assert!(answer.network_settings.ports.is_empty() && !answer.state.running);
    let bridge = &answer.network_settings.networks["bridge"];
    assert_eq!((bridge.network_id.len(), bridge.ip_address.as_str()), (64, ""));
}

#[test]
fn an_update_shows_in_inspect() {
    let mut spec = spec(include_str!("../to_spec/testdata/everything.json"));
    assert_eq!(inspected(&spec).nano_cpus, 1_500_000_000);
    spec.resources.cpu_quota_us = Some(20_000);
    spec.resources.memory_bytes = Some(1 << 30);
    spec.restart = engine::spec::RestartPolicy::Always;
    let host = inspected(&spec);
    assert_eq!((host.nano_cpus, host.cpu_quota, host.cpu_period, host.memory), (0, 20_000, 100_000, 1 << 30));
    assert_eq!((host.restart_policy.name.as_str(), host.pids_limit), ("always", Some(100)));
}

fn inspected(spec: &ContainerSpec) -> docker_api::container::HostConfig {
    let view = view(spec.clone());
    with_surroundings(|around| inspect(&view, around)).host_config
}

#[test]
fn a_container_in_the_host_s_network_says_so() {
    let view = view(spec(r#"{"Image":"b","HostConfig":{"NetworkMode":"host"}}"#));
    let SandboxChoice::Own(own) = &view.spec.sandbox else { panic!() };
    assert_eq!(own.network, NetworkMode::Host);
    let row = with_surroundings(|around| summary(&view, around, T0));
    assert_eq!(row.host_config.network_mode, "host");
}

#[test]
fn status_words() {
    let mut view = view(spec(r#"{"Image":"b"}"#));
    let now = T0 + 130 * SECOND;
    assert_eq!(status(&view, now), "Up 2 minutes");
    view.health = Some(HealthView { status: "healthy".into(), ..HealthView::default() });
    assert_eq!(status(&view, now), "Up 2 minutes (healthy)");
    view.health = Some(HealthView { status: "starting".into(), ..HealthView::default() });
    assert_eq!(status(&view, now), "Up 2 minutes (health: starting)");
    (view.exit_code, view.finished_ns) = (3, T0 + 128 * SECOND);
    let words =
        [Phase::Paused, Phase::Exited, Phase::Restarting, Phase::Created, Phase::Removing, Phase::Dead].map(|phase| {
            view.phase = phase;
            status(&view, now)
        });
    assert_eq!(
        words,
        [
            "Up 2 minutes (Paused)",
            "Exited (3) 2 seconds ago",
            "Restarting (3) 2 seconds ago",
            "Created",
            "Removal In Progress",
            "Dead"
        ]
    );
}
