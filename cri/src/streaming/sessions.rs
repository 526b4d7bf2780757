//! From a connection that has been upgraded to the channels of what was asked for.

use engine::SandboxHandle;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::channel::{Gone, Incoming, Outgoing};
use super::limits::{CREATION_MAX, IDLE_MAX};
use super::negotiate::Version;
use super::port_forward::{self, Forward};
use super::remote_command::{self, Channels, Command, Wants};
use super::spdy::{self, NewStream};
use super::status::StatusForm;
use super::websocket::{self, Framing};

/// Channels of a command over WebSocket.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// A command over SPDY: its client opens the streams first.
pub(super) async fn spdy_command(mut session: spdy::Session, version: Version, command: Command) {
    let wants = command.wants(version.resize);
    match tokio::time::timeout(CREATION_MAX, collect(&mut session, wants, version.status)).await {
        Ok(Some(channels)) => remote_command::run(command, channels, session.gone()).await,
        Ok(None) => tracing::debug!("streaming: a client went before its streams were there"),
        Err(_elapsed) => tracing::info!("streaming: a client did not open its streams in time"),
    }
    session.close().await;
}

/// Waits for the streams that were asked for; others are refused.
async fn collect(session: &mut spdy::Session, wants: Wants, status: StatusForm) -> Option<Channels> {
    let mut streams = CommandStreams::default();
    loop {
        let stream = session.next_stream().await?;
        streams.take(stream, wants).await.ok()?;
        if streams.complete(wants) {
            let (stdin, resize) = (streams.stdin, streams.resize);
            let (stdout, stderr, error) = (streams.stdout, streams.stderr, streams.error?);
            return Some(Channels { stdin, stdout, stderr, error, resize, status });
        }
    }
}

#[derive(Debug, Default)]
struct CommandStreams {
    stdin: Option<Incoming>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    error: Option<Outgoing>,
    resize: Option<Incoming>,
}

impl CommandStreams {
    async fn take(&mut self, stream: NewStream, wants: Wants) -> Result<(), Gone> {
        let kind = stream.headers.get("streamtype").unwrap_or_default().to_owned();
        let wanted = match kind.as_str() {
            "stdin" => wants.stdin && self.stdin.is_none(),
            "stdout" => wants.stdout && self.stdout.is_none(),
            "stderr" => wants.stderr && self.stderr.is_none(),
            "error" => self.error.is_none(),
            "resize" => wants.resize && self.resize.is_none(),
            _ => false,
        };
        if !wanted {
            tracing::debug!(kind, "streaming: a stream that was not asked for is refused");
            stream.refuse().await;
            return Ok(());
        }
        let (incoming, outgoing) = stream.accept().await?;
        match kind.as_str() {
            "stdin" => self.stdin = Some(incoming),
            "resize" => self.resize = Some(incoming),
            "stdout" => self.stdout = Some(outgoing),
            "stderr" => self.stderr = Some(outgoing),
            _ => self.error = Some(outgoing),
        }
        Ok(())
    }

    fn complete(&self, wants: Wants) -> bool {
        self.error.is_some()
            && self.stdin.is_some() == wants.stdin
            && self.stdout.is_some() == wants.stdout
            && self.stderr.is_some() == wants.stderr
            && self.resize.is_some() == wants.resize
    }
}

/// A command over WebSocket: all channels are there from the start.
pub(super) async fn web_socket_command(
    connection: TokioIo<Upgraded>,
    framing: Framing,
    status: StatusForm,
    command: Command,
) {
    let wants = command.wants(true);
    let started = websocket::Session::start(connection, framing, &[STDIN, RESIZE], IDLE_MAX).await;
    let (session, incoming) = started;
    let [stdin, resize] = <[Incoming; 2]>::try_from(incoming).map_or([None, None], |both| both.map(Some));
    let outgoing = |wanted: bool, channel: u8| wanted.then(|| session.outgoing(channel));
    let channels = Channels {
        stdin: stdin.filter(|_| wants.stdin),
        stdout: outgoing(wants.stdout, STDOUT),
        stderr: outgoing(wants.stderr, STDERR),
        error: session.outgoing(ERROR),
        resize: resize.filter(|_| wants.resize),
        status,
    };
    let first = channels.stdout.as_ref().or(channels.stderr.as_ref()).unwrap_or(&channels.error);
    if first.greet().await.is_ok() {
        remote_command::run(command, channels, session.gone()).await;
    }
    session.close().await;
}

/// Ports over WebSocket without SPDY: two channels for each, one connection for each.
pub(super) async fn web_socket_ports(
    connection: TokioIo<Upgraded>,
    framing: Framing,
    sandbox: SandboxHandle,
    ports: &[u16],
) {
    let numbered: Vec<(u8, u16)> = (0..=254).step_by(2).zip(ports.iter().copied()).collect();
    let inputs: Vec<u8> = numbered.iter().map(|(channel, _)| *channel).collect();
    let (session, incoming) = websocket::Session::start(connection, framing, &inputs, IDLE_MAX).await;
    let mut running = JoinSet::new();
    for ((channel, port), from_client) in numbered.into_iter().zip(incoming) {
        let (to_client, error) = (session.outgoing(channel), session.outgoing(channel + 1));
        let greeting = bytes::Bytes::copy_from_slice(&port.to_le_bytes());
        for outgoing in [&to_client, &error] {
            // An error means that the client has gone, which ends the session below.
            let _ = outgoing.send(greeting.clone()).await;
        }
        let forward = Forward { port, from_client, to_client, error, half_close: false };
        running.spawn(port_forward::forward(sandbox.clone(), forward));
    }
    session.gone().run_until_cancelled(async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
    session.close().await;
}
