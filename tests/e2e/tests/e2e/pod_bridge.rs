//! Pods on the built-in bridge: ports of the host, the node's own subnets, traffic held to a rate.

use k8s_cri::v1;
use pod::{Kubelet, Pod, pod_config};
use testkit::World;
use tonic::Code;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, logs, refused, with_kubelet};

const SERVER: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/www"];

async fn ip_of(kubelet: &mut Kubelet, pod: &Pod) -> Result<String, pod::Error> {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status = kubelet.runtime.pod_sandbox_status(request).await?.into_inner().status.ok_or("no status")?;
    Ok(status.network.map(|network| network.ip).unwrap_or_default())
}

fn page(world: &World, at: &str) -> String {
    world.sh(&format!("wget -q -T 5 -O - http://{at}/index.html || echo nothing")).trim().to_owned()
}

#[test]
fn host_ports_are_published() {
    let mut world = world_with_busybox();
    let before = world.census();
    let mapping = |host_port, host_ip: &str, protocol: v1::Protocol| v1::PortMapping {
        container_port: 8080,
        host_port,
        host_ip: host_ip.into(),
        protocol: protocol.into(),
    };
    let mut made = None;
    with_kubelet(&world, async |mut kubelet| {
        let mut config = pod_config("ported", &logs(&world, "ported"), "");
        config.port_mappings = vec![
            mapping(18080, "", v1::Protocol::Tcp),
            mapping(18081, "127.0.0.1", v1::Protocol::Tcp),
            mapping(18082, "", v1::Protocol::Udp),
            v1::PortMapping { container_port: 9, ..Default::default() },
        ];
        let pod = kubelet.run_pod_as(config.clone()).await?;
        kubelet.start(&pod, "server", IMAGE, SERVER).await?;
        // Another pod cannot have the same port, and is told which.
        config.metadata.get_or_insert_default().uid = "another".into();
        config.metadata.get_or_insert_default().name = "another".into();
        let request = v1::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let taken = kubelet.runtime.run_pod_sandbox(request).await.expect_err("the port is taken");
        assert!(taken.message().contains("18080"), "{taken:?}");
        made = Some(pod);
        Ok(())
    });
    let pod = made.expect("the pod");
    for _ in 0..2 {
        assert_eq!(page(&world, "127.0.0.1:18080"), "hello from a container");
        assert_eq!(page(&world, "127.0.0.1:18081"), "hello from a container");
        assert_eq!(page(&world, "127.0.0.1:9"), "nothing");
        world.kill_daemon();
        world.start_daemon();
    }
    with_kubelet(&world, async |mut kubelet| kubelet.remove_pod(&pod).await);
    assert_eq!(page(&world, "127.0.0.1:18080"), "nothing");
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

async fn tell(
    kubelet: &mut Kubelet,
    pod_cidr: &str,
) -> Result<tonic::Response<v1::UpdateRuntimeConfigResponse>, tonic::Status> {
    let network_config = Some(v1::NetworkConfig { pod_cidr: pod_cidr.into() });
    let runtime_config = Some(v1::RuntimeConfig { network_config });
    kubelet.runtime.update_runtime_config(v1::UpdateRuntimeConfigRequest { runtime_config }).await
}

#[test]
fn pods_have_addresses_of_the_nodes_subnets() {
    let mut world = world_with_busybox();
    let mut made = None;
    with_kubelet(&world, async |mut kubelet| {
        let early = kubelet.run_pod("early", &logs(&world, "early"), "").await?;
        assert!(!ip_of(&mut kubelet, &early).await?.starts_with("10.99."));
        refused(tell(&mut kubelet, "10.99.0.0/33").await, Code::InvalidArgument, "pod_cidr");
        tell(&mut kubelet, "10.99.1.0/24,fd00:99::/64").await?;
        tell(&mut kubelet, "10.99.1.0/24,fd00:99::/64").await?;
        let pod = kubelet.run_pod("placed", &logs(&world, "placed"), "").await?;
        let ip = ip_of(&mut kubelet, &pod).await?;
        assert!(ip.starts_with("10.99.1."), "{ip}");
        kubelet.start(&pod, "server", IMAGE, SERVER).await?;
        assert_eq!(page(&world, &format!("{ip}:8080")), "hello from a container");
        // A pod has its address for life: other subnets have to wait for its end.
        refused(tell(&mut kubelet, "10.99.2.0/24").await, Code::FailedPrecondition, "pod_cidr");
        made = Some((early, pod));
        Ok(())
    });
    let (early, pod) = made.expect("the pods");
    world.kill_daemon();
    world.start_daemon();
    with_kubelet(&world, async |mut kubelet| {
        let later = kubelet.run_pod("later", &logs(&world, "later"), "").await?;
        assert!(ip_of(&mut kubelet, &later).await?.starts_with("10.99.1."), "kept over a restart");
        for pod in [&early, &pod, &later] {
            kubelet.remove_pod(pod).await?;
        }
        tell(&mut kubelet, "10.99.2.0/24").await?;
        let moved = kubelet.run_pod("moved", &logs(&world, "moved"), "").await?;
        assert!(ip_of(&mut kubelet, &moved).await?.starts_with("10.99.2."));
        kubelet.remove_pod(&moved).await
    });
}

#[test]
fn traffic_is_held_to_the_rates_of_annotations() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let mut config = pod_config("slow", &logs(&world, "slow"), "");
        config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "fast".into());
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        refused(
            kubelet.runtime.run_pod_sandbox(request).await,
            Code::InvalidArgument,
            "kubernetes.io/ingress-bandwidth",
        );
        config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "8M".into());
        config.annotations.insert("kubernetes.io/egress-bandwidth".into(), "4M".into());
        let pod = kubelet.run_pod_as(config).await?;
        let host = world.sh("tc qdisc show");
        assert!(host.contains("qdisc tbf 1: dev") && host.contains("rate 8Mbit"), "{host}");
        let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
        let info = kubelet.runtime.pod_sandbox_status(status).await?.into_inner().info;
        let info: serde_json::Value = serde_json::from_str(info.values().next().expect("info"))?;
        let inside = world.sh(&format!("nsenter --net=/proc/{}/fd/4 tc qdisc show dev eth0", info["pid"]));
        assert!(inside.contains("qdisc tbf 1:") && inside.contains("rate 4Mbit"), "{inside}");
        // 3 MB at 1 MB a second: the bucket's 128 KiB come at once, the rest has to wait.
        let server = kubelet.start(&pod, "sink", IMAGE, &["nc", "-l", "-p", "9000", "-e", "wc", "-c"]).await?;
        let ip = ip_of(&mut kubelet, &pod).await?;
        let start = std::time::Instant::now();
        world.sh(&format!(
            "for i in 1 2 3 4 5 6 7 8 9; do head -c 3000000 /dev/zero | nc -w 10 {ip} 9000 && break; sleep 0.2; done"
        ));
        assert!(start.elapsed() > std::time::Duration::from_millis(1500), "{:?}", start.elapsed());
        let _ = server;
        kubelet.remove_pod(&pod).await
    });
}
