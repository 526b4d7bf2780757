//! The attach socket of the sandbox: one connection for each client of a process (see `shim_api::attach`).

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use shim_api::accept;
use shim_api::attach::{AttachRequest, Frame, FrameKind, read_frame, write_frame};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::streams::{Streams, Subscription};

/// Connections at once, over all processes of the sandbox.
const CONNECTIONS_MAX: usize = 256;
/// A client says what it wants at once.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Finds the streams of a process by container and exec id.
pub(crate) type Find = dyn Fn(&str, &str) -> Result<Rc<Streams>, String>;

/// Serves clients until dropped.
pub(crate) async fn serve(listener: UnixListener, find: Rc<Find>, own_uid: u32) {
    let serve_one = |stream| {
        let find = Rc::clone(&find);
        async move { serve_client(stream, &find).await }
    };
    accept::serve(listener, own_uid, CONNECTIONS_MAX, serve_one).await;
}

async fn serve_client(stream: UnixStream, find: &Rc<Find>) {
    let (mut input, mut output) = stream.into_split();
    let hello = tokio::time::timeout(HELLO_MAX, read_frame(&mut input)).await;
    let Ok(Ok(Some(Frame { kind: FrameKind::Attach, payload }))) = hello else { return };
    let attached = serde_json::from_slice::<AttachRequest>(&payload)
        .map_err(|e| format!("malformed attach request: {e}"))
        .and_then(|request| {
            let streams = find(&request.id, &request.exec_id)?;
            let subscription = streams.attach(request.stdin, request.stdout, request.stderr);
            Ok((subscription.map_err(|e| e.to_string())?, streams))
        });
    let (mut subscription, streams) = match attached {
        Ok(attached) => attached,
        Err(reason) => {
            let _ = write_frame(&mut output, &Frame::new(FrameKind::Error, reason.into_bytes())).await;
            return;
        }
    };
    converse(&mut input, &mut output, &mut subscription, &streams).await;
    streams.detach(&subscription);
}

async fn converse(
    input: &mut OwnedReadHalf,
    output: &mut OwnedWriteHalf,
    subscription: &mut Subscription,
    streams: &Streams,
) {
    if write_frame(output, &Frame::new(FrameKind::Ready, Bytes::new())).await.is_err() {
        return;
    }
    let owns_stdin = subscription.owns_stdin;
    let frames = &mut subscription.frames;
    let send = async {
        while let Some(frame) = frames.recv().await {
            if write_frame(output, &frame).await.is_err() {
                return;
            }
        }
        let _ = write_frame(output, &Frame::new(FrameKind::End, Bytes::new())).await;
    };
    tokio::select! {
        () = send => {}
        () = receive(input, owns_stdin, streams) => {}
    }
}

/// Ends when the client is gone. A client that only closed its sending side stays, for the output.
async fn receive(input: &mut OwnedReadHalf, owns_stdin: bool, streams: &Streams) {
    while let Ok(Some(frame)) = read_frame(input).await {
        match frame.kind {
            FrameKind::Stdin if owns_stdin => {
                // A process that closed its input does not end the output.
                let _ = streams.write_stdin(&frame.payload).await;
            }
            FrameKind::CloseStdin if owns_stdin => streams.half_close(),
            FrameKind::Resize => {
                if let Some((width, height)) = frame.size() {
                    let _ = streams.resize(width, height);
                }
            }
            FrameKind::Stdin | FrameKind::CloseStdin => {}
            _ => return,
        }
    }
}
