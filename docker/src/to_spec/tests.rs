//! Golden tests of the translation. Each case is a create body as a client sends it.

use engine::spec::{LogAttributes, LogSpec};

use super::*;

fn request(body: &str) -> Result<ContainerSpec> {
    translate("web", body, &|name| Err(Error::not_found(format!("No such container: {name}"))))
}

fn translate(name: &str, body: &str, find: Find<'_>) -> Result<ContainerSpec> {
    let config: Config = docker_api::from_slice(body.as_bytes()).unwrap();
    let extras: docker_api::container::CreateExtras = docker_api::from_slice(body.as_bytes()).unwrap();
    container_spec(CreateRequest {
        name,
        platform: "",
        config: &config,
        host: &extras.host_config,
        networks: &extras.networking_config,
        image_ports: &["8080/tcp".to_owned()],
        cgroup_version: 1,
        cpus: 2,
        find,
        document: "{}".into(),
    })
}

fn host(fields: &str) -> Result<ContainerSpec> {
    request(&format!(r#"{{"Image":"busybox","HostConfig":{{{fields}}}}}"#))
}

fn refused(fields: &str) -> String {
    host(fields).unwrap_err().to_string()
}

fn own(spec: &ContainerSpec) -> &SandboxSpec {
    match &spec.sandbox {
        SandboxChoice::Own(sandbox) => sandbox,
        SandboxChoice::Pod(_) => panic!("docker containers have sandboxes of their own"),
    }
}

#[test]
fn the_body_of_docker_run() {
    // `docker run -it --name web -e A=1 -p 8080:80 -v data:/data -v /etc:/host:ro --memory 64m busybox sh`, CLI 28.
    let spec = request(include_str!("testdata/run.json")).unwrap();
    insta::assert_json_snapshot!(spec);
}

#[test]
fn everything_that_hostconfig_can_say() {
    let spec = request(include_str!("testdata/everything.json")).unwrap();
    insta::assert_json_snapshot!(spec);
}

#[test]
fn a_body_of_nulls_asks_for_nothing() {
    let spec = request(include_str!("testdata/nulls.json")).unwrap();
    assert_eq!(
        own(&spec).network,
        NetworkMode::Networks(vec![EndpointSpec { network: "bridge".into(), ..EndpointSpec::default() }])
    );
    assert_eq!(spec.process.cmd, None);
    assert!(spec.mounts.is_empty() && own(&spec).ports.is_empty());
    let attributes = LogAttributes::default();
    assert_eq!(spec.log, LogSpec::JsonFile { max_bytes: 0, max_files: 1, compress: false, attributes });
}

#[test]
fn unsupported_fields_are_refused_by_name() {
    for (fields, words) in [
        (r#""Cgroup":"container:x""#, "HostConfig.Cgroup"),
        (r#""StorageOpt":{"size":"1g"}"#, "HostConfig.StorageOpt"),
        (r#""Isolation":"hyperv""#, "HostConfig.Isolation"),
        (r#""KernelMemory":4194304"#, "HostConfig.KernelMemory"),
        (r#""CpuCount":2"#, "HostConfig.CpuCount"),
        (r#""IOMaximumIOps":2"#, "HostConfig.IOMaximumIOps"),
        (r#""IpcMode":"none""#, "HostConfig.IpcMode"),
        (r#""IpcMode":"bogus""#, "HostConfig.IpcMode: invalid mode: bogus"),
        (r#""UTSMode":"container:x""#, "HostConfig.UTSMode"),
        (r#""UsernsMode":"private""#, "HostConfig.UsernsMode"),
        (r#""CgroupnsMode":"x""#, "HostConfig.CgroupnsMode"),
        (r#""ShmSize":-1"#, "HostConfig.ShmSize"),
        (r#""NetworkMode":"ns:/proc/1/ns/net""#, "HostConfig.NetworkMode"),
        (r#""LogConfig":{"Type":"fluentd"}"#, "logger: no log driver named 'fluentd' is registered"),
        (r#""LogConfig":{"Config":{"max-size":"tiny"}}"#, "max-size: invalid size: 'tiny'"),
        (r#""DeviceRequests":[{"Driver":"nvidia","Count":-1}]"#, "HostConfig.DeviceRequests"),
        (r#""SecurityOpt":["bogus=1"]"#, "invalid --security-opt 2: \"bogus=1\""),
        (r#""SecurityOpt":["seccomp={"]"#, "Decoding seccomp profile failed"),
        (r#""Tmpfs":{"/x":"size=lots"}"#, "HostConfig.Tmpfs./x"),
        (r#""Ulimits":[{"Name":"nofile","Soft":5,"Hard":4}]"#, "ulimit soft limit must be less"),
        (r#""NanoCpus":3000000000"#, "as there are only 2 CPUs available"),
        (r#""NanoCpus":1000000000,"CpuQuota":5"#, "Nano CPUs and CPU Quota"),
        (r#""CpuShares":-5"#, "HostConfig.CpuShares"),
        (r#""MemorySwappiness":-2"#, "valid memory swappiness range is 0-100"),
        (r#""OomScoreAdj":2000"#, "range for oom score adj"),
        (r#""RestartPolicy":{"Name":"sometimes"}"#, "unknown policy 'sometimes'"),
        (r#""RestartPolicy":{"Name":"always","MaximumRetryCount":3}"#, "maximum retry count"),
        (r#""RestartPolicy":{"Name":"always"},"AutoRemove":true"#, "AutoRemove"),
        (r#""PidMode":"container:gone""#, "No such container: gone"),
        (r#""VolumesFrom":["gone"]"#, "No such container: gone"),
        (r#""PortBindings":{"80/quic":null}"#, "invalid port specification: \"80/quic\""),
        (r#""PortBindings":{"80":[{"HostPort":"90-80"}]}"#, "invalid port specification: \"90-80\""),
        (r#""PortBindings":{"80":[{"HostIp":"x"}]}"#, "invalid IP address: \"x\""),
        (r#""Mounts":[{"Type":"bind","Source":"rel","Target":"/x"}]"#, "mount path must be absolute"),
        (r#""Mounts":[{"Type":"volume","Target":""}]"#, "field Target must not be empty"),
        (r#""Mounts":[{"Type":"npipe","Source":"a","Target":"/x"}]"#, "not supported on a Linux node"),
        (r#""Mounts":[{"Type":"what","Target":"/x"}]"#, "mount type unknown: \"what\""),
        (
            r#""Mounts":[{"Type":"tmpfs","Target":"/x","VolumeOptions":{}}]"#,
            "field VolumeOptions must not be specified",
        ),
    ] {
        let text = refused(fields);
        assert!(text.contains(words), "{fields}: {text}");
    }
    assert!(request(r#"{"Cmd":["sh"]}"#).unwrap_err().to_string().contains("Image"));
    let health = r#"{"Image":"b","Healthcheck":{"Test":["CMD","true"],"Interval":5}}"#;
    assert!(request(health).unwrap_err().to_string().contains("Interval in Healthcheck"));
}

#[test]
fn real_time_and_block_limits_reach_the_spec() {
    let device = r#"[{"Path":"/dev/sda","Rate":5}]"#;
    let spec = host(&format!(
        r#""CpuRealtimeRuntime":1000,"BlkioWeight":300,"BlkioWeightDevice":[{{"Path":"/dev/sda","Weight":200}}],
        "BlkioDeviceReadBps":{device},"BlkioDeviceWriteBps":{device},"BlkioDeviceReadIOps":{device},
        "BlkioDeviceWriteIOps":{device}"#
    ));
    let limits = spec.unwrap().resources;
    let rates = vec![("/dev/sda".to_owned(), 5)];
    assert_eq!((limits.cpu_rt_runtime_us, limits.blkio_weight), (Some(1000), Some(300)));
    assert_eq!(limits.blkio_weight_device, [("/dev/sda".to_owned(), 200)]);
    assert_eq!([limits.blkio_read_bps, limits.blkio_write_bps], [rates.clone(), rates.clone()]);
    assert_eq!([limits.blkio_read_iops, limits.blkio_write_iops], [rates.clone(), rates]);
}

#[test]
fn what_a_shared_network_forbids() {
    let find = |_: &str| Err(Error::not_found("No such container: x"));
    let mode = r#""HostConfig":{"NetworkMode":"container:"}"#;
    assert!(
        translate("a", &format!(r#"{{"Image":"b",{mode}}}"#), &find)
            .unwrap_err()
            .to_string()
            .contains("container:<name|id>")
    );
}

#[test]
fn the_network_of_the_mode_comes_first_and_priorities_are_kept() {
    let body = r#"{"Image":"b","HostConfig":{"NetworkMode":"front"},"NetworkingConfig":{"EndpointsConfig":{
        "back":{"Aliases":["db"],"GwPriority":5},"front":{"IPAMConfig":{"IPv4Address":"10.1.2.3"},
        "MacAddress":"02:42:0a:00:00:01"},"more":null}}}"#;
    let spec = request(body).unwrap();
    let NetworkMode::Networks(list) = &own(&spec).network else { panic!() };
    let names: Vec<&str> = list.iter().map(|endpoint| endpoint.network.as_str()).collect();
    assert_eq!(names, ["front", "back", "more"]);
    assert_eq!(list[0].ipv4, Some("10.1.2.3".parse().unwrap()));
    assert_eq!(list[0].mac, Some([2, 0x42, 10, 0, 0, 1]));
    assert_eq!(list.iter().map(|endpoint| endpoint.gateway_priority).collect::<Vec<_>>(), [0, 5, 0]);
}

#[test]
fn all_exposed_ports_are_published_once() {
    let body = r#"{"Image":"b","ExposedPorts":{"80/tcp":{},"53/udp":{}},"HostConfig":{"PublishAllPorts":true,
        "PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8000-8010"}],"90/sctp":[]}}}"#;
    let spec = request(body).unwrap();
    let ports: Vec<_> =
        own(&spec).ports.iter().map(|p| (p.container_port, p.protocol, p.host_port, p.host_port_end)).collect();
    use engine::spec::Protocol::{Sctp, Tcp, Udp};
    assert_eq!(ports, [(80, Tcp, 8000, 8010), (90, Sctp, 0, 0), (53, Udp, 0, 0), (8080, Tcp, 0, 0)]);
}

#[test]
fn a_host_network_publishes_nothing() {
    let spec = host(r#""NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"80"}]}"#).unwrap();
    assert_eq!(own(&spec).network, NetworkMode::Host);
    assert!(own(&spec).ports.is_empty());
}

#[test]
fn an_empty_entrypoint_clears_the_images() {
    let spec = request(r#"{"Image":"b","Entrypoint":[""],"Cmd":"ls -l"}"#).unwrap();
    assert_eq!(spec.process.entrypoint, Some(Vec::new()));
    assert_eq!(spec.process.cmd, Some(vec!["ls -l".to_owned()]));
}

use engine::spec::{EndpointSpec, NetworkMode};
