//! `GET /containers/{id}/attach/ws`, spoken by a WebSocket library.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use testkit::World;
use testkit::http::request_with;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::client::world_with_busybox;

#[track_caller]
fn attach(world: &World, path: &str) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(world.docker_socket()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let request = format!("ws://docker{path}").into_client_request().expect("a request");
    tungstenite::client(request, stream).expect("the handshake").0
}

/// What comes until `wanted` was in it.
#[track_caller]
fn read_until(socket: &mut WebSocket<UnixStream>, wanted: &str, binary: bool) {
    let mut said = String::new();
    while !said.contains(wanted) {
        match socket.read() {
            Ok(Message::Binary(bytes)) if binary => said.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(Message::Text(text)) if !binary => said.push_str(&text),
            other => panic!("{other:?} after {said:?}, before {wanted:?}"),
        }
    }
}

#[test]
fn messages_carry_both_directions() {
    let world = world_with_busybox();
    let before = world.census();
    world.docker(["run", "-d", "-i", "--name", "box", "busybox", "cat"]).ok();
    for (path, binary) in [("/v1.51/containers/box/attach/ws", true), ("/v1.27/containers/box/attach/ws", false)] {
        let mut socket = attach(&world, &format!("{path}?stream=1&stdin=1&stdout=1&stderr=1"));
        socket.send(Message::Binary("ping\n".into())).expect("send");
        read_until(&mut socket, "ping\n", binary);
        socket.send(Message::Text("pong\n".into())).expect("send");
        read_until(&mut socket, "pong\n", binary);
        socket.close(None).expect("close");
        while socket.read().is_ok() {}
    }
    assert_eq!(
        world.docker(["inspect", "-f", "{{.State.Running}}", "box"]).ok(),
        "true",
        "a client that leaves ends nothing"
    );

    // Its end closes the connection, after all of the output.
    world
        .docker([
            "run",
            "-d",
            "-i",
            "--name",
            "brief",
            "busybox",
            "sh",
            "-c",
            "read line; echo got $line; echo err >&2",
        ])
        .ok();
    let mut socket = attach(&world, "/containers/brief/attach/ws?stream=1&stdin=1&stdout=1&stderr=1&logs=1");
    socket.send(Message::Binary("it\n".into())).expect("send");
    let mut said = String::new();
    while let Ok(message) = socket.read() {
        said.push_str(&String::from_utf8_lossy(&message.into_data()));
    }
    assert!(said.contains("got it\n") && said.contains("err\n"), "all of both outputs, then the end: {said:?}");

    let key = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Key", "eA=="),
    ];
    let old = request_with(&world.docker_socket(), "GET", "/containers/box/attach/ws?stream=1", &key, b"");
    assert!(old.status == 400 && old.message().contains("Sec-WebSocket-Version"), "{old:?}");
    let plain = request_with(&world.docker_socket(), "GET", "/containers/box/attach/ws?stream=1", &[], b"");
    assert!(plain.status == 400 && plain.message().contains("Upgrade"), "{plain:?}");
    world.docker(["rm", "-f", "box", "brief"]).ok();
    world.assert_nothing_left(&before);
}
