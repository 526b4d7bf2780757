//! Runtime handlers: the same container life under runc and crun as under the built-in runtime, chosen by name.

use testkit::World;
use testkit::image::sample;

use crate::client::load;

/// A world without the second hierarchy of the hybrid cgroup layout: crun refuses that layout.
fn world_with_handlers() -> World {
    let mut world = World::bare();
    world.sh("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi");
    world.start_daemon();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

fn life_of_a_container(runtime: &str) {
    let mut world = world_with_handlers();
    let before = world.census();
    let run = |args: &[&str]| world.docker([&["run", "--runtime", runtime], args].concat());
    assert_eq!(run(&["--rm", "busybox", "echo", "hello"]).ok(), "hello");
    run(&["--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    assert!(run(&["--rm", "busybox", "/nonexistent"]).fails(127).contains("/nonexistent"));
    run(&["-d", "--name", "long", "-m", "64m", "--hostname", "inside", "busybox", "sleep", "1000"]).ok();
    assert_eq!(world.docker(["exec", "long", "hostname"]).ok(), "inside");
    world.docker(["exec", "long", "sh", "-c", "exit 9"]).fails(9);
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

#[test]
fn one_that_is_not_configured_is_refused_by_name() {
    let world = world_with_handlers();
    let refused = world.docker(["run", "--rm", "--runtime", "kata", "busybox", "true"]);
    assert!(refused.failure().contains("unknown or invalid runtime name: kata"), "{refused}");
    assert_eq!(world.docker(["ps", "-aq"]).ok(), "");
}
