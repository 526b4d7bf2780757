//! Clients that mean harm: their session ends or goes on, everything else is as before.

use std::time::{Duration, Instant};

use super::Node;
use super::spdy::Frame;
use super::talk::{STDERR, STDOUT, Talk, Transport, spdy_to, web_socket_to};
use tokio_tungstenite::tungstenite::Message;

/// The daemon may grow by this over everything below.
const GROWTH_KIB_MAX: u64 = 32 << 10;

fn works(node: &mut Node) {
    let url = node.exec(&["echo", "well"], false, false).expect("Exec");
    let mut talk = Talk::start(&node.world, &url, Transport::Spdy("v4.channel.k8s.io"), &[STDOUT, STDERR]);
    talk.rest();
    assert_eq!((talk.text(STDOUT).as_str(), talk.exit_code()), ("well\n", 0));
}

/// The node works as before, its daemon is hardly larger than `kib`, and nothing is left but what there was.
fn assert_unharmed(mut node: Node, before: &testkit::Census, kib: u64) {
    works(&mut node);
    let grown = node.daemon_kib().saturating_sub(kib);
    assert!(grown < GROWTH_KIB_MAX, "the daemon has grown by {grown} KiB");
    node.world.assert_nothing_left(before);
    node.remove();
}

/// Frames that no client sends, each in a session of its own.
#[test]
fn spdy_frames() {
    let mut node = Node::new("spdy", &["sleep", "1000"]);
    works(&mut node);
    let (before, kib) = (node.world.census(), node.daemon_kib());
    let breaches: [(&str, &[u8]); 6] = [
        ("a control frame of 16 MiB", &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]),
        ("another version", &[0x80, 2, 0, 1, 0, 0, 0, 0]),
        ("data on stream 0", &[0, 0, 0, 0, 0, 0, 0, 1, 9]),
        ("a stream that is cut off", &[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1]),
        ("headers that are not deflated", &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("a reply", &[0x80, 3, 0, 2, 0, 0, 0, 4, 0, 0, 0, 2]),
    ];
    for (what, bytes) in breaches {
        let url = node.exec(&["cat"], true, false).expect("Exec");
        let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
        spdy.send(bytes);
        assert_eq!(spdy.rest(), [Frame::GoAway], "{what}");
    }
    let url = node.exec(&["cat"], true, false).expect("Exec");
    let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
    let bomb = spdy.deflated(&vec![0; 12 << 20]);
    assert!(bomb.len() < 16_000, "{}", bomb.len());
    spdy.control(1, 0, &[&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &bomb].concat());
    assert_eq!(spdy.rest(), [Frame::GoAway], "a header bomb");
    let url = node.exec(&["cat"], true, false).expect("Exec");
    let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
    spdy.open(&[("streamtype", "error")]);
    spdy.syn_as(1, &[("streamtype", "stdin")]);
    assert_eq!(spdy.rest(), [Frame::GoAway], "a number that was used before");

    assert_unharmed(node, &before, kib);
}

/// Odd, but allowed: what belongs to nothing is refused or ignored, and the session goes on.
#[test]
fn spdy_frames_that_are_survived() {
    let mut node = Node::new("odd", &["sleep", "1000"]);
    let url = node.exec(&["sh", "-c", "cat; sleep 2"], true, false).expect("Exec");
    let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
    spdy.data(99, false, b"to nobody");
    assert_eq!(spdy.next(), Frame::Reset { stream: 99, status: 2 });
    // Settings that claim 2^32-1 entries, a window that overflows, a kind that does not exist, our own kind of ping.
    spdy.send(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]);
    for _ in 0..3 {
        spdy.control(9, 0, &[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]);
    }
    spdy.control(77, 0xff, &[1, 2, 3]);
    spdy.ping(2);
    spdy.ping(7);
    assert_eq!(spdy.next(), Frame::Ping(7));
    let refused = spdy.syn(&[("streamtype", "resize")]);
    assert_eq!(spdy.next(), Frame::Reset { stream: refused, status: 3 });
    let error = spdy.open(&[("streamtype", "error")]);
    let twice = spdy.syn(&[("streamtype", "error")]);
    assert_eq!(spdy.next(), Frame::Reset { stream: twice, status: 3 });
    let [stdin, stdout, _] = ["stdin", "stdout", "stderr"].map(|kind| spdy.open(&[("streamtype", kind)]));
    // Nobody reads what a client sends on these; it is dropped, however much it is.
    for _ in 0..64 {
        spdy.data(stdout, false, &vec![0; 64 << 10]);
        spdy.data(error, false, &vec![0; 64 << 10]);
    }
    spdy.data(stdin, true, b"through");
    spdy.data(stdin, false, b"too late");
    let (mut out, mut late) = (Vec::new(), false);
    for frame in spdy.rest() {
        match frame {
            Frame::Data { stream, data, .. } if stream == stdout => out.extend(data),
            Frame::Reset { stream, status } => late |= stream == stdin && status == 9,
            _ => {}
        }
    }
    assert_eq!(out, b"through");
    assert!(late, "data after the end of a stream is refused");
    works(&mut node);
    node.remove();
}

/// Thousands of streams, pings and sessions.
#[test]
fn floods() {
    let mut node = Node::new("floods", &["sleep", "1000"]);
    works(&mut node);
    let (before, kib) = (node.world.census(), node.daemon_kib());
    let url = node.forward(&[]);
    let mut spdy = spdy_to(&node.world, &url, "portforward.k8s.io");
    let mut refused = 0;
    for n in 0..2000 {
        let id = n.to_string();
        let stream = spdy.syn(&[("streamtype", "data"), ("port", "80"), ("requestid", &id)]);
        match spdy.next() {
            Frame::Reply(replied) => assert_eq!(replied, stream),
            Frame::Reset { stream: reset, status: 3 } => refused += u32::from(reset == stream),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(refused > 1000, "only {refused} of 2000 halves of connections were refused");
    for id in 0..2000 {
        spdy.ping(2 * id + 1);
        assert_eq!(spdy.next(), Frame::Ping(2 * id + 1));
    }
    drop(spdy);

    // Sessions that are begun and left, at every stage.
    for n in 0..150 {
        let url = node.exec(&["cat"], true, false).expect("Exec");
        match n % 3 {
            0 => drop(spdy_to(&node.world, &url, "v4.channel.k8s.io")),
            1 => drop(web_socket_to(&node.world, &url, "v5.channel.k8s.io")),
            _ => {
                let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
                spdy.open(&[("streamtype", "error")]);
                spdy.open(&[("streamtype", "stdin")]);
            }
        }
    }
    // The input of a process without a terminal ends with its client.
    node.eventually(&["sh", "-c", "! ps | grep -q '[ ]cat$'"]);
    assert_unharmed(node, &before, kib);
}

/// Input that nobody reads stops at the server's bounds; the client is held up, and its going is noticed.
#[test]
fn input_that_nobody_reads() {
    let mut node = Node::new("unread", &["sleep", "1000"]);
    works(&mut node);
    let (before, kib) = (node.world.census(), node.daemon_kib());
    let url = node.exec(&["sleep", "4"], true, false).expect("Exec");
    let mut spdy = spdy_to(&node.world, &url, "v4.channel.k8s.io");
    let [stdin, ..] = ["stdin", "stdout", "stderr", "error"].map(|kind| spdy.open(&[("streamtype", kind)]));
    spdy.connection.set_write_timeout(Some(Duration::from_millis(500))).expect("write timeout");
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) && sent < 256 << 20 {
        spdy.data(stdin, false, &vec![0; 64 << 10]);
        sent += 64 << 10;
    }
    let grown = node.daemon_kib().saturating_sub(kib);
    assert!(grown < GROWTH_KIB_MAX && sent < 256 << 20, "{sent} bytes were taken, the daemon has grown by {grown} KiB");
    drop(spdy);
    node.world.assert_nothing_left(&before);
    works(&mut node);
    node.remove();
}

#[test]
fn web_socket_messages() {
    let mut node = Node::new("messages", &["sleep", "1000"]);
    works(&mut node);
    let before = node.world.census();
    let wrong =
        [Message::Text("0text".into()), Message::Binary(vec![255].into()), Message::Binary(vec![0; 1 << 20].into())];
    for message in wrong {
        let url = node.exec(&["cat"], true, false).expect("Exec");
        let (mut socket, _) = web_socket_to(&node.world, &url, "v5.channel.k8s.io");
        // The server may close before it has taken all of it.
        let _ = socket.send(message);
        while socket.read().is_ok() {}
    }
    let url = node.exec(&["head", "-n", "1"], true, false).expect("Exec");
    let mut talk = Talk::start(&node.world, &url, Transport::WebSocket("v5.channel.k8s.io"), &[]);
    for channel in [1, 2, 3, 4, 9, 254] {
        talk.send(channel, b"to nobody");
    }
    talk.send(0, b"through\n");
    talk.rest();
    assert_eq!((talk.text(STDOUT).as_str(), talk.exit_code()), ("through\n", 0));
    node.eventually(&["sh", "-c", "! ps | grep -q '[ ]cat$'"]);
    works(&mut node);
    node.world.assert_nothing_left(&before);
    node.remove();
}
