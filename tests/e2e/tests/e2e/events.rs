//! `events`: what happened, in order, to a follower and to one who asks later.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use testkit::World;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(events_tell_a_containers_life);

fn events_tell_a_containers_life(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let seen = world.dir().join("events");
    let mut follower = client.command(&world);
    follower.args(["events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    follower.stdin(Stdio::null()).stdout(std::fs::File::create(&seen).expect("file"));
    let mut follower = follower.spawn().expect("a follower");
    // The follower must be connected before the first event that it is to see.
    std::thread::sleep(Duration::from_millis(700));

    client.args(&world, &["run", "--name", "brief", "busybox", "sh", "-c", "exit 3"]).fails(3);
    client.line(&world, "rm brief").ok();
    let actions = testkit::wait::until("the destroy event", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&seen).unwrap_or_default();
        text.contains("destroy brief").then_some(text)
    });
    let _ = follower.kill();
    let _ = follower.wait();
    let order: Vec<usize> = ["create brief", "start brief", "die brief", "destroy brief"]
        .iter()
        .map(|e| actions.lines().position(|l| l == *e).unwrap_or_else(|| panic!("no {e} in:\n{actions}")))
        .collect();
    assert!(order.is_sorted(), "in order:\n{actions}");

    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    // The client sends whole seconds.
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_secs() + 1;
    let until = until.to_string();
    let later = client
        .args(&world, &["events", "--since", "10m", "--until", &until, "--filter", "event=die", "--format", format]);
    assert_eq!(later.ok(), "die 3", "the exit code is an attribute of what is replayed");
    world.assert_nothing_left(&before);
}

/// What `docker events` says of the past, a line for each event.
fn past(world: &World, since: &str, format: &str) -> Vec<String> {
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_secs() + 1;
    let args = ["events", "--since", since, "--until", &until.to_string(), "--format", format];
    world.docker(args).ok().lines().map(str::to_owned).collect()
}

#[test]
fn events_come_in_dockers_order_with_its_attributes_and_outlive_the_daemon() {
    let mut world = world_with_busybox();
    world.registry();
    let before = world.census();
    let since = world.sh("date +%s.%N");
    let docker = |args: &[&str]| world.docker(args).ok();
    docker(&["volume", "create", "data"]);
    docker(&["network", "create", "net"]);
    docker(&["run", "--rm", "--name", "one", "-v", "data:/data", "--network", "net", "busybox", "true"]);
    docker(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"]);
    docker(&["exec", "two", "true"]);
    docker(&["cp", "two:/etc/passwd", world.dir().join("copied").to_str().expect("UTF-8")]);
    docker(&["stop", "-t", "0", "two"]);
    docker(&["rm", "two"]);
    docker(&["tag", "busybox", "127.0.0.1:5000/box:1"]);
    docker(&["push", "-q", "127.0.0.1:5000/box:1"]);
    docker(&["rmi", "127.0.0.1:5000/box:1"]);
    docker(&["pull", "-q", "127.0.0.1:5000/box:1"]);
    docker(&["rmi", "127.0.0.1:5000/box:1"]);
    docker(&["save", "-o", world.dir().join("saved").to_str().expect("UTF-8"), "busybox"]);
    docker(&["network", "rm", "net"]);
    docker(&["volume", "rm", "data"]);
    world.kill_daemon();
    world.start_daemon();

    let named = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.driver}}";
    let all = past(&world, since.trim(), named);
    let of_one =
        ["container create one", "container attach one", "network connect net", "volume mount", "container start one"];
    let rest = ["network disconnect net", "volume unmount", "container die one", "container destroy one"];
    in_order(&all, &[&of_one[..], &rest[..]].concat());
    in_order(
        &all,
        &["volume create", "network create net", "container create one", "network destroy net", "volume destroy"],
    );
    in_order(&all, &["container exec_create: true two", "container exec_start: true two", "container exec_die two"]);
    in_order(&all, &["container archive-path two", "container kill two", "container stop two", "container die two"]);
    in_order(
        &all,
        &[
            "image tag 127.0.0.1:5000/box:1",
            "image push 127.0.0.1:5000/box",
            "image untag",
            "image pull 127.0.0.1:5000/box",
            "image save",
        ],
    );
    let mounts =
        "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.destination}} {{index .Actor.Attributes \"read/write\"}}";
    assert!(past(&world, since.trim(), mounts).iter().any(|line| line == "mount data /data true"));
    docker_prunes(&world, since.trim());
    world.assert_nothing_left(&before);
}

/// Prunes say how much they gave back; what the pull left is swept with them.
fn docker_prunes(world: &World, since: &str) {
    for kind in ["container", "image", "network", "volume"] {
        world.docker([kind, "prune", "-f"]).ok();
    }
    let pruned = past(world, since, "{{.Type}} {{.Action}} {{.Actor.Attributes.reclaimed}}");
    for kind in ["container", "image", "network", "volume"] {
        assert!(
            pruned.iter().any(|line| line.starts_with(&format!("{kind} prune ")) && !line.ends_with("no value>")),
            "{pruned:?}"
        );
    }
}

/// Each of `wanted` begins a line, one after the other.
#[track_caller]
fn in_order(lines: &[String], wanted: &[&str]) {
    let mut rest = lines.iter();
    for wanted in wanted {
        assert!(rest.any(|line| line.starts_with(wanted)), "no {wanted:?} in its place in:\n{}", lines.join("\n"));
    }
}

#[test]
fn detaching_is_an_event() {
    let world = world_with_busybox();
    let since = world.sh("date +%s.%N");
    world.docker(["run", "-d", "-it", "--name", "box", "busybox", "cat"]).ok();
    let attach = |path: &str, body: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(world.docker_socket()).expect("connect");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("ask");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
        stream.write_all(b"\x10\x11").expect("the detach keys");
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        stream.read_to_end(&mut rest).expect("the end of the stream");
    };
    attach("/containers/box/attach?stream=1&stdin=1&stdout=1", b"");
    let body = br#"{"Cmd":["cat"],"Tty":true,"AttachStdin":true,"AttachStdout":true}"#;
    let exec = testkit::http::request(&world.docker_socket(), "POST", "/containers/box/exec", body).json();
    let exec = exec["Id"].as_str().expect("an exec").to_owned();
    attach(&format!("/exec/{exec}/start"), br#"{"Tty":true}"#);
    let format = "{{.Action}} {{.Actor.Attributes.execID}}";
    testkit::wait::until("both events", Duration::from_secs(10), || {
        let lines = past(&world, since.trim(), format);
        let told = |wanted: &str| lines.iter().any(|line| line.starts_with(wanted));
        (told("detach ") && told(&format!("exec_detach {exec}"))).then_some(())
    });
    world.docker(["rm", "-f", "box"]).ok();
}
