//! Signals: forwarded to the container, or the end of the client with the terminal given back.

use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{Client, Path};
use crate::terminal;

/// Signals that `--sig-proxy` passes on; those that stop or continue the client itself are its own.
const FORWARDED: [(i32, &str); 7] =
    [(1, "HUP"), (2, "INT"), (3, "QUIT"), (10, "USR1"), (12, "USR2"), (14, "ALRM"), (15, "TERM")];

/// Signals that end a client whose terminal is raw.
const FATAL: [(i32, &str); 4] = [(1, "HUP"), (2, "INT"), (3, "QUIT"), (15, "TERM")];

/// Watches a set of signals; each arrives as its number and name.
fn watch(wanted: &'static [(i32, &'static str)]) -> mpsc::Receiver<(i32, &'static str)> {
    let (queue, arrived) = mpsc::channel(16);
    for (number, name) in wanted {
        let Ok(mut stream) = signal(SignalKind::from_raw(*number)) else { continue };
        let queue = queue.clone();
        tokio::task::spawn_local(async move {
            while stream.recv().await.is_some() {
                if queue.send((*number, *name)).await.is_err() {
                    return;
                }
            }
        });
    }
    arrived
}

/// From now on signals go to the container `id`.
pub(crate) fn forward(client: Rc<Client>, id: String) {
    let mut arrived = watch(&FORWARDED);
    tokio::task::spawn_local(async move {
        while let Some((_, name)) = arrived.recv().await {
            let Ok(path) = Path::of("containers", &id, "kill") else { return };
            // The container may have ended just now: its exit code will tell.
            let _ = client.post_done(&path.query("signal", name)).await;
        }
    });
}

/// Waits for a signal that ends the client; gives its number.
pub(crate) async fn fatal() -> i32 {
    match watch(&FATAL).recv().await {
        Some((number, _)) => number,
        None => std::future::pending().await,
    }
}

/// Keeps the size of a container's or exec's terminal (`target`: its resize path) equal to ours.
pub(crate) fn follow_size(client: Rc<Client>, target: Path) {
    let changes = signal(SignalKind::window_change());
    tokio::task::spawn_local(async move {
        let mut delay_ms = 10;
        // Right after start the process may not have its terminal yet.
        while !resize(&client, &target).await && delay_ms <= 100 {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
            delay_ms += 10;
        }
        let Ok(changes) = changes else { return };
        follow(changes, &client, &target).await;
    });
}

async fn follow(mut changes: Signal, client: &Client, target: &Path) {
    while changes.recv().await.is_some() {
        resize(client, target).await;
    }
}

async fn resize(client: &Client, target: &Path) -> bool {
    let Some((rows, columns)) = terminal::size() else { return true };
    let path = target.clone().query("h", &rows.to_string()).query("w", &columns.to_string());
    client.post_done(&path).await.is_ok()
}
