//! Clients that come, attach or resize, and go without a word leave nothing open (CVE-2022-23471, CVE-2025-64329).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use testkit::{World, wait};

use crate::client::world_with_busybox;

const ROUNDS: usize = 200;
/// Descriptors that come and go by themselves: connections to shims, files of a database.
const SLACK: usize = 8;

fn descriptors(world: &World) -> (usize, usize) {
    let count = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let shim = world.sh("for p in $(pgrep -f '^[^ ]*shim-gantry'); do ls /proc/$p/fd | wc -l; done");
    (count(&world.daemon().pid().to_string()), shim.lines().filter_map(|line| line.trim().parse::<usize>().ok()).sum())
}

fn post(world: &World, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(world.docker_socket()).expect("the Docker socket");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("request");
    stream
}

#[test]
fn attached_clients_that_vanish() {
    let world = world_with_busybox();
    world.docker(["run", "-dit", "--name", "box", "busybox", "cat"]).ok();
    let before = descriptors(&world);
    for round in 0..ROUNDS {
        let mut attached = post(&world, "/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1", "");
        let mut head = [0; 12];
        attached.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 101", "round {round}");
        attached.write_all(b"x").expect("input");
        drop(post(&world, &format!("/containers/box/resize?h={}&w=80", 20 + round % 20), ""));
    }
    wait::until("the streams to be given back", Duration::from_secs(30), || {
        let now = descriptors(&world);
        (now.0 <= before.0 + SLACK && now.1 <= before.1 + SLACK).then_some(())
    });
    assert_eq!(world.docker(["inspect", "-f", "{{.State.Running}}", "box"]).ok(), "true");
    world.docker(["rm", "-f", "box"]).ok();
}

/// The daemon is killed under open streams: clients see the end, the container goes on, nothing of them is left.
#[test]
fn streams_under_a_daemon_that_is_killed() {
    let mut world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    world.docker(["run", "-di", "--name", "box", "busybox", "cat"]).ok();
    let mut attached = world.client("docker");
    attached.args(["attach", "box"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut attached = attached.spawn().expect("docker attach");
    let mut exec = world.client("docker");
    exec.args(["exec", "-i", "box", "cat"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut exec = exec.spawn().expect("docker exec");
    for client in [&mut attached, &mut exec] {
        client.stdin.as_mut().expect("stdin").write_all(b"word\n").expect("input");
        let mut echoed = [0; 5];
        client.stdout.as_mut().expect("stdout").read_exact(&mut echoed).expect("the echo");
        assert_eq!(&echoed, b"word\n");
    }
    world.kill_daemon();
    for client in [&mut attached, &mut exec] {
        // It may notice only when it writes.
        drop(client.stdin.take());
        wait::until("the client to end", Duration::from_secs(20), || client.try_wait().expect("wait"));
    }
    world.start_daemon();
    assert_eq!(world.docker(["exec", "box", "echo", "well"]).ok(), "well");
    wait::until("the exec whose client has gone to end", Duration::from_secs(20), || {
        let top = world.docker(["top", "box", "-o", "pid,comm"]).ok();
        (top.lines().filter(|line| line.contains("cat")).count() == 1).then_some(())
    });
    world.docker(["rm", "-f", "box"]).ok();
    world.assert_nothing_left(&before);
}
