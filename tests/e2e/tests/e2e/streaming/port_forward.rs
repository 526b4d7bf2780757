//! Port-forward: into the pod's network namespace, over SPDY, over SPDY in a WebSocket, and over a WebSocket alone.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::Node;
use super::spdy::{Frame, Spdy};
use super::talk::{spdy_to, web_socket_to};

const SERVE: &str = "httpd -f -p 8080 -h /www & nc -ll -p 7000 -e cat & httpd -f -p [::1]:7006 -h /www & wait";

fn node(name: &str) -> Node {
    let mut node = Node::new(name, &["sh", "-c", SERVE]);
    for port in ["1F90", "1B58", "1B5E"] {
        node.eventually(&["sh", "-c", &format!("cat /proc/net/tcp /proc/net/tcp6 | grep -q ':{port} .* 0A '")]);
    }
    node
}

/// Bytes in binary messages.
struct Tunnel {
    socket: WebSocket<TcpStream>,
    unread: Vec<u8>,
}

impl Read for Tunnel {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.unread.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.unread = bytes.to_vec(),
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
        let count = buffer.len().min(self.unread.len());
        buffer[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl Write for Tunnel {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket.send(Message::Binary(bytes.to_vec().into())).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Opens both streams of a connection: data, error.
fn open<S: Read + Write>(spdy: &mut Spdy<S>, port: u16, id: u32) -> (u32, u32) {
    let (port, id) = (port.to_string(), id.to_string());
    let stream = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", id.as_str())];
    let error = spdy.open(&stream("error"));
    spdy.data(error, true, b"");
    (spdy.open(&stream("data")), error)
}

/// Reads until a connection is over: what came on its two streams.
fn rest<S: Read + Write>(spdy: &mut Spdy<S>, (data, error): (u32, u32)) -> (Vec<u8>, String) {
    let (mut got, mut said, mut open) = (Vec::new(), Vec::new(), 2);
    while open > 0 {
        match spdy.next() {
            Frame::Data { stream, fin, data: bytes } => {
                assert!(stream == data || stream == error, "stream {stream}");
                if stream == data {
                    got.extend(bytes)
                } else {
                    said.extend(bytes)
                }
                open -= usize::from(fin);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    (got, String::from_utf8(said).expect("text"))
}

fn scenario<S: Read + Write>(spdy: &mut Spdy<S>) {
    // A server that answers and closes; also one that listens on ::1 alone.
    for (id, port) in [(0, 8080), (1, 7006)] {
        let web = open(spdy, port, id);
        spdy.data(web.0, false, b"GET /index.html HTTP/1.0\r\n\r\n");
        spdy.data(web.0, true, b"");
        let (got, said) = rest(spdy, web);
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(got.starts_with("HTTP/1.") && got.ends_with("hello from a container\n"), "{got}");
        assert_eq!(said, "");
    }

    // The end of the input goes through, and what was said before comes back after it.
    let echo = open(spdy, 7000, 2);
    let sent = vec![b'e'; 100_000];
    spdy.data(echo.0, false, &sent);
    spdy.data(echo.0, true, b"");
    let (got, said) = rest(spdy, echo);
    assert_eq!((got.len(), said.as_str()), (sent.len(), ""));

    // Nobody listens there: the error stream says so.
    let nobody = open(spdy, 7999, 3);
    let (got, said) = rest(spdy, nobody);
    assert!(got.is_empty() && said.contains("7999") && said.contains("refused"), "{said}");

    // Two at once; one that the client resets does not disturb the other.
    let (first, second) = (open(spdy, 7000, 4), open(spdy, 7000, 5));
    spdy.data(first.0, false, b"x");
    assert_eq!(spdy.next(), Frame::Data { stream: first.0, fin: false, data: b"x".to_vec() });
    spdy.reset(first.0);
    assert_eq!(spdy.next(), Frame::Data { stream: first.1, fin: true, data: Vec::new() });
    spdy.data(second.0, true, b"still here");
    assert_eq!(rest(spdy, second), (b"still here".to_vec(), String::new()));
}

#[test]
fn over_spdy_and_in_a_tunnel() {
    let mut node = node("forward");
    // What is kept from the first use on is not counted.
    let url = node.forward(&[]);
    drop(spdy_to(&node.world, &url, "portforward.k8s.io"));
    let before = node.world.census();
    let url = node.forward(&[]);
    scenario(&mut spdy_to(&node.world, &url, "portforward.k8s.io"));
    let url = node.forward(&[8080]);
    let (socket, _) = web_socket_to(&node.world, &url, "SPDY/3.1+portforward.k8s.io");
    scenario(&mut Spdy::new(Tunnel { socket, unread: Vec::new() }));
    node.world.assert_nothing_left(&before);
    node.remove();
}

/// Many connections in one session, more than one client ever has at once, in both directions at once.
#[test]
fn many_connections_in_one_session() {
    let mut node = node("many");
    let url = node.forward(&[]);
    let mut spdy = spdy_to(&node.world, &url, "portforward.k8s.io");
    const CONNECTIONS: u32 = 40;
    let open: Vec<(u32, u32)> = (0..CONNECTIONS).map(|id| open(&mut spdy, 7000, id)).collect();
    for (data, _) in &open {
        spdy.data(*data, true, &vec![b'm'; 20_000]);
    }
    let (mut bytes, mut ended) = (0, 0);
    while ended < 2 * CONNECTIONS {
        match spdy.next() {
            Frame::Data { fin, data, .. } => {
                bytes += data.len();
                ended += u32::from(fin);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(bytes, 40 * 20_000);
    // A pair of a stream that was used, and one without a port.
    let headers = [("streamtype", "error"), ("port", "7000"), ("requestid", "x")];
    spdy.open(&headers);
    for wrong in [&headers[..], &headers[..1], &[("streamtype", "data"), ("port", "0"), ("requestid", "y")]] {
        let stream = spdy.syn(wrong);
        assert_eq!(spdy.next(), Frame::Reset { stream, status: 3 }, "{wrong:?}");
    }
    node.remove();
}

/// Without SPDY: two channels for each port of the RPC.
#[test]
fn over_web_socket_channels() {
    let mut node = node("channels");
    let url = node.forward(&[7999, 8080]);
    let (mut socket, _) = web_socket_to(&node.world, &url, "v4.channel.k8s.io");
    let send = |socket: &mut WebSocket<TcpStream>, bytes: &[u8]| {
        socket.send(Message::Binary(bytes.to_vec().into())).expect("send");
    };
    send(&mut socket, b"\x02GET /index.html HTTP/1.0\r\n\r\n");
    let mut channels = vec![Vec::new(); 4];
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => channels[usize::from(bytes[0])].extend(&bytes[1..]),
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("unexpected {other:?}"),
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    for (channel, port) in [(0, 7999_u16), (1, 7999), (2, 8080), (3, 8080)] {
        assert_eq!(channels[channel][..2], port.to_le_bytes(), "each channel begins with its port");
    }
    let text = |channel: usize| String::from_utf8_lossy(&channels[channel][2..]).into_owned();
    assert!(text(1).contains("refused"), "{}", text(1));
    assert!(text(2).ends_with("hello from a container\n"), "{}", text(2));
    assert_eq!((text(0).as_str(), text(3).as_str()), ("", ""));
    node.remove();
}
