//! Port-forward: connections into a sandbox, each on a channel for data and one for what went wrong.

use std::collections::HashMap;

use bytes::Bytes;
use engine::SandboxHandle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channel::{Gone, Incoming, Outgoing, PIECE_BYTES_MAX, Received};
use super::limits::{CREATION_MAX, FORWARDS_MAX};
use super::spdy::{NewStream, Session};

/// The channels of one forwarded connection.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) port: u16,
    pub(super) from_client: Incoming,
    pub(super) to_client: Outgoing,
    pub(super) error: Outgoing,
    /// Whether the client is told of the pod's end while it may still send.
    pub(super) half_close: bool,
}

/// Forwards one connection until both sides are done, or either is gone.
pub(super) async fn forward(sandbox: SandboxHandle, forward: Forward) {
    let Forward { port, from_client, to_client, error, half_close } = forward;
    let failed = match sandbox.dial(port).await {
        Ok(stream) => {
            carry(stream, from_client, to_client, half_close).await;
            None
        }
        Err(failure) => {
            let _ = to_client.finish().await;
            let view = sandbox.view();
            let (pod, uid) = (&view.id, view.spec.pod.as_ref().map_or("", |pod| &pod.uid));
            Some(format!("error forwarding port {port} to pod {pod}, uid {uid}: {failure}"))
        }
    };
    if let Some(sentence) = failed {
        tracing::debug!(sentence, "streaming: a port was not forwarded");
        let _ = error.send(Bytes::from(sentence)).await;
    }
    // Clients wait for this before they are done with a connection. An error means that they have gone.
    let _ = error.finish().await;
}

/// Either side may be done before the other; one that has gone takes the other with it.
async fn carry(stream: TcpStream, from_client: Incoming, to_client: Outgoing, half_close: bool) {
    let (from_pod, to_pod) = stream.into_split();
    let over = from_client.over();
    let (requests, answers) = (carry_requests(from_client, to_pod), carry_answers(from_pod, to_client));
    let both = async move {
        tokio::pin!(requests, answers);
        tokio::select! {
            ended = &mut requests => match ended {
                Ok(()) => answers.await,
                gone => gone,
            },
            ended = &mut answers => match ended {
                Ok(()) if half_close => requests.await,
                other => other,
            },
        }
    };
    // What went wrong is of no consequence: the connection ends with this.
    let _ = over.run_until_cancelled(both).await;
}

async fn carry_requests(mut from_client: Incoming, mut to_pod: OwnedWriteHalf) -> Result<(), Gone> {
    loop {
        match from_client.receive().await {
            Received::Data(data) => {
                if to_pod.write_all(&data).await.is_err() {
                    // The pod reads no more; it may still have something to say.
                    return Ok(());
                }
            }
            Received::End => {
                // An error means that the pod has closed.
                let _ = to_pod.shutdown().await;
                return Ok(());
            }
            Received::Gone => return Err(Gone),
        }
    }
}

async fn carry_answers(mut from_pod: OwnedReadHalf, to_client: Outgoing) -> Result<(), Gone> {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        let count = from_pod.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return to_client.finish().await;
        }
        to_client.send(Bytes::copy_from_slice(&buffer[..count])).await?;
    }
}

/// The streams of a pair that has not both yet.
#[derive(Debug)]
struct Half {
    port: u16,
    data: Option<(Incoming, Outgoing)>,
    error: Option<Outgoing>,
    until: Instant,
}

/// Serves pairs of streams until the connection is gone.
pub(super) async fn serve(mut session: Session, sandbox: SandboxHandle) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        let oldest = halves.values().map(|half| half.until).min();
        let expiry = async {
            match oldest {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let stream = tokio::select! {
            stream = session.next_stream() => stream,
            () = expiry => {
                expire(&mut halves).await;
                continue;
            }
            Some(_) = running.join_next() => continue,
        };
        let Some(stream) = stream else { break };
        if running.len() + halves.len() >= FORWARDS_MAX {
            stream.refuse().await;
            continue;
        }
        match pair(&mut halves, stream).await {
            Ok(Some(complete)) => {
                running.spawn(forward(sandbox.clone(), complete));
            }
            Ok(None) => {}
            Err(Gone) => break,
        }
    }
    // Dropped with what is still under way: there is nobody left to forward for.
    session.close().await;
}

/// Tells clients of pairs whose second stream never came.
async fn expire(halves: &mut HashMap<String, Half>) {
    let now = Instant::now();
    let (late, kept) = std::mem::take(halves).into_iter().partition(|(_, half)| half.until <= now);
    *halves = kept;
    let late: HashMap<String, Half> = late;
    for half in late.into_values() {
        tracing::debug!(port = half.port, "streaming: a stream of a forwarded connection never came");
        let (data, error) = (half.data.map(|(_, outgoing)| outgoing), half.error);
        for outgoing in [data, error].into_iter().flatten() {
            let _ = outgoing.finish().await;
        }
    }
}

/// Takes a new stream; gives the pair that it completes.
async fn pair(halves: &mut HashMap<String, Half>, stream: NewStream) -> Result<Option<Forward>, Gone> {
    let Some((id, port, is_data)) = describe(&stream) else {
        stream.refuse().await;
        return Ok(None);
    };
    let taken = halves
        .get(&id)
        .is_some_and(|half| half.port != port || if is_data { half.data.is_some() } else { half.error.is_some() });
    if taken {
        stream.refuse().await;
        return Ok(None);
    }
    let (incoming, outgoing) = stream.accept().await?;
    let fresh = Half { port, data: None, error: None, until: Instant::now() + CREATION_MAX };
    let half = halves.entry(id.clone()).or_insert(fresh);
    if is_data {
        half.data = Some((incoming, outgoing));
    } else {
        half.error = Some(outgoing);
    }
    if half.data.is_none() || half.error.is_none() {
        return Ok(None);
    }
    let Some(Half { port, data: Some((from_client, to_client)), error: Some(error), .. }) = halves.remove(&id) else {
        return Ok(None);
    };
    Ok(Some(Forward { port, from_client, to_client, error, half_close: true }))
}

/// The pair that a stream is of, its port, and whether it is for data; `None` when its headers do not say.
fn describe(stream: &NewStream) -> Option<(String, u16, bool)> {
    let is_data = match stream.headers.get("streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    let port = stream.headers.get("port")?.parse().ok().filter(|port| *port != 0)?;
    let id = match stream.headers.get("requestid") {
        Some(id) => id.to_owned(),
        // Clients before Kubernetes 1.1 open the error stream first and the data stream right after it.
        None => format!("stream {}", if is_data { stream.id.checked_sub(2)? } else { stream.id }),
    };
    Some((id, port, is_data))
}
