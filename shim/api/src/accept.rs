//! Taking connections on a socket of the sandbox, for one thread.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until the future is dropped, `most` at once; further ones are closed at once. Must run within a
/// `LocalSet`.
///
/// Only root and the shim's own user may connect: the socket's mode says so, and the peer's credentials are checked
/// as well.
pub async fn serve<F: Future<Output = ()> + 'static>(
    listener: UnixListener,
    own_uid: u32,
    most: usize,
    handle: impl Fn(UnixStream) -> F,
) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let Ok((stream, _address)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own_uid);
        if !allowed || open.get() >= most {
            continue;
        }
        open.set(open.get() + 1);
        let (open, served) = (Rc::clone(&open), handle(stream));
        tokio::task::spawn_local(async move {
            served.await;
            open.set(open.get() - 1);
        });
    }
}
