//! A client of exec and attach over either protocol: channels by name, whatever carries them.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::World;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::spdy::{self, Frame, Spdy};

/// Nothing of the server's takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
const NAMES: [&str; 5] = ["stdin", "stdout", "stderr", "error", "resize"];

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// SPDY/3.1 with a version of the streams.
    Spdy(&'static str),
    /// WebSocket with a subprotocol; empty: none.
    WebSocket(&'static str),
}

/// Connects to a URL of the streaming server, inside the world.
pub(super) fn connect(world: &World, url: &str) -> (TcpStream, String) {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let stream = world.connect(address.parse().expect("an address"));
    stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("write timeout");
    (stream, format!("/{path}"))
}

/// A SPDY connection for `version`.
pub(super) fn spdy_to(world: &World, url: &str, version: &str) -> Spdy<TcpStream> {
    let (mut stream, path) = connect(world, url);
    let headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", version)];
    let (status, head) = spdy::upgrade(&mut stream, &path, &headers);
    assert_eq!(status, 101, "{head}");
    assert!(head.to_lowercase().contains(&format!("x-stream-protocol-version: {version}")), "{head}");
    Spdy::new(stream)
}

/// A WebSocket connection for a subprotocol.
pub(super) fn web_socket_to(world: &World, url: &str, protocol: &str) -> (WebSocket<TcpStream>, Response) {
    let (stream, _) = connect(world, url);
    let mut request = url.into_client_request().expect("a request");
    // The client asks for ws:// only.
    *request.uri_mut() = url.replacen("http:", "ws:", 1).parse().expect("a URL");
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().expect("a header"));
    }
    tungstenite::client(request, stream).expect("the handshake")
}

enum Wire {
    Spdy { spdy: Spdy<TcpStream>, streams: Vec<(u8, u32)> },
    WebSocket { socket: WebSocket<TcpStream>, base64: bool },
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Data(u8, Vec<u8>),
    End(u8),
    Closed,
}

/// A session of exec or attach.
pub(super) struct Talk {
    wire: Wire,
    /// Everything that came so far, by channel.
    pub(super) got: BTreeMap<u8, Vec<u8>>,
}

impl Talk {
    /// Connects and opens `channels` (and the one for errors).
    pub(super) fn start(world: &World, url: &str, transport: Transport, channels: &[u8]) -> Self {
        let wire = match transport {
            Transport::Spdy(version) => {
                let mut spdy = spdy_to(world, url, version);
                let open = |channel: &u8| (*channel, spdy.open(&[("streamtype", NAMES[usize::from(*channel)])]));
                let streams = [ERROR].iter().chain(channels).map(open).collect();
                Wire::Spdy { spdy, streams }
            }
            Transport::WebSocket(protocol) => {
                let (socket, response) = web_socket_to(world, url, protocol);
                let chosen = response.headers().get("sec-websocket-protocol").map(|v| v.to_str().expect("text"));
                assert_eq!(chosen.unwrap_or_default(), protocol);
                Wire::WebSocket { socket, base64: protocol.contains("base64") }
            }
        };
        Self { wire, got: BTreeMap::new() }
    }

    pub(super) fn send(&mut self, channel: u8, data: &[u8]) {
        match &mut self.wire {
            Wire::Spdy { spdy, streams } => spdy.data(stream_of(streams, channel), false, data),
            Wire::WebSocket { socket, base64: false } => {
                drop(socket.send(Message::Binary([&[channel], data].concat().into())));
            }
            Wire::WebSocket { socket, base64: true } => {
                drop(socket.send(Message::Text(format!("{channel}{}", STANDARD.encode(data)).into())));
            }
        }
    }

    /// Ends a channel's input; only where the protocol can say it.
    pub(super) fn finish(&mut self, channel: u8) {
        match &mut self.wire {
            Wire::Spdy { spdy, streams } => spdy.data(stream_of(streams, channel), true, b""),
            Wire::WebSocket { socket, .. } => drop(socket.send(Message::Binary(vec![255, channel].into()))),
        }
    }

    pub(super) fn next(&mut self) -> Event {
        let event = match &mut self.wire {
            Wire::Spdy { spdy, streams } => from_spdy(spdy, streams),
            Wire::WebSocket { socket, base64 } => from_web_socket(socket, *base64),
        };
        if let Event::Data(channel, data) = &event {
            self.got.entry(*channel).or_default().extend(data);
        }
        event
    }

    /// Reads until `text` is in a channel's output.
    #[track_caller]
    pub(super) fn until(&mut self, channel: u8, text: &str) {
        while !self.text(channel).contains(text) {
            let event = self.next();
            assert_ne!(event, Event::Closed, "{text:?} never came, but {:?}", self.text(channel));
        }
    }

    /// Reads to the end.
    pub(super) fn rest(&mut self) {
        while self.next() != Event::Closed {}
    }

    pub(super) fn text(&self, channel: u8) -> String {
        String::from_utf8_lossy(self.got.get(&channel).map_or(&[], Vec::as_slice)).into_owned()
    }

    /// The status that the error channel brought.
    #[track_caller]
    pub(super) fn status(&self) -> serde_json::Value {
        let text = self.text(ERROR);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no status ({error}): {text:?}"))
    }

    /// The exit code that the status tells, as kubectl reads it.
    #[track_caller]
    pub(super) fn exit_code(&self) -> i32 {
        let status = self.status();
        if status["status"] == "Success" {
            return 0;
        }
        assert_eq!(status["reason"], "NonZeroExitCode", "{status}");
        let causes = status["details"]["causes"].as_array().expect("causes");
        let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode").expect("the cause");
        cause["message"].as_str().expect("text").parse().expect("a number")
    }
}

fn stream_of(streams: &[(u8, u32)], channel: u8) -> u32 {
    streams.iter().find(|(known, _)| *known == channel).expect("an open channel").1
}

fn from_spdy(spdy: &mut Spdy<TcpStream>, streams: &[(u8, u32)]) -> Event {
    loop {
        match spdy.next() {
            Frame::Data { stream, fin, data } => {
                let (channel, _) = streams.iter().find(|(_, known)| *known == stream).expect("a stream of ours");
                if fin {
                    assert!(data.is_empty(), "the last frame is empty");
                    return Event::End(*channel);
                }
                return Event::Data(*channel, data);
            }
            Frame::Closed => return Event::Closed,
            Frame::GoAway | Frame::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn from_web_socket(socket: &mut WebSocket<TcpStream>, base64: bool) -> Event {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) if !base64 => {
                let (channel, data) = bytes.split_first().expect("a channel");
                return Event::Data(*channel, data.to_vec());
            }
            Ok(Message::Text(text)) if base64 => {
                let (channel, data) = text.split_at(1);
                let data = STANDARD.decode(data).expect("base64");
                return Event::Data(channel.parse().expect("a digit"), data);
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
            Ok(other) => panic!("unexpected {other:?}"),
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return Event::Closed,
            Err(error) => panic!("{error}"),
        }
    }
}
