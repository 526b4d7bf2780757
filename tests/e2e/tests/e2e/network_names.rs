//! Names inside of networks: the resolver at 127.0.0.11.

use std::time::Duration;

use testkit::dns::Server as NameServer;
use testkit::{EngineKind, World, wait};

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(
    names_are_resolved_in_shared_networks,
    addresses_have_names_and_families_are_kept_apart,
    other_names_are_forwarded_but_not_from_internal_networks,
    links_are_names_of_ones_own
);

/// What `nslookup` in a container says of a name: the addresses, or how it failed.
fn resolve(client: Client, world: &World, container: &str, kind: &str, name: &str) -> String {
    let script = format!("nslookup -type={kind} {name} 2>&1 | sed 1,3d | tr '\\n' ' '");
    client.args(world, &["exec", container, "sh", "-c", &script]).ok()
}

fn address(client: Client, world: &World, container: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    client.args(world, &["inspect", "-f", &format, container]).ok()
}

fn names_are_resolved_in_shared_networks(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    for network in ["front", "back"] {
        client.args(&world, &["network", "create", network]).ok();
    }
    client.line(&world, "run -d --name web --network front --network-alias www busybox httpd -f -h /www").ok();
    client.line(&world, "run -d --name db --network back --network-alias shared busybox sleep 1000").ok();
    client.line(&world, "run -d --name db2 --network back --network-alias shared busybox sleep 1000").ok();
    client.line(&world, "run -d --name app --network front busybox sleep 1000").ok();
    let conf = client.line(&world, "exec app cat /etc/resolv.conf").ok();
    assert!(conf.contains("nameserver 127.0.0.11") && conf.contains("ndots:0"), "{conf}");

    let web = address(client, &world, "web", "front");
    let id = client.args(&world, &["inspect", "-f", "{{.Id}}", "web"]).ok();
    for name in ["web", "WEB", "www", "web.front", &id[..12]] {
        let found = resolve(client, &world, "app", "a", name);
        assert!(found.contains(&web), "{name}: {found}");
    }
    assert_eq!(client.line(&world, "exec app wget -q -O - http://www/index.html").ok(), "hello from a container");
    assert!(!resolve(client, &world, "app", "a", "db").contains("Address"), "a network that it is not in");

    // A name of another network is there as soon as the network is joined, and gone when it is left.
    client.line(&world, "network connect --alias application back app").ok();
    let both = resolve(client, &world, "app", "a", "shared");
    for container in ["db", "db2"] {
        assert!(both.contains(&address(client, &world, container, "back")), "{both}");
    }
    assert!(resolve(client, &world, "db", "a", "application").contains(&address(client, &world, "app", "back")));
    client.line(&world, "rename db2 database").ok();
    assert!(resolve(client, &world, "app", "a", "database").contains(&address(client, &world, "database", "back")));
    client.line(&world, "network disconnect back app").ok();
    assert!(!resolve(client, &world, "app", "a", "shared").contains("Address"));
    // What has ended has no name.
    client.line(&world, "stop -t 0 web").ok();
    assert!(!resolve(client, &world, "app", "a", "web").contains(&web));
    client.line(&world, "rm -f web db database app").ok();
    client.line(&world, "network rm front back").ok();
    world.assert_nothing_left(&before);
}

fn addresses_have_names_and_families_are_kept_apart(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "network create --subnet 10.71.0.0/24 four").ok();
    client.line(&world, "network create --ipv6 --subnet 10.72.0.0/24 --subnet fd72::/64 six").ok();
    client.line(&world, "run -d --name web --network four --ip 10.71.0.9 busybox sleep 1000").ok();
    client.line(&world, "run -d --name dual --network six --ip 10.72.0.9 --ip6 fd72::9 busybox sleep 1000").ok();
    client.line(&world, "run -d --name app --network four busybox sleep 1000").ok();
    client.line(&world, "network connect six app").ok();
    assert!(resolve(client, &world, "app", "aaaa", "dual").contains("fd72::9"));
    assert!(resolve(client, &world, "app", "a", "dual").contains("10.72.0.9"));
    // There is the name, only not in this family: that is no NXDOMAIN.
    let none = client.line(&world, "exec app nslookup -type=aaaa web");
    assert!(!format!("{none}").contains("NXDOMAIN"), "{none}");
    assert!(resolve(client, &world, "app", "ptr", "9.0.71.10.in-addr.arpa").contains("web.four"));
    let reverse = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.7.d.f.ip6.arpa";
    assert!(resolve(client, &world, "app", "ptr", reverse).contains("dual.six"));
    client.line(&world, "rm -f web dual app").ok();
    client.line(&world, "network rm four six").ok();
}

fn other_names_are_forwarded_but_not_from_internal_networks(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "network create outward").ok();
    client.line(&world, "network create --internal inner").ok();
    let server = NameServer::start(&world);
    let dns = server.address().to_string();
    client
        .args(
            &world,
            &["run", "-d", "--name", "app", "--network", "outward", "--dns", &dns, "busybox", "sleep", "1000"],
        )
        .ok();
    client
        .args(&world, &["run", "-d", "--name", "shut", "--network", "inner", "--dns", &dns, "busybox", "sleep", "1000"])
        .ok();
    let found = resolve(client, &world, "app", "a", "www.example.com");
    assert!(found.contains(NameServer::ANSWER), "{found}");
    let asked = server.questions();
    assert!(asked.iter().any(|name| name == "www.example.com"), "{asked:?}");
    if world.kind() == EngineKind::Gantry {
        for _ in 0..3 {
            resolve(client, &world, "app", "a", "www.example.com");
        }
        assert_eq!(server.questions(), asked, "the answer is kept for its time");
        // dockerd 20.10 has CVE-2024-29018: it forwards from internal networks too.
        let refused = resolve(client, &world, "shut", "a", "secret.example.com");
        assert!(!refused.contains(NameServer::ANSWER), "{refused}");
        assert_eq!(server.questions(), asked, "nothing leaves an internal network");
    }
    client.line(&world, "rm -f app shut").ok();
    client.line(&world, "network rm outward inner").ok();
}

fn links_are_names_of_ones_own(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "network create net").ok();
    client.line(&world, "run -d --name db --network net busybox sleep 1000").ok();
    client.line(&world, "run -d --name app --network net --link db:postgres busybox sleep 1000").ok();
    client.line(&world, "run -d --name other --network net busybox sleep 1000").ok();
    let db = address(client, &world, "db", "net");
    assert!(resolve(client, &world, "app", "a", "postgres").contains(&db));
    assert!(!resolve(client, &world, "other", "a", "postgres").contains(&db));
    // On the default bridge, which has no names, they are lines of /etc/hosts.
    client.line(&world, "run -d --name old busybox sleep 1000").ok();
    client.line(&world, "run -d --name older --link old:legacy busybox sleep 1000").ok();
    let hosts = client.line(&world, "exec older cat /etc/hosts").ok();
    let line = format!("{}\tlegacy ", address(client, &world, "old", "bridge"));
    assert!(hosts.contains(&line), "{hosts}");
    assert!(client.line(&world, "run --rm --link nonesuch:x busybox true").failure().contains("nonesuch"));
    client.line(&world, "rm -f db app other old older").ok();
    client.line(&world, "network rm net").ok();
}

#[test]
fn names_are_resolved_again_after_the_daemon_was_killed() {
    let mut world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let client = Client::Docker;
    client.line(&world, "network create net").ok();
    client.line(&world, "run -d --name web --network net busybox sleep 1000").ok();
    client.line(&world, "run -d --name app --network net busybox sleep 1000").ok();
    let web = address(client, &world, "web", "net");
    for _ in 0..2 {
        world.kill_daemon();
        world.start_daemon();
        assert!(resolve(client, &world, "app", "a", "web").contains(&web));
    }
    // A container may serve port 53 itself.
    client.line(&world, "exec app httpd -p 0.0.0.0:53 -h /www").ok();
    wait::until("port 53 of the container", Duration::from_secs(10), || {
        let listening = client.args(&world, &["exec", "app", "sh", "-c", "grep -c ':0035 .* 0A ' /proc/net/tcp; true"]);
        (listening.ok().trim() == "1").then_some(())
    });
    assert!(resolve(client, &world, "app", "a", "web").contains(&web));
    client.line(&world, "rm -f web app").ok();
    client.line(&world, "network rm net").ok();
    world.assert_nothing_left(&before);
}

/// A hundred containers of one network resolve and reach each other: each asks for the one after it.
#[test]
fn a_hundred_containers_reach_each_other_by_name() {
    const COUNT: usize = 100;
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    world.docker(["network", "create", "net"]).ok();
    for n in 0..COUNT {
        let next = (n + 1) % COUNT;
        let script = format!(
            "httpd -h /www; until wget -q -O /tmp/page http://c{next}/index.html; do usleep 200000; done; echo reached"
        );
        let name = format!("c{n}");
        world
            .docker([
                "run",
                "-d",
                "--name",
                &name,
                "--network",
                "net",
                "busybox",
                "sh",
                "-c",
                &format!("{script}; sleep 1000"),
            ])
            .ok();
    }
    for n in 0..COUNT {
        wait::until(&format!("c{n} to reach the next"), Duration::from_secs(60), || {
            world.docker(["logs", &format!("c{n}")]).ok().contains("reached").then_some(())
        });
    }
    let names: Vec<String> = (0..COUNT).map(|n| format!("c{n}")).collect();
    world.docker(["rm", "-f"].into_iter().chain(names.iter().map(String::as_str))).ok();
    world.docker(["network", "rm", "net"]).ok();
    world.assert_nothing_left(&before);
}
