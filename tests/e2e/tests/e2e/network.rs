//! The default bridge, published ports, host and none; and a port that is taken.

use std::time::Duration;

use testkit::{EngineKind, Outside, wait};

use crate::client::{Client, fetch, with_both_clients, world_with_busybox};

with_both_clients!(
    another_machine_is_reached_and_reaches_us,
    ports_are_published,
    containers_reach_each_other,
    host_and_none,
    a_taken_port_is_refused
);

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

fn another_machine_is_reached_and_reaches_us(client: Client) {
    let world = world_with_busybox();
    let outside = world.outside();
    let page = world.dir().join("page");
    std::fs::create_dir(&page).expect("directory");
    std::fs::write(page.join("index.html"), "hello from outside\n").expect("page");
    outside.sh(&format!("busybox httpd -p 80 -h {}", page.display()));
    let before = world.census();

    // Only masquerading brings the answer back: the other machine has no route to the bridge.
    let url = format!("http://{}/index.html", Outside::ADDRESS);
    let got = client.args(&world, &["run", "--rm", "busybox", "wget", "-q", "-O", "-", &url]);
    assert_eq!(got.ok(), "hello from outside");

    client.line(&world, "run -d --name web -p 8080:80 busybox httpd -f -h /www").ok();
    let url = format!("http://{}:8080/index.html", Outside::GATEWAY);
    wait::until("the published port from outside", Duration::from_secs(10), || {
        let got = outside.sh(&format!("busybox wget -q -O - {url} 2>/dev/null || true"));
        (got == "hello from a container").then_some(())
    });
    client.line(&world, "rm -f web").ok();

    // What is published on loopback is for this machine only.
    client.line(&world, "run -d --name local -p 127.0.0.1:8081:80 busybox httpd -f -h /www").ok();
    fetch(&world, "127.0.0.1:8081");
    let url = format!("http://{}:8081/index.html", Outside::GATEWAY);
    assert_eq!(outside.sh(&format!("timeout 2 busybox wget -q -O - {url} 2>/dev/null || echo refused")), "refused");
    // CVE-2020-8558 and moby#45610 (dockerd 20.10 does answer): the other machine sends packets for 127.0.0.1 over the wire.
    let trick = format!(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr flush dev lo
         ip route add 127.0.0.1/32 via {} dev eth0
         timeout 2 busybox wget -q -O - http://127.0.0.1:8081/index.html 2>/dev/null || echo refused",
        Outside::GATEWAY
    );
    let expected = if world.kind() == EngineKind::Gantry { "refused" } else { "hello from a container" };
    assert_eq!(outside.sh(&trick), expected);
    client.line(&world, "rm -f local").ok();
    world.assert_nothing_left(&before);
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

/// Five hundred networks and a thousand published ports leave nothing behind.
#[test]
fn many_networks_and_many_ports_leave_nothing() {
    const NETWORKS: usize = 500;
    let world = testkit::World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let socket = world.docker_socket();
    let headers = [("Content-Type", "application/json")];
    for n in 0..NETWORKS {
        let body = format!("{{\"Name\":\"net{n}\"}}");
        let answer = testkit::http::request_with(&socket, "POST", "/networks/create", &headers, body.as_bytes());
        assert_eq!(answer.status, 201, "network {n}");
    }
    let subnets = world.docker(["network", "ls", "-q", "--filter", "type=custom"]).ok();
    assert_eq!(subnets.lines().count(), NETWORKS);
    let removed = world.docker(["network", "prune", "-f"]).ok();
    assert_eq!(removed.lines().filter(|line| line.starts_with("net")).count(), NETWORKS);

    world
        .docker(
            ["run", "-d", "--name", "web", "-p", "20000-20999:20000-20999", "-p", "21000:80", "busybox"]
                .into_iter()
                .chain(["httpd", "-f", "-h", "/www"]),
        )
        .ok();
    fetch(&world, "127.0.0.1:21000");
    let ports = world.docker(["port", "web"]).ok();
    assert!(ports.lines().count() >= 1001, "{}", ports.lines().count());
    world.docker(["rm", "-f", "web"]).ok();
    world.assert_nothing_left(&before);
}
