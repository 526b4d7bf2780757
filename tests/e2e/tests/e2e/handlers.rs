//! Runtime handlers: the same container life under runc and crun as under the built-in runtime, chosen by name.

use k8s_cri::v1;
use testkit::World;
use testkit::image::sample;
use testkit::pty::Terminal;

use crate::client::{Client, load};
use crate::cri::{IMAGE, PATIENCE, logs, with_kubelet};

/// A world without the second hierarchy of the hybrid cgroup layout: crun refuses that layout.
pub(crate) fn world_with_handlers() -> World {
    let mut world = World::bare();
    let other = "[runtimes]\ngantry = { kind = \"builtin\" }\nrunc = { kind = \"oci\", path = \"runc\" }\n\
                 crun = { kind = \"oci\", path = \"crun\" }\n\
                 other = { kind = \"shim\", path = \"containerd-shim-runc-v2\" }\n";
    let config = testkit::daemon::gantry_config(&world) + other;
    std::fs::write(world.dir().join("gantryd.toml"), config).expect("configuration");
    world.sh("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi");
    world.start_daemon();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

/// A shell on a terminal: its size, what is typed, its exit code.
fn terminal_of(world: &World, args: &[&str]) {
    let mut command = Client::Docker.command(world);
    command.args(args);
    let mut terminal = Terminal::spawn(&command, 31, 97);
    terminal.expect("# ");
    // The client tells the size once the process runs.
    terminal.type_in("until stty size | grep '31 97'; do sleep 0.1; done; exit 7\n");
    terminal.expect("31 97\r\n");
    assert_eq!(terminal.wait().code(), Some(7), "{}", terminal.screen());
}

fn life_of_a_container(runtime: &str) {
    let mut world = world_with_handlers();
    // The first one makes the folder that another shim keeps its sockets in.
    world.docker(["run", "--rm", "--runtime", runtime, "busybox", "true"]).ok();
    let before = world.census();
    let run = |args: &[&str]| world.docker([&["run", "--runtime", runtime], args].concat());
    assert_eq!(run(&["--rm", "busybox", "echo", "hello"]).ok(), "hello");
    terminal_of(&world, &["run", "--runtime", runtime, "-it", "--rm", "busybox", "sh"]);
    run(&["--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    assert!(run(&["--rm", "busybox", "/nonexistent"]).fails(127).contains("/nonexistent"));
    run(&["-d", "--name", "long", "-m", "64m", "--hostname", "inside", "busybox", "sleep", "1000"]).ok();
    assert_eq!(world.docker(["exec", "long", "hostname"]).ok(), "inside");
    world.docker(["exec", "long", "sh", "-c", "exit 9"]).fails(9);
    terminal_of(&world, &["exec", "-it", "long", "sh"]);
    assert_eq!(world.docker(["inspect", "-f", "{{.HostConfig.Runtime}}", "long"]).ok(), runtime);
    world.kill_daemon();
    world.start_daemon();
    assert_eq!(world.docker(["exec", "long", "echo", "after"]).ok(), "after");
    world.docker(["pause", "long"]).ok();
    assert_eq!(world.docker(["inspect", "-f", "{{.State.Status}}", "long"]).ok(), "paused");
    world.docker(["unpause", "long"]).ok();
    world.docker(["stop", "-t", "0", "long"]).ok();
    assert_eq!(world.docker(["inspect", "-f", "{{.State.ExitCode}}", "long"]).ok(), "137");
    world.docker(["start", "long"]).ok();
    world.docker(["rm", "-f", "long"]).ok();
    world.assert_nothing_left(&before);
}

#[test]
fn runc() {
    life_of_a_container("runc");
}

#[test]
fn crun() {
    life_of_a_container("crun");
}

/// Debian's shim for runc, through the same life: another process holds the container, ours everything else.
#[test]
fn another_shim() {
    life_of_a_container("other");
}

#[test]
fn one_that_is_not_configured_is_refused_by_name() {
    let world = world_with_handlers();
    let refused = world.docker(["run", "--rm", "--runtime", "kata", "busybox", "true"]);
    assert!(refused.failure().contains("unknown or invalid runtime name: kata"), "{refused}");
    assert_eq!(world.docker(["ps", "-aq"]).ok(), "");
}

/// A pod whose containers another shim runs: they share the namespaces that ours holds, log in CRI's format, are exec'ed
/// into, counted and killed, and neither the daemon's death nor that shim's leaves anything behind.
#[test]
fn a_pod_on_another_shim() {
    let mut world = world_with_handlers();
    world.docker(["run", "--rm", "--runtime", "other", "busybox", "true"]).ok();
    let before = world.census();
    let mut started = None;
    with_kubelet(&world, async |mut kubelet| {
        let config = pod::pod_config("other", &logs(&world, "other"), "");
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: "other".into() };
        let id = kubelet.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        let pod = pod::Pod { id, config };
        let server = kubelet.start(&pod, "server", IMAGE, &["httpd", "-f", "-p", "8080", "-h", "/www"]).await?;
        let script = "echo out; echo err >&2; hostname; wget -q -O - http://127.0.0.1:8080/index.html; exit 5";
        let client = kubelet.start(&pod, "client", IMAGE, &["sh", "-c", script]).await?;
        assert_eq!(kubelet.wait(&client, PATIENCE).await?.exit_code, 5);
        let lines = pod::parse_log(&std::fs::read_to_string(logs(&world, "other").join("client.log"))?)?;
        let mut said: Vec<String> = lines.iter().map(|l| format!("{} {}", l.stream, l.content)).collect();
        said.sort();
        assert_eq!(said, ["stderr err", "stdout hello from a container", "stdout other", "stdout out"]);
        let (code, out, err) = kubelet.exec(&server, &["sh", "-c", "echo o; echo e >&2; exit 3"]).await?;
        assert_eq!((code, out.as_str(), err.as_str()), (3, "o\n", "e\n"));
        let stats = v1::ContainerStatsRequest { container_id: server.clone() };
        let stats = kubelet.runtime.container_stats(stats).await?.into_inner().stats.expect("stats");
        assert!(stats.memory.and_then(|m| m.working_set_bytes).is_some_and(|b| b.value > 0));
        let failed = kubelet.start(&pod, "missing", IMAGE, &["/nonexistent"]).await.expect_err("no such program");
        assert!(failed.to_string().contains("/nonexistent"), "{failed}");
        started = Some((pod, server));
        Ok(())
    });
    let (pod, server) = started.expect("the pod");
    world.kill_daemon();
    world.start_daemon();
    with_kubelet(&world, async |mut kubelet| {
        let (_, out, _) = kubelet.exec(&server, &["echo", "after"]).await?;
        assert_eq!(out, "after\n");
        // The other shim dies: its container has ended, and says so.
        let pids = world.sh("pgrep -f ^/usr/bin/containerd-shim-runc-v2.*-id || true");
        assert_eq!(pids.lines().count(), 1, "only the running container has a shim: {pids}");
        world.sh(&format!("kill -9 {pids}"));
        assert_eq!(kubelet.wait(&server, PATIENCE).await?.exit_code, 255);
        kubelet.remove_pod(&pod).await
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}
