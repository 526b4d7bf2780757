//! Exec: streams, exit codes, terminals, and what the server refuses.

use std::time::Duration;

use k8s_cri::v1;
use tonic::Code;

use super::talk::{ERROR, Event, RESIZE, STDERR, STDIN, STDOUT, Talk, Transport, connect};
use super::{Node, spdy};

const TRANSPORTS: [Transport; 6] = [
    Transport::Spdy("v5.channel.k8s.io"),
    Transport::Spdy("v4.channel.k8s.io"),
    Transport::WebSocket("v5.channel.k8s.io"),
    Transport::WebSocket("v4.channel.k8s.io"),
    Transport::WebSocket("v4.base64.channel.k8s.io"),
    Transport::Spdy("v2.channel.k8s.io"),
];

#[test]
fn streams_and_exit_codes_over_each_transport() {
    let mut node = Node::new("exec", &["sleep", "1000"]);
    node.sync(&["true"]);
    let before = node.world.census();
    for transport in TRANSPORTS {
        let url = node.exec(&["sh", "-c", "head -n 1; echo problem >&2; exit 3"], true, false).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, STDERR]);
        talk.send(STDIN, b"some input\n");
        talk.rest();
        assert_eq!((talk.text(STDOUT).as_str(), talk.text(STDERR).as_str()), ("some input\n", "problem\n"));
        if transport == Transport::Spdy("v2.channel.k8s.io") {
            assert_eq!(talk.text(ERROR), "command terminated with non-zero exit code: exit status 3");
        } else {
            assert_eq!(talk.exit_code(), 3, "{transport:?}");
        }

        let url = node.exec(&["true"], false, false).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDOUT, STDERR]);
        talk.rest();
        let succeeded = talk.text(ERROR);
        assert!(succeeded.is_empty() == (transport == Transport::Spdy("v2.channel.k8s.io")), "{succeeded}");

        let url = node.exec(&["/no/such/program"], false, false).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDOUT, STDERR]);
        talk.rest();
        assert!(talk.text(ERROR).contains("/no/such/program"), "{}", talk.text(ERROR));
    }
    node.world.assert_nothing_left(&before);
    node.remove();
}

/// The end of the input reaches the process, and its output comes back after it.
#[test]
fn half_close_and_bulk_input() {
    let mut node = Node::new("half-close", &["sleep", "1000"]);
    let input = vec![b'x'; 8 << 20];
    for transport in [Transport::Spdy("v4.channel.k8s.io"), Transport::WebSocket("v5.channel.k8s.io")] {
        let url = node.exec(&["sh", "-c", "wc -c; echo done"], true, false).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, STDERR]);
        for piece in input.chunks(32 << 10) {
            talk.send(STDIN, piece);
        }
        talk.finish(STDIN);
        talk.rest();
        assert_eq!(talk.text(STDOUT), format!("{}\ndone\n", input.len()));
        assert_eq!(talk.exit_code(), 0);
    }
    node.remove();
}

/// A client that does not read holds the process up, not the daemon's memory.
#[test]
fn output_waits_for_a_client_that_is_slow() {
    let mut node = Node::new("slow", &["sleep", "1000"]);
    const BYTES: usize = 64 << 20;
    node.sync(&["true"]);
    let kib = node.daemon_kib();
    for transport in [Transport::Spdy("v4.channel.k8s.io"), Transport::WebSocket("v5.channel.k8s.io")] {
        let script = format!("head -c {BYTES} /dev/zero; touch /tmp/written");
        let url = node.exec(&["sh", "-c", &script], false, false).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDOUT, STDERR]);
        while !matches!(talk.next(), Event::Data(STDOUT, data) if !data.is_empty()) {}
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(node.sync(&["sh", "-c", "ls /tmp"]), "", "the process waits for its reader");
        let grown = node.daemon_kib().saturating_sub(kib);
        assert!(grown < 24 << 10, "the daemon has grown by {grown} KiB");
        talk.rest();
        assert_eq!(talk.got[&STDOUT].len(), BYTES);
        assert_eq!(talk.exit_code(), 0);
        node.sync(&["rm", "/tmp/written"]);
    }
    node.remove();
}

#[test]
fn a_terminal_and_its_sizes() {
    let mut node = Node::new("terminal", &["sleep", "1000"]);
    for transport in [Transport::Spdy("v4.channel.k8s.io"), Transport::WebSocket("v5.channel.k8s.io")] {
        let url = node.exec(&["sh", "-c", "tty; stty size; exec sh"], true, true).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, RESIZE]);
        talk.send(RESIZE, b"{\"Width\":101,\"Height\":31}\n");
        talk.until(STDOUT, "/dev/pts/");
        talk.until(STDOUT, "31 101");
        talk.send(RESIZE, b"{\"Width\":120,");
        talk.send(RESIZE, b"\"Height\":40}\n");
        // The size is not in order with the input: it is asked for until it has come.
        talk.send(STDIN, b"until stty size | grep '40 120'; do usleep 10000; done; echo all; exit 5\n");
        talk.until(STDOUT, "40 120\r\nall\r\n");
        talk.rest();
        assert_eq!(talk.exit_code(), 5);
    }
    node.remove();
}

/// A process on a terminal is told when its client goes; without a terminal its input ends only when that was said.
#[test]
fn a_client_that_goes() {
    let mut node = Node::new("goes", &["sleep", "1000"]);
    node.sync(&["true"]);
    let before = node.world.census();
    for transport in [Transport::Spdy("v4.channel.k8s.io"), Transport::WebSocket("v5.channel.k8s.io")] {
        let script = "trap 'touch /tmp/told; exit' HUP; echo ready; while :; do usleep 10000; done";
        let url = node.exec(&["sh", "-c", script], true, true).expect("Exec");
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, RESIZE]);
        talk.until(STDOUT, "ready");
        drop(talk);
        node.eventually(&["rm", "/tmp/told"]);
    }
    node.world.assert_nothing_left(&before);
    node.remove();
}

/// A child that holds the streams does not hold the client.
#[test]
fn a_child_that_stays_behind() {
    let mut node = Node::new("behind", &["sleep", "1000"]);
    let url = node.exec(&["sh", "-c", "sleep 1000 & echo started"], false, false).expect("Exec");
    let mut talk = Talk::start(&node.world, &url, Transport::Spdy("v4.channel.k8s.io"), &[STDOUT, STDERR]);
    talk.rest();
    assert_eq!((talk.text(STDOUT).as_str(), talk.exit_code()), ("started\n", 0));
    node.remove();
}

#[test]
fn what_the_rpcs_refuse() {
    let mut node = Node::new("refused", &["sleep", "1000"]);
    let exec = v1::ExecRequest {
        container_id: node.container.clone(),
        cmd: vec!["true".into()],
        stdout: true,
        ..Default::default()
    };
    let wrong = [
        (v1::ExecRequest { cmd: Vec::new(), ..exec.clone() }, Code::InvalidArgument, "cmd"),
        (v1::ExecRequest { stdout: false, ..exec.clone() }, Code::InvalidArgument, "stdout"),
        (v1::ExecRequest { tty: true, stderr: true, ..exec.clone() }, Code::InvalidArgument, "stderr"),
        (v1::ExecRequest { container_id: "nobody".into(), ..exec }, Code::NotFound, "nobody"),
    ];
    for (request, code, word) in wrong {
        let status = node.runtime.block_on(node.kubelet.runtime.exec(request)).expect_err("refused");
        assert!(status.code() == code && status.message().contains(word), "{status:?}");
    }
    for port in [0, -1, 65_536] {
        let request = v1::PortForwardRequest { pod_sandbox_id: node.pod.id.clone(), port: vec![port] };
        let status = node.runtime.block_on(node.kubelet.runtime.port_forward(request)).expect_err("refused");
        assert!(status.code() == Code::InvalidArgument && status.message().contains("port"), "{status:?}");
    }
    let stop = v1::StopContainerRequest { container_id: node.container.clone(), timeout: 0 };
    node.runtime.block_on(node.kubelet.runtime.stop_container(stop)).expect("stop");
    let status = node.exec(&["true"], false, false).expect_err("not running");
    assert!(status.code() == Code::FailedPrecondition && status.message().contains("not running"), "{status:?}");
    node.remove();
}

/// A URL is good once, for what it was given for, and only for a client that can speak with us.
#[test]
fn what_the_streaming_server_refuses() {
    let mut node = Node::new("urls", &["sleep", "1000"]);
    let url = node.exec(&["true"], false, false).expect("Exec");
    let spdy = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    let version = |name| [spdy[0], spdy[1], ("X-Stream-Protocol-Version", name)];
    let answer = |url: &str, headers: &[(&str, &str)]| {
        let (mut stream, path) = connect(&node.world, url);
        spdy::upgrade(&mut stream, &path, headers)
    };
    assert_eq!(answer(&url, &[]).0, 400);
    assert_eq!(answer(&url, &spdy).0, 400);
    let (status, head) = answer(&url, &version("v9.channel.k8s.io"));
    assert!(status == 403 && head.contains("v4.channel.k8s.io"), "{head}");
    assert_eq!(answer(&url.replace("/exec/", "/attach/"), &version("v4.channel.k8s.io")).0, 404);
    assert_eq!(answer(&url.replace("/exec/", "/etc/"), &version("v4.channel.k8s.io")).0, 404);
    let mut other = url.clone();
    let last = other.pop();
    other.push(if last == Some('A') { 'B' } else { 'A' });
    assert_eq!(answer(&other, &version("v4.channel.k8s.io")).0, 404);
    // None of these has used it up.
    let mut talk = Talk::start(&node.world, &url, Transport::Spdy("v4.channel.k8s.io"), &[STDOUT, STDERR]);
    talk.rest();
    assert_eq!(talk.exit_code(), 0);
    assert_eq!(answer(&url, &version("v4.channel.k8s.io")).0, 404);
    node.remove();
}
