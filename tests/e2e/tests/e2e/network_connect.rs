//! `network connect` and `disconnect` on containers that exist: created, stopped and running.

use std::time::Duration;

use testkit::{EngineKind, World, wait};

use crate::client::{Client, fetch, with_both_clients, world_with_busybox};

with_both_clients!(
    a_running_container_joins_and_leaves,
    a_container_at_rest_joins_and_leaves,
    the_default_route_follows_the_networks,
    wrong_connections_are_refused,
    pruning_goes_by_label_and_use
);

/// Address, interface and aliases of a container in a network, as inspect shows them.
fn shown(client: Client, world: &World, container: &str, network: &str) -> String {
    let of = format!("(index .NetworkSettings.Networks \"{network}\")");
    let format =
        format!("{{{{{of}.IPAddress}}}} {{{{{of}.IPPrefixLen}}}} {{{{{of}.MacAddress}}}} {{{{{of}.Gateway}}}}");
    client.args(world, &["inspect", "-f", &format, container]).ok()
}

fn a_running_container_joins_and_leaves(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "network create --subnet 10.77.0.0/24 back").ok();
    client.line(&world, "run -d --name web --network-alias w busybox sleep 1000").fails(125);
    client.line(&world, "rm -f web").ok();
    client.line(&world, "run -d --name web busybox httpd -f -h /www").ok();
    client.line(&world, "run -d --name peer --network back busybox sleep 1000").ok();

    let connect = ["network", "connect", "--alias", "www", "--ip", "10.77.0.77", "back", "web"];
    client.args(&world, &connect).ok();
    let links = client.line(&world, "exec web ip -o -4 addr").ok();
    assert!(links.contains("eth1    inet 10.77.0.77/24"), "{links}");
    assert_eq!(shown(client, &world, "web", "back"), "10.77.0.77 24 02:42:0a:4d:00:4d 10.77.0.1");
    let got = client.line(&world, "exec peer wget -q -O - http://10.77.0.77/index.html").ok();
    assert_eq!(got, "hello from a container");
    assert!(client.line(&world, "exec web cat /etc/hosts").ok().contains("10.77.0.77\t"));
    let members =
        client.args(&world, &["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "back"]).ok();
    assert_eq!(sorted(&members), ["peer", "web"]);

    // What is wanted survives a restart of the container.
    client.line(&world, "restart -t 0 web").ok();
    assert!(client.line(&world, "exec web ip -o -4 addr").ok().contains("10.77.0.77/24"));

    client.line(&world, "network disconnect back web").ok();
    let links = client.line(&world, "exec web ip -o -4 addr").ok();
    assert!(!links.contains("10.77.0.") && links.contains("172.17.0."), "{links}");
    assert!(!client.line(&world, "exec web cat /etc/hosts").ok().contains("10.77.0.77"));
    client.line(&world, "exec peer wget -q -T 1 -O - http://10.77.0.77/index.html").failure();
    client.line(&world, "rm -f web peer").ok();
    // The clients cut "now" down to a whole second.
    wait::until("three connections and their ends among the events", Duration::from_secs(10), || {
        let line = "events --since 0 --until 0s --filter network=back --format {{.Action}}";
        let events = client.line(&world, line).ok();
        let count = |action: &str| events.lines().filter(|line| *line == action).count();
        (count("connect") == 3 && count("disconnect") == 3).then_some(())
    });
    client.line(&world, "network rm back").ok();
    world.assert_nothing_left(&before);
}

fn a_container_at_rest_joins_and_leaves(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "network create --subnet 10.78.0.0/24 one").ok();
    client.line(&world, "network create --subnet 10.79.0.0/24 two").ok();
    client.line(&world, "create --name web --network one busybox sleep 1000").ok();
    client.line(&world, "network connect --ip 10.79.0.9 two web").ok();
    client.line(&world, "start web").ok();
    let addresses = client.line(&world, "exec web ip -o -4 addr").ok();
    assert!(addresses.contains("10.78.0.2/24") && addresses.contains("10.79.0.9/24"), "{addresses}");
    client.line(&world, "stop -t 0 web").ok();
    client.line(&world, "network disconnect one web").ok();
    client.line(&world, "start web").ok();
    let addresses = client.line(&world, "exec web ip -o -4 addr").ok();
    assert!(!addresses.contains("10.78.0") && addresses.contains("eth0    inet 10.79.0.9/24"), "{addresses}");
    client.line(&world, "network disconnect two web").ok();
    // In no network at all there is only loopback, also after a restart.
    client.line(&world, "restart -t 0 web").ok();
    let links = client.line(&world, "exec web ip -o -4 addr").ok();
    assert!(!links.contains("eth"), "{links}");
    client.line(&world, "rm -f web").ok();

    // From `none` into a network, as docker has it.
    client.line(&world, "run -d --name quiet --network none busybox sleep 1000").ok();
    assert!(client.line(&world, "network connect one quiet").fails(1).contains("private (none) mode"));
    client.line(&world, "network disconnect none quiet").ok();
    client.line(&world, "network connect one quiet").ok();
    assert!(client.line(&world, "exec quiet ip -o -4 addr").ok().contains("10.78.0."));
    client.line(&world, "rm -f quiet").ok();
    client.line(&world, "network rm one two").ok();
    world.assert_nothing_left(&before);
}

fn default_gateway(client: Client, world: &World) -> String {
    let route = client.args(world, &["exec", "web", "sh", "-c", "ip route | grep ^default || echo none"]).ok();
    route.split_whitespace().nth(2).unwrap_or("none").to_owned()
}

fn the_default_route_follows_the_networks(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    for (name, subnet) in [("alpha", "10.81.0.0/24"), ("beta", "10.82.0.0/24"), ("gamma", "10.83.0.0/24")] {
        client.args(&world, &["network", "create", "--subnet", subnet, name]).ok();
    }
    client.line(&world, "network create --internal --subnet 10.84.0.0/24 aaa").ok();
    client.line(&world, "run -d --name web --network beta -p 8080:80 busybox httpd -f -h /www").ok();
    assert_eq!(default_gateway(client, &world), "10.82.0.1");
    fetch(&world, "127.0.0.1:8080");
    client.line(&world, "network connect gamma web").ok();
    client.line(&world, "network connect aaa web").ok();
    assert_eq!(default_gateway(client, &world), "10.82.0.1", "a later name, and an internal network");
    client.line(&world, "network connect alpha web").ok();
    assert_eq!(default_gateway(client, &world), "10.81.0.1", "the first name");
    fetch(&world, "127.0.0.1:8080");
    client.line(&world, "network disconnect alpha web").ok();
    assert_eq!(default_gateway(client, &world), "10.82.0.1");
    fetch(&world, "127.0.0.1:8080");
    if world.kind() == EngineKind::Gantry {
        client.line(&world, "network disconnect gamma web").ok();
        client.line(&world, "network connect --gw-priority 5 gamma web").ok();
        assert_eq!(default_gateway(client, &world), "10.83.0.1", "the highest priority");
        fetch(&world, "127.0.0.1:8080");
        fetch(&world, "[::1]:8080");
    }
    for network in ["beta", "gamma", "aaa"] {
        client.line(&world, &format!("network disconnect {network} web")).ok();
    }
    assert_eq!(default_gateway(client, &world), "none");
    client.line(&world, "network connect alpha web").ok();
    assert_eq!(default_gateway(client, &world), "10.81.0.1");
    fetch(&world, "127.0.0.1:8080");
    client.line(&world, "rm -f web").ok();
    client.line(&world, "network rm alpha beta gamma aaa").ok();
    world.assert_nothing_left(&before);
}

fn wrong_connections_are_refused(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "network create --subnet 10.85.0.0/24 net").ok();
    client.line(&world, "run -d --name web --network net busybox sleep 1000").ok();
    client.line(&world, "run -d --name hosted --network host busybox sleep 1000").ok();
    client.line(&world, "run -d --name joined --network container:web busybox sleep 1000").ok();
    let before = world.census();
    let cases = [
        ("connect nonesuch web", "network nonesuch not found"),
        ("connect net nonesuch", "No such container: nonesuch"),
        ("connect net web", "already exists in network net"),
        ("connect host web", "host network"),
        ("connect none web", "private (none) mode"),
        ("connect net hosted", "sharing network namespace"),
        ("connect net joined", "sharing network namespace"),
        ("connect --ip 10.85.0.3 bridge web", "user defined networks only"),
        ("connect --alias x bridge web", "network-scoped alias"),
        ("disconnect bridge web", "is not connected to"),
        ("disconnect host hosted", "host network"),
    ];
    for (line, expected) in cases {
        let run = client.line(&world, &format!("network {line}"));
        assert!(run.fails(1).contains(expected), "{line}: {run}");
    }
    client.line(&world, "run -d --name other busybox sleep 1000").ok();
    let address = client.args(&world, &["inspect", "-f", "{{.NetworkSettings.Networks.net.IPAddress}}", "web"]).ok();
    client.args(&world, &["network", "connect", "--ip", &address, "net", "other"]).fails(1);
    client.line(&world, "network connect --ip 10.99.0.1 net other").fails(1);
    client.line(&world, "rm -f other").ok();
    world.assert_nothing_left(&before);
    client.line(&world, "rm -f web hosted joined").ok();
    client.line(&world, "network rm net").ok();
}

fn pruning_goes_by_label_and_use(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "network create --label keep=yes kept").ok();
    client.line(&world, "network create used").ok();
    client.line(&world, "network create spare").ok();
    client.line(&world, "run -d --name web --network used busybox sleep 1000").ok();
    client.line(&world, "network prune -f --filter until=1h").ok();
    assert!(client.line(&world, "network ls -q --filter name=spare").ok().len() >= 12, "it is not so old");
    client.line(&world, "network prune -f --filter label!=keep").ok();
    let left = client.args(&world, &["network", "ls", "--format", "{{.Name}}", "--filter", "type=custom"]).ok();
    assert_eq!(sorted(&left), ["kept", "used"]);
    client.line(&world, "rm -f web").ok();
    client.line(&world, "network prune -f").ok();
    assert_eq!(client.line(&world, "network ls -q --filter type=custom").ok(), "");
}

fn sorted(words: &str) -> Vec<&str> {
    let mut words: Vec<_> = words.split_whitespace().collect();
    words.sort_unstable();
    words
}

/// Connections over one network go on while others are joined and left.
#[test]
fn traffic_goes_on_while_other_networks_come_and_go() {
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    for (name, subnet) in [("alpha", "10.91.0.0/24"), ("beta", "10.92.0.0/24")] {
        world.docker(["network", "create", "--subnet", subnet, name]).ok();
    }
    // One connection that sends a line every 50 ms: to a neighbour, and through a published port.
    let lines = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; usleep 50000; done";
    world
        .docker(
            ["run", "-d", "--name", "server", "--network", "beta", "--ip", "10.92.0.9", "-p", "127.0.0.1:8080:80"]
                .into_iter()
                .chain(["busybox", "nc", "-ll", "-p", "80", "-e", "sh", "-c", lines]),
        )
        .ok();
    world
        .docker(
            ["run", "-d", "--name", "client", "--network", "beta", "busybox", "sh", "-c"]
                .into_iter()
                .chain(["nc 10.92.0.9 80"]),
        )
        .ok();
    let mut outside = world.enter("sh");
    outside
        .args(["-c", "until busybox nc 127.0.0.1 8080; do usleep 100000; done"])
        .stdout(std::process::Stdio::piped());
    let outside = outside.spawn().expect("a client of the published port");
    for _ in 0..4 {
        world.docker(["network", "connect", "alpha", "server"]).ok();
        world.docker(["network", "disconnect", "alpha", "server"]).ok();
    }
    let expected: String = (1..=60).map(|n| format!("{n}\n")).collect();
    let heard = String::from_utf8(outside.wait_with_output().expect("its end").stdout).expect("text");
    assert_eq!(heard, expected, "through the published port");
    wait::until("the last line to the neighbour", Duration::from_secs(20), || {
        (world.docker(["logs", "client"]).ok().trim() == expected.trim()).then_some(())
    });
    world.docker(["rm", "-f", "server", "client"]).ok();
    world.docker(["network", "rm", "alpha", "beta"]).ok();
    world.assert_nothing_left(&before);
}

/// Containers on the LAN itself: another machine sees them with their own addresses.
#[test]
fn a_macvlan_network_is_on_the_lan() {
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let outside = world.outside();
    let before = world.census();
    let create = ["network", "create", "-d", "macvlan", "--subnet", "203.0.113.0/24", "--gateway", "203.0.113.254"];
    let wrong = |more: &[&str]| world.docker(create.iter().chain(more).copied()).failure().to_owned();
    assert!(wrong(&["lan"]).contains("option parent is missing"));
    assert!(wrong(&["-o", "parent=nonesuch", "lan"]).contains("parent interface nonesuch not found"));
    assert!(wrong(&["-o", "parent=outside0", "-o", "macvlan_mode=odd", "lan"]).contains("macvlan_mode"));
    world.docker(create.iter().chain(&["-o", "parent=outside0", "lan"]).copied()).ok();
    assert!(wrong(&["-o", "parent=outside0", "twice"]).contains("203.0.113.0/24"), "an overlap");
    world
        .docker([
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "lan",
            "--ip",
            "203.0.113.50",
            "busybox",
            "httpd",
            "-f",
            "-h",
            "/www",
        ])
        .ok();
    let fetch = |address: &str| {
        wait::until(&format!("a page from {address}"), Duration::from_secs(10), || {
            let got = outside.sh(&format!("busybox wget -q -O - http://{address}/index.html 2>/dev/null || true"));
            (got == "hello from a container").then_some(())
        });
    };
    fetch("203.0.113.50");
    // Also joined and left while it runs.
    world.docker(["run", "-d", "--name", "late", "busybox", "httpd", "-f", "-h", "/www"]).ok();
    world.docker(["network", "connect", "--ip", "203.0.113.51", "lan", "late"]).ok();
    fetch("203.0.113.51");
    world.docker(["exec", "late", "nslookup", "-type=a", "web"]).ok();
    world.docker(["network", "disconnect", "lan", "late"]).ok();
    assert!(!world.docker(["exec", "late", "ip", "-o", "addr"]).ok().contains("203.0.113.51"));
    world.docker(["rm", "-f", "web", "late"]).ok();
    world.docker(["network", "rm", "lan"]).ok();
    world.assert_nothing_left(&before);
}
