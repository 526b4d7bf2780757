//! Attach: to the first process, once and again.

use k8s_cri::v1;
use pod::Kubelet;

use super::talk::{RESIZE, STDERR, STDIN, STDOUT, Talk, Transport};
use super::{Node, PATIENCE};

const TRANSPORTS: [Transport; 2] = [Transport::Spdy("v4.channel.k8s.io"), Transport::WebSocket("v5.channel.k8s.io")];

fn url(node: &mut Node, tty: bool) -> String {
    let request =
        v1::AttachRequest { container_id: node.container.clone(), stdin: true, tty, stdout: true, stderr: !tty };
    node.runtime.block_on(node.kubelet.runtime.attach(request)).expect("Attach").into_inner().url
}

fn wait(node: &mut Node) -> i32 {
    let container = node.container.clone();
    let wait = async |kubelet: &mut Kubelet| kubelet.wait(&container, PATIENCE).await;
    node.runtime.block_on(wait(&mut node.kubelet)).expect("its end").exit_code
}

/// A client comes and goes; the process and its input stay.
#[test]
fn clients_come_and_go() {
    let script = "while read line; do echo got $line; echo err $line >&2; [ \"$line\" = stop ] && exit 7; done; exit 9";
    let mut node = Node::with("attach", &["sh", "-c", script], |config| config.stdin = true);
    for (n, transport) in TRANSPORTS.into_iter().enumerate() {
        let url = url(&mut node, false);
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, STDERR]);
        talk.send(STDIN, format!("hello {n}\n").as_bytes());
        talk.until(STDOUT, &format!("got hello {n}\n"));
        talk.until(STDERR, &format!("err hello {n}\n"));
        drop(talk);
    }
    let url = url(&mut node, false);
    let mut talk = Talk::start(&node.world, &url, TRANSPORTS[0], &[STDIN, STDOUT, STDERR]);
    talk.send(STDIN, b"stop\n");
    talk.rest();
    assert_eq!((talk.text(STDOUT).as_str(), talk.exit_code()), ("got stop\n", 0));
    assert_eq!(wait(&mut node), 7);
    node.remove();
}

/// With `stdin_once` the end of the first client's input is the end of the process's.
#[test]
fn input_that_is_given_once() {
    let mut node = Node::with("once", &["sh", "-c", "wc -c; exit 4"], |config| {
        config.stdin = true;
        config.stdin_once = true;
    });
    let url = url(&mut node, false);
    let mut talk = Talk::start(&node.world, &url, TRANSPORTS[0], &[STDIN, STDOUT, STDERR]);
    talk.send(STDIN, b"12345");
    talk.finish(STDIN);
    talk.rest();
    assert_eq!(talk.text(STDOUT), "5\n");
    assert_eq!(wait(&mut node), 4);
    node.remove();
}

#[test]
fn a_terminal() {
    let mut node = Node::with("tty", &["sh"], |config| {
        config.stdin = true;
        config.tty = true;
    });
    for transport in TRANSPORTS {
        let url = url(&mut node, true);
        let mut talk = Talk::start(&node.world, &url, transport, &[STDIN, STDOUT, RESIZE]);
        talk.send(RESIZE, b"{\"Width\":90,\"Height\":33}\n");
        talk.send(STDIN, b"until stty size | grep '33 90'; do usleep 10000; done; stty rows 1; echo all\n");
        talk.until(STDOUT, "33 90\r\nall\r\n");
    }
    node.remove();
}
