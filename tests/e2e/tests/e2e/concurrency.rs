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
    start_all(&world);

    assert_eq!(world.docker(["ps", "-q"]).ok().lines().count(), CONTAINERS);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), host_before);
    // The world stands for the host here: the daemon's own mount namespace.
    assert_eq!(mount_lines(&world), mounts_before, "no mount of a container is in the daemon's namespace either");
    listing_stays_fast(&world);

    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("many-{n}")).collect();
    world.docker([&["rm".to_owned(), "-f".to_owned()], &names[..]].concat()).ok();
    world.assert_nothing_left(&before);
}

fn mount_lines(world: &World) -> String {
    std::fs::read_to_string(format!("/proc/{}/mountinfo", world.init())).expect("mountinfo")
}

/// Starts them through the API, eight at a time.
fn start_all(world: &World) {
    let socket = world.docker_socket();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= CONTAINERS {
                        break;
                    }
                    let create = format!("/containers/create?name=many-{n}");
                    let body = br#"{"Image":"busybox","Cmd":["sleep","1000"]}"#;
                    let created = testkit::http::request(&socket, "POST", &create, body);
                    assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
                    let start = format!("/containers/many-{n}/start");
                    let started = testkit::http::request(&socket, "POST", &start, b"");
                    assert_eq!(started.status, 204, "{}", String::from_utf8_lossy(&started.body));
                }
            });
        }
    });
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
