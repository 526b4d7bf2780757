//! Networks and endpoints come and go, and nothing is left.

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use engine::ErrorKind;
use engine::id::SandboxId;
use engine::metadata::tables::address;
use engine::network::{EndpointSpec, IpamPool, PortMapping};

use crate::lab::{HOST, Lab, Sandbox, ask, is_refused, isolated, links, nft_table, run, serve, spec, tcp, wait_until};

#[test]
fn the_kernel_has_the_table_that_the_text_says() {
    isolated("lifecycle::the_kernel_has_the_table_that_the_text_says", || async {
        let lab = Lab::new();
        let networks = lab.open(|c| c.table_owner = false).await;
        let mut six = spec("six");
        six.enable_ipv6 = true;
        networks.create(six).await.unwrap();
        let mut inner = spec("inner");
        inner.internal = true;
        networks.create(inner).await.unwrap();
        let ports = [tcp(None, 8080, 80), tcp(Some(HOST), 8081, 81), tcp(Some("2001:db8::1"), 8082, 82)];
        let _web = Sandbox::start(&networks, &["six"], &ports).await;
        // The same table as `nft` would make of the text, and as the kernel has it after single changes.
        let by_changes = nft_table("gantry");
        let text = networks.rules_text();
        run("nft", &["delete", "table", "inet", "gantry"]);
        wait_until("the table is back", || nft_lists("gantry")).await;
        assert_eq!(nft_table("gantry"), by_changes, "replaced at once as built up");
        std::fs::write("/tmp/gantry-text.nft", text.replacen("table inet gantry", "table inet by_text", 1)).unwrap();
        run("nft", &["-f", "/tmp/gantry-text.nft"]);
        std::fs::remove_file("/tmp/gantry-text.nft").unwrap();
        let ours: Vec<_> = by_changes.into_iter().map(|line| line.replace("inet gantry", "inet by_text")).collect();
        assert_eq!(nft_table("by_text"), ours, "nft reads the text as the kernel has it");
    });
}

fn nft_lists(table: &str) -> bool {
    let listed = std::process::Command::new("nft").args(["list", "table", "inet", table]).output().unwrap();
    listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("chain postrouting")
}

#[test]
fn a_flushed_table_is_put_back() {
    isolated("lifecycle::a_flushed_table_is_put_back", || async {
        let lab = Lab::new();
        let networks = lab.open(|c| c.table_owner = false).await;
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        let before = nft_table("gantry");
        for breakage in [
            &["flush", "ruleset"][..],
            &["delete", "table", "inet", "gantry"],
            &["flush", "chain", "inet", "gantry", "forward"],
            &["flush", "map", "inet", "gantry", "publish4_any"],
        ] {
            run("nft", breakage);
            let took = wait_until("the table is back", || nft_lists("gantry") && nft_table("gantry") == before).await;
            println!("{breakage:?}: back after {took:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert!(ask(lab.lan.as_fd(), HOST, 8080).is_ok());
    });
}

#[test]
fn an_owned_table_cannot_be_flushed_and_outlives_the_daemon() {
    isolated("lifecycle::an_owned_table_cannot_be_flushed_and_outlives_the_daemon", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        run("nft", &["flush", "ruleset"]);
        assert!(nft_lists("gantry"), "a flush of everything leaves it alone");
        let refused = std::process::Command::new("nft").args(["delete", "table", "inet", "gantry"]).output().unwrap();
        assert!(!refused.status.success(), "another program cannot remove it");
        drop(networks);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(nft_lists("gantry"));
        assert!(ask(lab.lan.as_fd(), HOST, 8080).is_ok(), "published while no daemon runs");
    });
}

#[test]
fn a_restart_finds_everything_in_force() {
    isolated("lifecycle::a_restart_finds_everything_in_force", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        networks.create(spec("mine")).await.unwrap();
        let web = Sandbox::start(&networks, &["mine"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        let ids: Vec<_> = networks.list().iter().map(|n| n.id.clone()).collect();
        drop(networks);
        tokio::time::sleep(Duration::from_millis(50)).await;

        let networks = lab.open(|_| {}).await;
        assert_eq!(networks.list().iter().map(|n| n.id.clone()).collect::<Vec<_>>(), ids);
        assert_eq!(networks.attachment(&web.id), web.attachment);
        assert!(ask(lab.lan.as_fd(), HOST, 8080).is_ok());
        assert!(ask(lab.host.as_fd(), "127.0.0.1", 8080).is_ok());
        let second = SandboxId::random();
        let netns = networks.take_netns().await.unwrap();
        let wanted = [EndpointSpec::new("mine")];
        let error = networks.connect(&second, netns.as_fd(), &wanted, &[tcp(None, 8080, 80)]).await.unwrap_err();
        assert_eq!(error.message(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let next = networks.connect(&second, netns.as_fd(), &wanted, &[]).await.unwrap();
        assert_ne!(next.endpoints[0].ipv4, web.attachment.endpoints[0].ipv4, "its address is still its own");

        let removed = networks.retain(&HashSet::from([second.clone()])).await.unwrap();
        assert_eq!(removed.len(), 1, "{removed:?}");
        networks.settle().await;
        assert!(is_refused(lab.lan.as_fd(), HOST, 8080));
        assert_eq!(networks.get("mine").unwrap().endpoints.len(), 1);
    });
}

#[test]
fn a_bridge_that_was_deleted_is_made_again_at_start_with_its_ports() {
    isolated("lifecycle::a_bridge_that_was_deleted_is_made_again_at_start_with_its_ports", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        drop(networks);
        run("ip", &["link", "del", "gantry0"]);
        assert!(is_refused(lab.lan.as_fd(), HOST, 8080));
        let _networks = lab.open(|_| {}).await;
        assert!(ask(lab.lan.as_fd(), HOST, 8080).is_ok());
    });
}

#[test]
fn a_connection_that_fails_leaves_nothing() {
    isolated("lifecycle::a_connection_that_fails_leaves_nothing", || async {
        let lab = Lab::new();
        let networks = lab.open(|c| c.table_owner = false).await;
        networks.create(spec("other")).await.unwrap();
        let (links_before, rules_before) = (links(), nft_table("gantry"));
        let foreign = TcpListener::bind("0.0.0.0:9999").unwrap();
        let netns = networks.take_netns().await.unwrap();
        let id = SandboxId::random();
        let named = |name: &str| EndpointSpec { interface: Some(name.into()), ..EndpointSpec::new("other") };
        let fixed = |ip: &str| EndpointSpec { ipv4: Some(ip.parse().unwrap()), ..EndpointSpec::new("other") };
        let bridge = || EndpointSpec::new("bridge");
        let cases: [(Vec<EndpointSpec>, Vec<PortMapping>, ErrorKind, &str); 9] = [
            (vec![bridge(), EndpointSpec::new("nowhere")], vec![], ErrorKind::NotFound, "network nowhere not found"),
            (vec![bridge(), fixed("9.9.9.9")], vec![], ErrorKind::InvalidArgument, "9.9.9.9"),
            (vec![bridge(), bridge()], vec![], ErrorKind::Forbidden, "already connected"),
            (vec![EndpointSpec::new("host")], vec![], ErrorKind::Forbidden, "network host"),
            (vec![bridge(), named("a/b")], vec![], ErrorKind::InvalidArgument, "interface name"),
            (vec![bridge(), named("eth0")], vec![], ErrorKind::Conflict, "eth0"),
            (vec![bridge()], vec![tcp(None, 0, 80), tcp(None, 9999, 80)], ErrorKind::AlreadyExists, "0.0.0.0:9999"),
            (vec![bridge()], vec![tcp(Some("8.8.8.8"), 80, 80)], ErrorKind::InvalidArgument, "8.8.8.8:80"),
            // The kernel refuses after the first link is made: the name is taken in the namespace.
            (vec![bridge(), named("lo2")], vec![tcp(None, 8080, 80)], ErrorKind::Internal, "lo2"),
        ];
        crate::lab::run_in(netns.as_fd(), "ip", &["link", "add", "lo2", "type", "bridge"]);
        for (wanted, ports, kind, words) in cases {
            let error = networks.connect(&id, netns.as_fd(), &wanted, &ports).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error} should contain {words}");
            assert_eq!(links(), links_before, "{error}");
            assert_eq!(nft_table("gantry"), rules_before, "{error}");
        }
        drop(foreign);
        for network in networks.list() {
            assert!(network.endpoints.is_empty());
            assert_eq!(lab.store().read(|c| address::count(c, &network.id)).unwrap(), 0);
        }
        let good = networks.connect(&id, netns.as_fd(), &[bridge()], &[tcp(None, 9999, 80)]).await.unwrap();
        assert_eq!(good.ports.len(), 2, "both families: {:?}", good.ports);
    });
}

#[test]
fn networks_are_created_refused_and_removed() {
    isolated("lifecycle::networks_are_created_refused_and_removed", || async {
        let lab = Lab::new();
        run("ip", &["route", "add", "172.18.0.0/16", "dev", "uplink"]);
        let networks = lab.open(|_| {}).await;
        let names: Vec<_> = networks.list().iter().map(|n| n.name.clone()).collect();
        assert_eq!(names, ["bridge", "host", "none"]);
        let before = links();
        let a = networks.create(spec("app")).await.unwrap();
        assert_eq!(a.ipam[0].subnet.unwrap().to_string(), "172.19.0.0/16", "past the route of the host");
        assert_eq!(a.bridge.as_deref(), Some(format!("br-{}", a.id.short()).as_str()));
        assert_eq!(networks.create(spec("app")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let mut clash = spec("b");
        clash.ipam = vec![IpamPool { subnet: Some("172.19.4.0/24".parse().unwrap()), ..IpamPool::default() }];
        let error = networks.create(clash).await.unwrap_err();
        assert!(error.message().contains("Pool overlaps with other one on this address space"), "{error}");
        let mut named = spec("c");
        named.options.insert("com.docker.network.bridge.name".into(), "uplink".into());
        assert_eq!(networks.create(named).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(networks.get(&a.id.as_str()[..10]).unwrap().id, a.id);
        let used = Sandbox::start(&networks, &["app"], &[]).await;
        let error = networks.remove("app").await.unwrap_err();
        assert!(error.kind() == ErrorKind::Forbidden && error.message().contains("has active endpoints"), "{error}");
        assert_eq!(networks.remove("bridge").await.unwrap_err().kind(), ErrorKind::Forbidden);
        assert!(networks.prune(|_| true).await.unwrap().is_empty());
        networks.disconnect(&used.id).await.unwrap();
        networks.disconnect(&used.id).await.unwrap();
        assert_eq!(networks.prune(|_| true).await.unwrap(), ["app"], "a departure under way is waited for");
        assert_eq!(links(), before);
        assert_eq!(networks.get("app").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_fixed_address_can_be_had_again_at_once() {
    isolated("lifecycle::a_fixed_address_can_be_had_again_at_once", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let (first, second) = (SandboxId::random(), SandboxId::random());
        let wanted = [EndpointSpec { ipv4: Some("172.17.0.77".parse().unwrap()), ..EndpointSpec::new("bridge") }];
        let netns = networks.take_netns().await.unwrap();
        for _ in 0..3 {
            // The same sandbox in the same namespace, as at a restart, then another.
            networks.connect(&first, netns.as_fd(), &wanted, &[tcp(None, 8080, 80)]).await.unwrap();
            let error = networks.connect(&second, netns.as_fd(), &wanted, &[]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
            networks.disconnect(&first).await.unwrap();
        }
        networks.connect(&second, netns.as_fd(), &wanted, &[tcp(None, 8080, 80)]).await.unwrap();
        networks.disconnect_from(&second, netns.as_fd(), "bridge").await.unwrap();
        assert!(!links().iter().any(|link| link.starts_with("veth")), "gone at once where the sandbox lives on");
        assert!(networks.disconnect_from(&second, netns.as_fd(), "bridge").await.is_err());
    });
}

#[test]
fn a_thousand_ports_are_published_by_one_sandbox() {
    isolated("lifecycle::a_thousand_ports_are_published_by_one_sandbox", || async {
        let lab = Lab::new();
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit { current: Some(8192), maximum: Some(8192) },
        )
        .unwrap();
        let networks = lab.open(|c| c.table_owner = false).await;
        let before = nft_table("gantry");
        let ports: Vec<_> = (20_000..21_000).map(|port| tcp(None, port, port)).collect();
        let begin = Instant::now();
        let web = Sandbox::start(&networks, &["bridge"], &ports).await;
        println!("1,000 ports published in {:?}", begin.elapsed());
        assert_eq!(web.attachment.ports.len(), 2000);
        serve(web.fd(), "web", 20_777);
        assert!(ask(lab.lan.as_fd(), HOST, 20_777).is_ok());
        assert!(ask(lab.host.as_fd(), "::1", 20_777).is_ok());
        let begin = Instant::now();
        networks.disconnect(&web.id).await.unwrap();
        println!("taken back in {:?}", begin.elapsed());
        networks.settle().await;
        assert_eq!(nft_table("gantry"), before);
        wait_until("the ports are free", || TcpListener::bind("0.0.0.0:20777").is_ok()).await;
    });
}

#[test]
fn two_hundred_endpoints_leave_nothing() {
    isolated("lifecycle::two_hundred_endpoints_leave_nothing", || async {
        let lab = Lab::new();
        let networks = lab
            .open(|c| {
                c.table_owner = false;
                c.netns_pool_size = 8;
            })
            .await;
        let (links_before, rules_before) = (links(), nft_table("gantry"));
        let mut alone = Vec::new();
        let mut live = Vec::new();
        for _ in 0..40 {
            let netns = OwnedFd::from(networks.take_netns().await.unwrap());
            let id = SandboxId::random();
            let begin = Instant::now();
            networks.connect(&id, netns.as_fd(), &[EndpointSpec::new("bridge")], &[tcp(None, 0, 80)]).await.unwrap();
            alone.push(begin.elapsed());
            live.push((id, netns));
        }
        alone.sort();
        println!("connect with a port: median {:?}, longest {:?}", alone[20], alone[39]);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 40..200 {
            let networks = networks.clone();
            tasks.spawn(async move {
                let netns = OwnedFd::from(networks.take_netns().await.unwrap());
                let id = SandboxId::random();
                let wanted = [EndpointSpec::new("bridge")];
                networks.connect(&id, netns.as_fd(), &wanted, &[tcp(None, 0, 80)]).await.unwrap();
                (id, netns)
            });
        }
        live.extend(tasks.join_all().await);
        let addresses: HashSet<_> =
            networks.get("bridge").unwrap().endpoints.iter().map(|endpoint| endpoint.ipv4.unwrap()).collect();
        assert_eq!(addresses.len(), 200);
        let mut gone = Vec::new();
        for (id, _) in &live[..40] {
            let begin = Instant::now();
            networks.disconnect(id).await.unwrap();
            gone.push(begin.elapsed());
        }
        gone.sort();
        println!("disconnect: median {:?}, longest {:?}", gone[20], gone[39]);
        let begin = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (id, netns) in live {
            let networks = networks.clone();
            tasks.spawn(async move {
                networks.disconnect(&id).await.unwrap();
                drop(netns);
            });
        }
        tasks.join_all().await;
        networks.settle().await;
        println!("160 endpoints removed in {:?}", begin.elapsed());
        assert_eq!(links(), links_before);
        assert_eq!(nft_table("gantry"), rules_before);
        let bridge = networks.get("bridge").unwrap();
        assert_eq!(lab.store().read(|c| address::count(c, &bridge.id)).unwrap(), 0);
        assert!(bridge.endpoints.is_empty());
    });
}
