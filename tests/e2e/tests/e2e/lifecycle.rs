//! Every verb on a container: create, start, pause, kill, wait, restart, rename, top, stats, inspect, exec, rm.

use std::time::{Duration, Instant};

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(
    verbs_change_the_state,
    exec_runs_beside_the_first_process,
    stop_waits_for_the_grace,
    restart_policy_is_kept,
    inspect_top_and_stats_tell_the_truth,
);

fn verbs_change_the_state(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let state = || client.args(&world, &["inspect", "-f", "{{.State.Status}}", "box"]).ok();
    client
        .args(
            &world,
            &[
                "create",
                "--name",
                "box",
                "busybox",
                "sh",
                "-c",
                "trap 'exit 5' TERM; trap 'exit 6' USR2; sleep 1000 & wait",
            ],
        )
        .ok();
    assert_eq!(state(), "created");
    client.line(&world, "start box").ok();
    assert_eq!(state(), "running");
    client.line(&world, "pause box").ok();
    assert_eq!(state(), "paused");
    client.line(&world, "unpause box").ok();
    assert_eq!(state(), "running");
    client.line(&world, "rename box renamed").ok();
    client.line(&world, "rename renamed box").ok();
    client.line(&world, "start box").ok();
    client.line(&world, "kill -s USR2 box").ok();
    assert_eq!(client.line(&world, "wait box").ok(), "6", "what the trap says");
    assert_eq!(state(), "exited");
    client.line(&world, "restart -t 0 box").ok();
    assert_eq!(state(), "running");
    client.line(&world, "stop box").ok();
    let code = client.args(&world, &["inspect", "-f", "{{.State.ExitCode}} {{.State.Running}}", "box"]).ok();
    assert_eq!(code, "5 false", "the trap's exit code");
    client.line(&world, "stop box").ok();
    client.line(&world, "rm box").ok();
    client.line(&world, "inspect box").failure();
    world.assert_nothing_left(&before);
}

fn exec_runs_beside_the_first_process(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run -d --name box -e FROM=container busybox sleep 1000").ok();
    let exec = |args: &[&str]| client.args(&world, &[&["exec"], args].concat());
    assert_eq!(exec(&["box", "sh", "-c", "echo $FROM"]).ok(), "container");
    assert_eq!(
        exec(&["-u", "1000", "-w", "/www", "-e", "X=1", "box", "sh", "-c", "id -u; pwd; echo $X"]).ok(),
        "1000\n/www\n1"
    );
    assert_eq!(exec(&["box", "sh", "-c", "exit 42"]).code(), 42);
    assert!([126, 127].contains(&exec(&["box", "no-such-command"]).code()));
    let echoed = client.fed(&world, &["exec", "-i", "box", "cat"], &b"x".repeat(1 << 20));
    assert_eq!(echoed.stdout.len(), 1 << 20, "a megabyte there and back");
    assert!(exec(&["box", "ps"]).ok().contains("sleep 1000"), "the same PID namespace");
    client.line(&world, "rm -f box").ok();
    world.assert_nothing_left(&before);
}

fn stop_waits_for_the_grace(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client
        .args(
            &world,
            &["run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        )
        .ok();
    let start = Instant::now();
    client.line(&world, "stop -t 1 deaf").ok();
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "one second of grace, took {took:?}");
    assert_eq!(client.args(&world, &["inspect", "-f", "{{.State.ExitCode}}", "deaf"]).ok(), "137");
    client.line(&world, "rm deaf").ok();
    world.assert_nothing_left(&before);
}

fn restart_policy_is_kept(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client
        .args(&world, &["run", "-d", "--name", "flaky", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 3"])
        .ok();
    let status = || client.args(&world, &["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "flaky"]).ok();
    testkit::wait::until("two restarts and no more", Duration::from_secs(20), || {
        (status() == "exited 2").then_some(())
    });
    client.line(&world, "rm flaky").ok();
    world.assert_nothing_left(&before);
}

fn inspect_top_and_stats_tell_the_truth(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client
        .args(&world, &["run", "-d", "--name", "box", "-m", "64m", "--label", "tier=test", "busybox", "sleep", "1000"])
        .ok();
    let text = client.line(&world, "inspect box").ok();
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
    let box_ = &parsed[0];
    assert_eq!(box_["Name"], "/box");
    assert_eq!(box_["Config"]["Labels"]["tier"], "test");
    assert_eq!(box_["Path"], "sleep");
    assert_eq!(box_["Args"][0], "1000");
    assert_eq!(box_["State"]["Running"], true);
    let pid = box_["State"]["Pid"].as_i64().expect("a pid");
    let inside = world.sh(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline"));
    assert!(inside.contains("sleep 1000"), "the pid is the container's: {inside}");
    assert!(box_["NetworkSettings"]["IPAddress"].as_str().is_some_and(|a| a.starts_with("172.")), "{text}");

    assert!(client.line(&world, "top box").ok().contains("sleep 1000"));
    let stats =
        client.args(&world, &["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "box"]).ok();
    assert!(stats.starts_with("box ") && stats.contains("64MiB") && stats.ends_with(" 1"), "{stats}");
    let missing = client.line(&world, "inspect nothing-of-this-name");
    assert!(missing.failure().contains("nothing-of-this-name"), "{missing}");
    client.line(&world, "rm -f box").ok();
    world.assert_nothing_left(&before);
}
