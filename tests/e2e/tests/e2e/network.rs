//! The default bridge, published ports, host and none; and a port that is taken.

use std::time::Duration;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(ports_are_published, containers_reach_each_other, host_and_none, a_taken_port_is_refused);

fn ports_are_published(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client
        .args(
            &world,
            &[
                "run",
                "-d",
                "--name",
                "web",
                "-p",
                "8080:80",
                "-p",
                "127.0.0.1::81",
                "busybox",
                "httpd",
                "-f",
                "-h",
                "/www",
            ],
        )
        .ok();
    fetch(&world, "127.0.0.1:8080");
    let address = client.args(&world, &["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok();
    fetch(&world, &format!("{address}:80"));
    let ports = client.args(&world, &["ps", "--format", "{{.Ports}}"]).ok();
    assert!(ports.contains(":8080->80/tcp") && ports.contains("127.0.0.1:"), "{ports}");
    client.line(&world, "rm -f web").ok();
    assert!(world.sh("busybox wget -q -O - http://127.0.0.1:8080/ 2>&1 || echo closed").contains("closed"));
    world.assert_nothing_left(&before);
}

/// Fetches the page of the sample image from inside the world.
fn fetch(world: &testkit::World, address: &str) {
    let script = format!("busybox wget -q -O - http://{address}/index.html || true");
    testkit::wait::until(&format!("a page from {address}"), Duration::from_secs(10), || {
        (world.sh(&script).trim() == "hello from a container").then_some(())
    });
}

fn containers_reach_each_other(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run -d --name server busybox httpd -f -h /www").ok();
    let address = client.args(&world, &["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"]).ok();
    let url = format!("http://{address}/index.html");
    let got = client.args(&world, &["run", "--rm", "busybox", "wget", "-q", "-O", "-", &url]).ok();
    assert_eq!(got, "hello from a container");
    let shared = client.args(
        &world,
        &[
            "run",
            "--rm",
            "--network",
            "container:server",
            "busybox",
            "wget",
            "-q",
            "-O",
            "-",
            "http://127.0.0.1/index.html",
        ],
    );
    assert_eq!(shared.ok(), "hello from a container", "its network namespace is joined");
    let own = client
        .args(
            &world,
            &[
                "run",
                "--rm",
                "--hostname",
                "me",
                "busybox",
                "sh",
                "-c",
                "grep -c me /etc/hosts; ip -4 addr show eth0 | grep -c inet; ip route | grep -c default",
            ],
        )
        .ok();
    assert_eq!(own, "1\n1\n1");
    client.line(&world, "rm -f server").ok();
    world.assert_nothing_left(&before);
}

fn host_and_none(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let links = "ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | sort | tr '\\n' ' '";
    let none = client.args(&world, &["run", "--rm", "--network", "none", "busybox", "sh", "-c", links]).ok();
    assert_eq!(none.trim(), "lo");
    let host = client.args(&world, &["run", "--rm", "--network", "host", "busybox", "sh", "-c", links]).ok();
    assert_eq!(host.trim(), world.sh(&format!("busybox {links}").replace("busybox ip", "ip")).trim());
    world.assert_nothing_left(&before);
}

fn a_taken_port_is_refused(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "run -d --name first -p 8080:80 busybox sleep 1000").ok();
    let before = world.census();
    let second = client.line(&world, "run -d --name second -p 8080:80 busybox sleep 1000");
    assert!(second.fails(125).contains("8080"), "{second}");
    client.line(&world, "rm second").ok();
    world.assert_nothing_left(&before);
    client.line(&world, "rm -f first").ok();
    client.line(&world, "run --rm -p 8080:80 busybox true").ok();
}
