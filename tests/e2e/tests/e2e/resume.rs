//! A download that was interrupted, by the network or by the end of the daemon, goes on where it was.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::image::sample;
use testkit::{Relay, World, wait};

use crate::client::Client;

const BULK_BYTES: usize = 24 << 20;

/// A world whose registry has an image with one big layer behind a relay; its reference and that layer's size.
fn world_with_relay() -> (World, Relay, String, u64) {
    let mut world = World::gantry_only();
    let reference = world.registry().push(&sample::bulky(1, BULK_BYTES), "resumed:1");
    let manifest = world.registry().manifest(&reference);
    let sizes = manifest["layers"].as_array().expect("layers").iter().filter_map(|l| l["size"].as_u64());
    let size = sizes.max().expect("a size");
    let relay = Relay::start(&world);
    let reference = relay.reference(&reference);
    (world, relay, reference, size)
}

fn pull(world: &World, reference: &str) -> Child {
    let mut command = Client::Docker.command(world);
    command.args(["pull", "-q", reference]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("docker")
}

/// Everything came, and no more than a little of it twice.
fn assert_whole_and_not_twice(world: &World, relay: &Relay, reference: &str, size: u64) {
    let counted = world.docker(["run", "--rm", reference, "sh", "-c", "cat /bulk/*/* | wc -c"]).ok();
    assert_eq!(counted, BULK_BYTES.to_string(), "every byte");
    let (passed, most) = (relay.passed(), size + size / 4 + (1 << 20));
    assert!(passed < most, "{passed} bytes passed for a layer of {size}: it began anew");
}

#[test]
fn after_the_network_broke() {
    let (world, relay, reference, size) = world_with_relay();
    let before = world.census();
    relay.break_after(size / 2);
    world.docker(["pull", "-q", &reference]).failure();
    assert!(relay.passed() >= size / 2, "half of it came");
    relay.mend();
    world.docker(["pull", "-q", &reference]).ok();
    assert_whole_and_not_twice(&world, &relay, &reference, size);
    world.docker(["rmi", &reference]).ok();
    world.assert_nothing_left(&before);
}

#[test]
fn after_the_daemon_was_killed() {
    let (mut world, relay, reference, size) = world_with_relay();
    let before = world.census();
    relay.slow_down(8 << 20);
    let mut client = pull(&world, &reference);
    wait::until("half of the layer", Duration::from_secs(30), || (relay.passed() > size / 2).then_some(()));
    world.kill_daemon();
    let _ = client.wait();
    relay.full_speed();
    world.start_daemon();
    world.docker(["pull", "-q", &reference]).ok();
    assert_whole_and_not_twice(&world, &relay, &reference, size);
    world.docker(["rmi", &reference]).ok();
    world.assert_nothing_left(&before);
}

/// A client that goes away in the middle does not lose what came, and another client's pull goes on from there.
#[test]
fn after_the_client_went_away() {
    let (world, relay, reference, size) = world_with_relay();
    relay.slow_down(8 << 20);
    let mut client = pull(&world, &reference);
    wait::until("half of the layer", Duration::from_secs(30), || (relay.passed() > size / 2).then_some(()));
    client.kill().expect("kill");
    let _ = client.wait();
    relay.full_speed();
    let mut command = world.client(testkit::daemon::program("gantry"));
    command.args(["pull", "-q", &reference]);
    testkit::command::run_with(command, b"").ok();
    assert_whole_and_not_twice(&world, &relay, &reference, size);
}
