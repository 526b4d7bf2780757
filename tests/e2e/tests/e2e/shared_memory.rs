//! /dev/shm: a tmpfs with a size of its own, one for all containers of a pod, and in nobody's mount table but theirs.

use k8s_cri::v1;
use pod::{Kubelet, Pod, container_config, pod_config};
use testkit::World;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, logs, with_kubelet};
use crate::handlers::world_with_handlers;

const SLEEP: &[&str] = &["sleep", "1000"];

async fn run_pod(world: &World, kubelet: &mut Kubelet, name: &str, handler: &str) -> Result<Pod, pod::Error> {
    let config = pod_config(name, &logs(world, name), "");
    let request = v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
    let id = kubelet.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    Ok(Pod { id, config })
}

async fn told(kubelet: &mut Kubelet, id: &str, script: &str) -> Result<String, pod::Error> {
    let (code, out, err) = kubelet.exec(id, &["sh", "-c", script]).await?;
    assert_eq!(code, 0, "{script}: {out}{err}");
    Ok(out.trim().to_owned())
}

/// Shared, of 64 MiB, kept while containers come and go and the daemon dies, and seen by the containers alone.
fn a_pod_shares_it(handler: &str) {
    let mut world = world_with_handlers();
    world
        .docker(["run", "--rm", "--runtime", if handler.is_empty() { "gantry" } else { handler }, "busybox", "true"])
        .ok();
    let before = world.census();
    let own_mounts = world.sh("grep -c shm /proc/self/mountinfo || true").trim().to_owned();
    let mut made = None;
    with_kubelet(&world, async |mut kubelet| {
        let pod = run_pod(&world, &mut kubelet, "shm", handler).await?;
        let one = kubelet.start(&pod, "one", IMAGE, SLEEP).await?;
        let two = kubelet.start(&pod, "two", IMAGE, SLEEP).await?;
        told(&mut kubelet, &one, "echo shared > /dev/shm/word").await?;
        assert_eq!(told(&mut kubelet, &two, "cat /dev/shm/word").await?, "shared");
        let mounted = told(&mut kubelet, &two, "grep ' /dev/shm ' /proc/mounts").await?;
        for option in ["shm /dev/shm tmpfs", "size=65536k", "nosuid", "nodev", "noexec", "rw"] {
            assert!(mounted.contains(option), "{option} in {mounted}");
        }
        assert_eq!(told(&mut kubelet, &two, "stat -c %a /dev/shm").await?, "1777");
        let (code, _, err) =
            kubelet.exec(&one, &["dd", "if=/dev/zero", "of=/dev/shm/big", "bs=1M", "count=80"]).await?;
        assert!(code != 0 && err.contains("No space left on device"), "{code} {err}");
        told(&mut kubelet, &two, "rm /dev/shm/big").await?;
        let stop = v1::StopContainerRequest { container_id: one.clone(), timeout: 0 };
        kubelet.runtime.stop_container(stop).await?;
        made = Some(pod);
        Ok(())
    });
    let pod = made.expect("the pod");
    world.kill_daemon();
    world.start_daemon();
    with_kubelet(&world, async |mut kubelet| {
        let three = kubelet.start(&pod, "three", IMAGE, SLEEP).await?;
        assert_eq!(told(&mut kubelet, &three, "cat /dev/shm/word").await?, "shared", "after the daemon's death");
        let other = run_pod(&world, &mut kubelet, "other", handler).await?;
        let own = kubelet.start(&other, "c", IMAGE, SLEEP).await?;
        let (code, _, _) = kubelet.exec(&own, &["test", "-e", "/dev/shm/word"]).await?;
        assert_eq!(code, 1, "another pod has another");
        let script = "for p in $(pgrep gantryd) $(pgrep -f '^[^ ]*shim-gantry'); do grep -c shm /proc/$p/mountinfo || true; done";
        let seen = world.sh(script);
        assert!(seen.lines().count() >= 3 && seen.lines().all(|count| count == own_mounts), "{own_mounts}: {seen}");
        for sandbox in kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner().items
        {
            kubelet.remove_pod(&Pod { id: sandbox.id, config: pod.config.clone() }).await?;
        }
        Ok(())
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

#[test]
fn a_pod_on_the_built_in_runtime() {
    a_pod_shares_it("");
}

#[test]
fn a_pod_on_runc() {
    a_pod_shares_it("runc");
}

#[test]
fn a_pod_on_another_shim() {
    a_pod_shares_it("other");
}

/// Of the host's IPC the host's is seen; a pod with a user namespace has one that its own root owns.
#[test]
fn pods_of_other_namespaces() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let range = vec![v1::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
        let userns = v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: range.clone(), gids: range };
        let pid = v1::NamespaceMode::Container.into();
        let mapped = v1::NamespaceOption { pid, userns_options: Some(userns), ..Default::default() };
        let host = v1::NamespaceOption { pid, ipc: v1::NamespaceMode::Node.into(), ..Default::default() };
        for (name, options, expected) in [("mapped", mapped, "0 1777"), ("host", host, "0 1777")] {
            let mut config = pod_config(name, &logs(&world, name), "");
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            context.namespace_options = Some(options.clone());
            let pod = kubelet.run_pod_as(config).await?;
            let mut config = container_config("c", IMAGE, SLEEP);
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            context.namespace_options = Some(options);
            let id = kubelet.start_as(&pod, config).await?;
            assert_eq!(told(&mut kubelet, &id, "stat -c '%u %a' /dev/shm").await?, expected, "{name}");
            told(&mut kubelet, &id, "echo x > /dev/shm/gantry-test-shm").await?;
            let on_host = world.sh("cat /dev/shm/gantry-test-shm 2>/dev/null || true; rm -f /dev/shm/gantry-test-shm");
            assert_eq!(on_host.trim(), if name == "host" { "x" } else { "" });
            kubelet.remove_pod(&pod).await?;
        }
        Ok(())
    });
}

/// docker's --shm-size, and what a container that joins another's IPC finds.
#[test]
fn docker_containers() {
    let world = world_with_handlers();
    let before = world.census();
    let donor = ["run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "8m", "busybox", "sleep", "1000"];
    world.docker(donor).ok();
    let mounted = world.docker(["exec", "donor", "grep", " /dev/shm ", "/proc/mounts"]).ok();
    assert!(mounted.contains("size=8192k"), "{mounted}");
    world.docker(["exec", "donor", "sh", "-c", "echo theirs > /dev/shm/word"]).ok();
    for runtime in ["gantry", "runc", "other"] {
        let script = "cat /dev/shm/word; grep -c 'size=8192k' /proc/mounts";
        let joined = ["run", "--rm", "--runtime", runtime, "--ipc", "container:donor", "busybox", "sh", "-c", script];
        assert_eq!(world.docker(joined).ok(), "theirs\n1", "{runtime}");
    }
    world.sh("rm -rf /run/containerd");
    // A donor whose /dev/shm is a link gives what the link names in its own files, never in the host's.
    world.docker(["run", "-d", "--privileged", "--name", "liar", "busybox", "sleep", "1000"]).ok();
    world
        .docker([
            "exec",
            "liar",
            "sh",
            "-c",
            "umount /dev/shm && rmdir /dev/shm && ln -s /var /dev/shm && echo own > /var/word",
        ])
        .ok();
    let joined = ["run", "--rm", "--ipc", "container:liar", "busybox", "cat", "/dev/shm/word"];
    assert_eq!(world.docker(joined).ok(), "own");
    world.docker(["rm", "-f", "donor", "liar"]).ok();
    world.assert_nothing_left(&before);
}
