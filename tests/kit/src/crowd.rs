//! Many containers at once, through the Docker door.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::{World, http};

/// Clients that work side by side.
const CLIENTS: usize = 8;

/// Starts `many` containers that sleep, eight at a time, and answers their names.
#[track_caller]
pub fn start(world: &World, many: usize) -> Vec<String> {
    let socket = world.docker_socket();
    let next = AtomicUsize::new(0);
    let post = |path: &str, body: &[u8], expected: u16| {
        let answer = http::request(&socket, "POST", path, body);
        assert_eq!(answer.status, expected, "{path}: {}", String::from_utf8_lossy(&answer.body));
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= many {
                        break;
                    }
                    let body = br#"{"Image":"busybox","Cmd":["sleep","100000"]}"#;
                    post(&format!("/containers/create?name=many-{n}"), body, 201);
                    post(&format!("/containers/many-{n}/start"), b"", 204);
                }
            });
        }
    });
    (0..many).map(|n| format!("many-{n}")).collect()
}
