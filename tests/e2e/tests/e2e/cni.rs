//! Pods in the network that CNI plugins make: Debian's own plugins, and plugins that misbehave.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use k8s_cri::v1;
use pod::{Kubelet, Pod, pod_config};
use serde_json::Value;
use testkit::image::sample;
use testkit::{World, daemon, wait};

use crate::client::load;

const PATIENCE: Duration = Duration::from_secs(30);
const IMAGE: &str = "docker.io/library/busybox:latest";

/// A plugin in a shell script that writes down how it was called and does what files beside it say:
/// `hang`, `garbage`, `flood` and `refuse` hold the names of commands; `fail-del` holds how many DELs fail.
const FAKE: &str = r#"#!/bin/sh
at=$(dirname "$0"); me=$(basename "$0"); input=$(cat)
says() { [ -e "$at/$1" ] && grep -qx "$CNI_COMMAND" "$at/$1"; }
if [ "$CNI_COMMAND" = VERSION ]; then
    echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'; exit 0
fi
[ "$CNI_COMMAND" = STATUS ] || printf '{"plugin":"%s","command":"%s","id":"%s","args":"%s","netns":"%s","input":%s}\n' \
    "$me" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_ARGS" "$CNI_NETNS" "$input" >> "$at/calls"
if says hang; then sleep 1000 & sleep 1000; fi
if says garbage; then echo 'this is <not> JSON'; exit 0; fi
if says flood; then exec yes; fi
if says refuse; then echo '{"code":50,"msg":"the cluster is away","details":"no route"}'; exit 1; fi
if [ "$CNI_COMMAND" = DEL ] && [ -s "$at/fail-del" ]; then
    left=$(cat "$at/fail-del")
    if [ "$left" -gt 0 ]; then
        echo $((left - 1)) > "$at/fail-del"
        echo '{"code":11,"msg":"cannot delete yet"}'; exit 1
    fi
fi
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:07","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"interface":0,"address":"10.77.0.7/24","gateway":"10.77.0.1"}],"dns":{}}'
exit 0
"#;

/// A world whose daemon looks for plugins in the world's own directory too, with a short deadline for each.
fn world(timeout_ms: u64) -> World {
    let mut world = World::bare();
    let plugins = world.dir().join("plugins");
    std::fs::create_dir_all(&plugins).expect("plugins");
    std::fs::create_dir_all(world.dir().join("cni")).expect("configuration directory");
    // No prepared namespaces: how many there are just after a start is a matter of time.
    let more =
        format!("netns_pool = 0\ncni_bin_dirs = [{plugins:?}, \"/usr/lib/cni\"]\ncni_timeout_ms = {timeout_ms}\n");
    let config = daemon::gantry_config(&world) + &more;
    std::fs::write(world.dir().join("gantryd.toml"), config).expect("configuration");
    world.start_daemon();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

fn configure(world: &World, file: &str, text: &str) {
    let path = world.dir().join("cni").join(file);
    // As an installer does it: whole or not at all.
    std::fs::write(path.with_extension("tmp"), text).expect("configuration");
    std::fs::rename(path.with_extension("tmp"), path).expect("configuration");
}

fn plugins(world: &World) -> PathBuf {
    world.dir().join("plugins")
}

fn install(world: &World, name: &str) {
    let path = plugins(world).join(name);
    std::fs::write(&path, FAKE).expect("plugin");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
}

/// Two fake plugins, one after the other, with capabilities.
fn with_fakes(world: &World) {
    for name in ["first", "second"] {
        install(world, name);
    }
    let list = r#"{"cniVersion": "1.1.0", "name": "faked", "plugins": [
        {"type": "first", "capabilities": {"ipRanges": true}},
        {"type": "second", "capabilities": {"portMappings": true, "bandwidth": true, "dns": true}}
    ]}"#;
    configure(world, "10-faked.conflist", list);
}

fn says(world: &World, file: &str, text: &str) {
    std::fs::write(plugins(world).join(file), text).expect("what the plugin does");
}

fn calls(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(plugins(world).join("calls")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a call")).collect()
}

/// `plugin command` of each call about a pod.
fn calls_for(world: &World, id: &str) -> Vec<String> {
    let word = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let calls = calls(world);
    let of_pod = calls.iter().filter(|call| call["id"] == id);
    of_pod.map(|call| format!("{} {}", word(call, "plugin"), word(call, "command"))).collect()
}

fn on<T>(world: &World, scenario: impl AsyncFnOnce(&mut Kubelet) -> Result<T, pod::Error>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("tokio");
    let socket = world.cri_socket();
    let outcome = runtime.block_on(async { scenario(&mut Kubelet::connect(&socket).await?).await });
    outcome.expect("the scenario")
}

async fn network_ready(kubelet: &mut Kubelet) -> Result<(bool, String), pod::Error> {
    let status = kubelet.runtime.status(v1::StatusRequest { verbose: false }).await?.into_inner().status;
    let conditions = status.ok_or("no status")?.conditions;
    let found = conditions.into_iter().find(|c| c.r#type == "NetworkReady").ok_or("no NetworkReady")?;
    Ok((found.status, found.message))
}

/// Asks as a kubelet does until the network is (not) ready; the last message.
async fn until_ready(kubelet: &mut Kubelet, wanted: bool, part: &str) -> Result<String, pod::Error> {
    let start = std::time::Instant::now();
    loop {
        let (ready, message) = network_ready(kubelet).await?;
        if ready == wanted && message.contains(part) {
            return Ok(message);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("waited for NetworkReady={wanted} {part:?}: {ready} {message:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn pod_ip(kubelet: &mut Kubelet, pod: &Pod) -> Result<String, pod::Error> {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status = kubelet.runtime.pod_sandbox_status(request).await?.into_inner().status.ok_or("no status")?;
    Ok(status.network.map(|network| network.ip).unwrap_or_default())
}

async fn stop(kubelet: &mut Kubelet, pod: &str) -> Result<(), tonic::Status> {
    let request = v1::StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
    kubelet.runtime.stop_pod_sandbox(request).await.map(drop)
}

async fn remove(kubelet: &mut Kubelet, pod: &str) -> Result<(), tonic::Status> {
    let request = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
    kubelet.runtime.remove_pod_sandbox(request).await.map(drop)
}

async fn tell_subnets(kubelet: &mut Kubelet, pod_cidr: &str) -> Result<(), tonic::Status> {
    let network = v1::NetworkConfig { pod_cidr: pod_cidr.to_owned() };
    let runtime_config = Some(v1::RuntimeConfig { network_config: Some(network) });
    kubelet.runtime.update_runtime_config(v1::UpdateRuntimeConfigRequest { runtime_config }).await.map(drop)
}

/// Ids of all pods, with whether they are ready.
async fn pods(kubelet: &mut Kubelet) -> Result<Vec<(String, bool)>, pod::Error> {
    let items = kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner().items;
    Ok(items.into_iter().map(|p| (p.id.clone(), p.state() == v1::PodSandboxState::SandboxReady)).collect())
}

/// bridge, host-local, portmap, firewall, tuning and bandwidth of Debian's containernetworking-plugins.
#[test]
fn pods_are_in_the_network_of_debians_plugins() {
    let mut world = world(30_000);
    let leases = world.dir().join("leases");
    let list = format!(
        r#"{{"cniVersion": "1.0.0", "name": "debian", "plugins": [
            {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
              "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "10.88.0.0/24"}}]],
                        "routes": [{{"dst": "0.0.0.0/0"}}], "dataDir": {leases:?}}}}},
            {{"type": "portmap", "capabilities": {{"portMappings": true}}}},
            {{"type": "bandwidth", "capabilities": {{"bandwidth": true}}}},
            {{"type": "firewall"}},
            {{"type": "tuning", "sysctl": {{"net.core.somaxconn": "333"}}}}
        ]}}"#
    );
    configure(&world, "10-debian.conflist", &list);
    let logs = world.dir().join("pods");
    // What the plugins make once and keep (the bridge, their chains) is there from here on.
    on(&world, async |kubelet| {
        until_ready(kubelet, true, "").await?;
        let mut config = pod_config("warm", &logs, "");
        config.port_mappings = vec![v1::PortMapping { container_port: 80, host_port: 8087, ..Default::default() }];
        let pod = kubelet.run_pod_as(config).await?;
        kubelet.remove_pod(&pod).await
    });
    // nft lists tables in the order that they were made in: ours, made again by the next daemon, comes last from here on.
    world.kill_daemon();
    world.start_daemon();
    let before = world.census();

    let (server, client) = on(&world, async |kubelet| {
        let mut config = pod_config("server", &logs, "");
        config.port_mappings = vec![v1::PortMapping { container_port: 80, host_port: 8088, ..Default::default() }];
        config.annotations.insert("kubernetes.io/egress-bandwidth".into(), "100M".into());
        let server = kubelet.run_pod_as(config).await?;
        let client = kubelet.run_pod("client", &logs, "").await?;
        let serve = ["httpd", "-f", "-p", "80", "-h", "/www"];
        let httpd = kubelet.start(&server, "httpd", IMAGE, &serve).await?;
        let shell = kubelet.start(&client, "shell", IMAGE, &["sleep", "100000"]).await?;
        let ip = pod_ip(kubelet, &server).await?;
        assert!(ip.starts_with("10.88.0."), "{ip}");
        assert_ne!(ip, pod_ip(kubelet, &client).await?);
        let (code, out, err) =
            kubelet.exec(&shell, &["wget", "-q", "-O", "-", &format!("http://{ip}/index.html")]).await?;
        assert_eq!((code, out.as_str()), (0, "hello from a container\n"), "{err}");
        let (_, somaxconn, _) = kubelet.exec(&httpd, &["cat", "/proc/sys/net/core/somaxconn"]).await?;
        assert_eq!(somaxconn, "333\n");
        Ok((server, client))
    });
    // A port of the host, by portmap's rules.
    assert_eq!(
        world.sh("timeout 5 busybox wget -q -O - http://10.88.0.1:8088/index.html || true"),
        "hello from a container"
    );

    // The daemon that deletes is not the one that added, and the configuration has gone meanwhile.
    world.kill_daemon();
    std::fs::remove_file(world.dir().join("cni/10-debian.conflist")).expect("configuration");
    world.start_daemon();
    on(&world, async |kubelet| {
        assert!(pod_ip(kubelet, &server).await?.starts_with("10.88.0."));
        kubelet.remove_pod(&server).await?;
        kubelet.remove_pod(&client).await
    });
    let left = world.sh(&format!("ls {}/debian | grep -v -e lock -e last_reserved || true", leases.display()));
    assert_eq!(left, "", "leases");
    configure(&world, "10-debian.conflist", &list);
    std::fs::remove_dir_all(&logs).expect("logs");
    world.assert_nothing_left(&before);
}

#[test]
fn plugins_are_told_the_pod_and_its_capabilities() {
    let mut world = world(30_000);
    with_fakes(&world);
    says(&world, "refuse", "STATUS");
    let logs = world.dir().join("pods");
    let id = on(&world, async |kubelet| {
        let said = until_ready(kubelet, false, "the cluster is away").await?;
        assert!(said.contains("\"first\" (STATUS)"), "{said}");
        says(&world, "refuse", "");
        until_ready(kubelet, true, "").await?;

        tell_subnets(kubelet, "10.77.0.0/24,fd77::/64").await?;
        let refused = tell_subnets(kubelet, "ten").await.expect_err("no subnet");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("\"ten\""), "{refused:?}");

        let mut config = pod_config("told", &logs, "");
        config.port_mappings = vec![v1::PortMapping { container_port: 80, host_port: 8088, ..Default::default() }];
        config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "1M".into());
        config.dns_config = Some(v1::DnsConfig { servers: vec!["10.0.0.10".into()], ..Default::default() });
        let pod = kubelet.run_pod_as(config).await?;
        assert_eq!(pod_ip(kubelet, &pod).await?, "10.77.0.7");
        Ok(pod.id)
    });
    let added: Vec<Value> = calls(&world).into_iter().filter(|call| call["command"] == "ADD").collect();
    let args = added[0]["args"].as_str().unwrap_or_default();
    for part in ["K8S_POD_NAME=told", "K8S_POD_NAMESPACE=default", "K8S_POD_UID=uid-told", &id] {
        assert!(args.contains(part), "{part} in {args}");
    }
    let ranges = serde_json::json!({"ipRanges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]});
    assert_eq!(added[0]["input"]["runtimeConfig"], ranges);
    let second = &added[1]["input"];
    assert_eq!(second["runtimeConfig"]["portMappings"][0]["hostPort"], 8088);
    assert_eq!(second["runtimeConfig"]["bandwidth"]["ingressRate"], 1_000_000);
    assert_eq!(second["runtimeConfig"]["dns"]["servers"][0], "10.0.0.10");
    assert_eq!(second["prevResult"]["ips"][0]["address"], "10.77.0.7/24");
    assert_eq!(second["cniVersion"], "1.1.0");

    // After a start the plugins are told what is in use, and asked whether it is as they made it.
    world.kill_daemon();
    world.start_daemon();
    wait::until("GC and CHECK", PATIENCE, || {
        let checked = calls_for(&world, &id).iter().filter(|call| call.ends_with("CHECK")).count();
        (checked == 2 && calls(&world).iter().filter(|call| call["command"] == "GC").count() == 2).then_some(())
    });
    let calls_seen = calls(&world);
    let garbage = calls_seen.iter().find(|call| call["command"] == "GC").expect("GC");
    assert_eq!(garbage["input"]["cni.dev/valid-attachments"][0]["containerID"], id.as_str());
    // A changed configuration is seen at once; DEL still has the old one.
    configure(
        &world,
        "00-other.conflist",
        r#"{"cniVersion": "1.1.0", "name": "other", "plugins": [{"type": "gone"}]}"#,
    );
    on(&world, async |kubelet| {
        let said = until_ready(kubelet, false, "\"gone\"").await?;
        assert!(said.contains("/usr/lib/cni"), "{said}");
        let refused = kubelet.run_pod("late", &logs, "").await.expect_err("no plugin");
        assert!(refused.to_string().contains("gone"), "{refused}");
        stop(kubelet, &id).await?;
        Ok(remove(kubelet, &id).await?)
    });
    let seen = calls_for(&world, &id);
    assert_eq!(seen[seen.len() - 2..], ["second DEL", "first DEL"]);
    let last = calls(&world).pop().expect("DEL");
    assert_eq!(last["input"]["prevResult"]["ips"][0]["address"], "10.77.0.7/24");
    assert!(last["netns"].as_str().is_some_and(|path| path.starts_with("/proc/")), "{last}");
}

#[test]
fn delete_is_tried_again_until_it_succeeds() {
    let mut world = world(30_000);
    with_fakes(&world);
    let logs = world.dir().join("pods");
    let before = on(&world, async |kubelet| {
        until_ready(kubelet, true, "").await?;
        let pod = kubelet.run_pod("warm", &logs, "").await?;
        kubelet.remove_pod(&pod).await?;
        Ok(world.census())
    });
    let id = on(&world, async |kubelet| {
        let pod = kubelet.run_pod("stuck", &logs, "").await?;
        kubelet.start(&pod, "c", IMAGE, &["sleep", "100000"]).await?;
        says(&world, "fail-del", "2");
        let refused = stop(kubelet, &pod.id).await.expect_err("DEL fails");
        assert!(refused.message().contains("cannot delete yet"), "{refused:?}");
        // It is there, it is not ready, and nobody else has to do anything about it.
        assert_eq!(pods(kubelet).await?, [(pod.id.clone(), false)]);
        let start = std::time::Instant::now();
        while calls_for(&world, &pod.id).iter().filter(|call| *call == "first DEL").count() < 1 {
            assert!(start.elapsed() < PATIENCE, "{:?}", calls_for(&world, &pod.id));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(pod.id)
    });
    on(&world, async |kubelet| {
        stop(kubelet, &id).await?;
        Ok(remove(kubelet, &id).await?)
    });
    let deletions = calls_for(&world, &id).into_iter().filter(|call| call.ends_with("DEL")).collect::<Vec<_>>();
    assert_eq!(deletions, ["second DEL", "second DEL", "second DEL", "first DEL"]);

    // The daemon may die in between: the next one goes on.
    let id = on(&world, async |kubelet| Ok(kubelet.run_pod("orphan", &logs, "").await?.id));
    says(&world, "fail-del", "1");
    on(&world, async |kubelet| {
        stop(kubelet, &id).await.expect_err("DEL fails");
        Ok(())
    });
    world.kill_daemon();
    world.start_daemon();
    wait::until("the new daemon's DEL", PATIENCE, || {
        calls_for(&world, &id).iter().any(|call| call == "first DEL").then_some(())
    });
    on(&world, async |kubelet| Ok(remove(kubelet, &id).await?));
    let _ = std::fs::remove_dir_all(&logs);
    world.assert_nothing_left(&before);
}

#[test]
fn plugins_that_misbehave_harm_one_pod_only() {
    let world = world(2_000);
    with_fakes(&world);
    let logs = world.dir().join("pods");
    on(&world, async |kubelet| {
        until_ready(kubelet, true, "").await?;
        let warm = kubelet.run_pod("warm", &logs, "").await?;
        kubelet.remove_pod(&warm).await?;
        let before = world.census();
        let cases = [
            ("hang", "did not end within 2000 ms"),
            ("garbage", "printed no result"),
            ("flood", "printed more than 1048576 bytes"),
            ("refuse", "the cluster is away; no route (error 50)"),
        ];
        for (behaviour, part) in cases {
            says(&world, behaviour, "ADD");
            let refused = kubelet.run_pod(behaviour, &logs, "").await.expect_err(behaviour).to_string();
            assert!(
                refused.contains(part) && refused.contains("first") && refused.contains("(ADD)"),
                "{behaviour}: {refused}"
            );
            says(&world, behaviour, "");
            assert_eq!(pods(kubelet).await?, [], "{behaviour}");
        }
        // One that never lets go does so in its own time; others are not kept waiting, nor is the list.
        let pod = kubelet.run_pod("held", &logs, "").await?;
        says(&world, "hang", "DEL");
        let (mut other, id) = (kubelet.clone(), pod.id.clone());
        let stopping = tokio::spawn(async move { stop(&mut other, &id).await });
        wait_for_call(&world, &pod.id, "second DEL").await;
        let start = std::time::Instant::now();
        assert_eq!(pods(kubelet).await?.len(), 1);
        assert!(start.elapsed() < Duration::from_secs(1), "a list waited for a plugin");
        let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
        kubelet.runtime.pod_sandbox_status(status).await?;
        let refused = stopping.await?.expect_err("DEL hangs");
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
        says(&world, "hang", "");
        stop(kubelet, &pod.id).await?;
        remove(kubelet, &pod.id).await?;
        world.assert_nothing_left(&before);
        Ok(())
    });
}

async fn wait_for_call(world: &World, id: &str, call: &str) {
    let start = std::time::Instant::now();
    while !calls_for(world, id).iter().any(|seen| seen == call) {
        assert!(start.elapsed() < PATIENCE, "waited for {call}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
