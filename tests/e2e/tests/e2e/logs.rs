//! `logs`: order, streams, tail, timestamps, follow to the end, rotation.

use std::process::Stdio;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(logs_show_what_was_written, logs_follow_until_the_end, logs_rotate);

fn logs_show_what_was_written(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let script = "for i in $(seq 1 20); do echo line $i; done; echo to stderr >&2; printf 'no newline'";
    client.args(&world, &["run", "--name", "talker", "busybox", "sh", "-c", script]).ok();

    let all = client.line(&world, "logs talker");
    let lines: Vec<String> = (1..=20).map(|i| format!("line {i}")).collect();
    assert_eq!(all.out().lines().take(20).collect::<Vec<_>>(), lines);
    assert!(all.out().ends_with("no newline"), "{all}");
    assert_eq!(all.stderr.trim(), "to stderr");

    let tail = client.line(&world, "logs --tail 2 talker");
    assert_eq!(tail.out().lines().count() + tail.stderr.lines().count(), 2, "{tail}");
    let stamped = client.line(&world, "logs -t --tail 1 talker").out();
    let (stamp, _) = stamped.split_once(' ').expect("a timestamp before the line");
    assert!(stamp.ends_with('Z') && stamp.contains('T') && stamp.len() >= 24, "RFC 3339 with nanoseconds: {stamp}");
    assert_eq!(client.line(&world, "logs --since 2000-01-01T00:00:00Z --tail all talker").out(), all.out());
    assert_eq!(client.line(&world, "logs --until 2000-01-01T00:00:00Z talker").out(), "");

    let long = "i=0; while [ $i -lt 40000 ]; do printf 0123456789; i=$((i+10)); done; echo";
    client.args(&world, &["run", "--name", "long", "busybox", "sh", "-c", long]).ok();
    assert_eq!(client.line(&world, "logs long").out().len(), 40_000, "a line over 16 KiB comes back whole");
    client.line(&world, "rm talker long").ok();
    world.assert_nothing_left(&before);
}

fn logs_follow_until_the_end(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let script = "for i in $(seq 1 60); do echo $i; usleep 20000; done";
    client.args(&world, &["run", "-d", "--name", "counter", "busybox", "sh", "-c", script]).ok();
    let mut command = client.command(&world);
    command.args(["logs", "-f", "counter"]).stdin(Stdio::null());
    let followed = testkit::command::run_with(command, b"").ok();
    let expected: Vec<String> = (1..=60).map(|i| i.to_string()).collect();
    assert_eq!(followed.lines().collect::<Vec<_>>(), expected);
    client.line(&world, "rm counter").ok();
    world.assert_nothing_left(&before);
}

fn logs_rotate(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    let script = "for i in $(seq 1 3000); do echo line $i; done";
    let args = [&["run", "--name", "loud"], &options[..], &["busybox", "sh", "-c", script]].concat();
    client.args(&world, &args).ok();
    let kept = client.line(&world, "logs loud").ok();
    let numbers: Vec<u32> = kept.lines().map(|l| l["line ".len()..].parse().expect("a number")).collect();
    assert_eq!(numbers.last(), Some(&3000), "the newest line is kept");
    assert!(numbers.len() > 300 && numbers.len() < 1200, "about 60 kB of records are kept: {}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap within what is kept");
    client.line(&world, "rm loud").ok();
    world.assert_nothing_left(&before);
}
