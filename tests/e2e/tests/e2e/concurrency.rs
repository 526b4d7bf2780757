//! Many at once: fifty containers, none of them in the host's mount table, all of them gone afterwards.

use std::time::{Duration, Instant};

use testkit::World;

use crate::client::world_with_busybox;

const CONTAINERS: usize = 50;

#[test]
fn fifty_containers_and_no_mount_of_ours_on_the_host() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let host_before = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mounts_before = mount_lines(&world);
    let names = testkit::crowd::start(&world, CONTAINERS);

    assert_eq!(world.docker(["ps", "-q"]).ok().lines().count(), CONTAINERS);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), host_before);
    // The world stands for the host here: the daemon's own mount namespace.
    assert_eq!(mount_lines(&world), mounts_before, "no mount of a container is in the daemon's namespace either");
    listing_stays_fast(&world);

    world.docker([&["rm".to_owned(), "-f".to_owned()], &names[..]].concat()).ok();
    world.assert_nothing_left(&before);
}

fn mount_lines(world: &World) -> String {
    std::fs::read_to_string(format!("/proc/{}/mountinfo", world.init())).expect("mountinfo")
}

/// A list never waits for an object that is busy.
fn listing_stays_fast(world: &World) {
    let socket = world.docker_socket();
    let slowest = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for n in 0..10 {
                world.docker(["restart", "-t", "0", &format!("many-{n}")]).ok();
            }
        });
        let mut slowest = Duration::ZERO;
        while !busy.is_finished() {
            let start = Instant::now();
            let answer = testkit::http::request(&socket, "GET", "/containers/json?all=1", b"");
            assert_eq!(answer.json().as_array().map(Vec::len), Some(CONTAINERS));
            slowest = slowest.max(start.elapsed());
        }
        slowest
    });
    assert!(slowest < Duration::from_millis(500), "a list took {slowest:?} while others were restarted");
}
