//! `events`: what happened, in order, to a follower and to one who asks later.

use std::process::Stdio;
use std::time::Duration;

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
