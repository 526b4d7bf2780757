//! What reaches what.

use std::os::fd::AsFd as _;

use engine::network::{PortMapping, Protocol};

use crate::lab::{
    HOST, LAN, Lab, Sandbox, ask, ask_udp, is_refused, isolated, run, run_in, serve, serve_udp, spec, tcp,
};

#[test]
fn a_sandbox_reaches_the_lan_with_the_hosts_address() {
    isolated("traffic::a_sandbox_reaches_the_lan_with_the_hosts_address", || async {
        let lab = Lab::new();
        serve(lab.lan.as_fd(), "lan", 7000);
        serve_udp(lab.lan.as_fd(), "lan", 7000);
        let networks = lab.open(|_| {}).await;
        let sandbox = Sandbox::start(&networks, &["bridge"], &[]).await;
        assert_eq!(sandbox.ip().to_string(), "172.17.0.2");
        assert_eq!(ask(sandbox.fd(), LAN, 7000).unwrap(), format!("lan {HOST}"));
        assert_eq!(ask_udp(sandbox.fd(), LAN, 7000).unwrap(), format!("lan {HOST}"));
        let endpoint = &sandbox.attachment.endpoints[0];
        assert_eq!((endpoint.interface.as_str(), endpoint.mac), ("eth0", [0x02, 0x42, 172, 17, 0, 2]));
        assert!(run_in(sandbox.fd(), "ip", &["link"]).contains("02:42:ac:11:00:02"));
        // A network without IPv6 has none, not even a link-local address.
        assert_eq!(run_in(sandbox.fd(), "ip", &["-6", "addr", "show", "dev", "eth0"]), "");
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    isolated("traffic::a_published_port_is_reached_from_everywhere", || reach_from_everywhere(false));
}

/// Where `br_netfilter` is on, frames inside of a bridge pass the rules too, but at other points.
#[test]
fn a_published_port_is_reached_from_everywhere_with_br_netfilter() {
    isolated("traffic::a_published_port_is_reached_from_everywhere_with_br_netfilter", || reach_from_everywhere(true));
}

async fn reach_from_everywhere(bridge_netfilter: bool) {
    let lab = Lab::new();
    set_bridge_netfilter(bridge_netfilter);
    let networks = lab.open(|_| {}).await;
    networks.create(spec("other")).await.unwrap();
    let udp = PortMapping { protocol: Protocol::Udp, ..tcp(None, 5353, 53) };
    let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80), udp]).await;
    serve(web.fd(), "web", 80);
    serve_udp(web.fd(), "dns", 53);
    let neighbour = Sandbox::start(&networks, &["bridge"], &[]).await;
    let stranger = Sandbox::start(&networks, &["other"], &[]).await;

    assert_eq!(ask(lab.lan.as_fd(), HOST, 8080).unwrap(), format!("web {LAN}"), "the source address is kept");
    assert_eq!(ask_udp(lab.lan.as_fd(), HOST, 5353).unwrap(), format!("dns {LAN}"));
    for address in ["127.0.0.1", "127.0.0.9", "::1", HOST, "172.17.0.1", "2001:db8::1"] {
        assert!(ask(lab.host.as_fd(), address, 8080).is_ok_and(|a| a.starts_with("web ")), "{address}");
    }
    for address in ["127.0.0.1", "::1", HOST] {
        assert!(ask_udp(lab.host.as_fd(), address, 5353).is_ok_and(|a| a.starts_with("dns ")), "{address}");
    }
    assert!(ask(lab.lan.as_fd(), "2001:db8::1", 8080).is_ok_and(|a| a.starts_with("web ")), "IPv6 to IPv4");
    for (who, client) in [("itself", &web), ("neighbour", &neighbour), ("stranger", &stranger)] {
        assert!(ask(client.fd(), HOST, 8080).is_ok_and(|a| a.starts_with("web ")), "{who} through the host");
    }
    assert!(ask(neighbour.fd(), "172.17.0.1", 8080).is_ok_and(|a| a.starts_with("web ")), "through the gateway");

    networks.disconnect(&web.id).await.unwrap();
    assert!(is_refused(lab.lan.as_fd(), HOST, 8080));
    assert!(is_refused(lab.host.as_fd(), "127.0.0.1", 8080));
}

fn set_bridge_netfilter(on: bool) {
    let value = if on { "1" } else { "0" };
    for name in ["iptables", "ip6tables"] {
        let written = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{name}"), value);
        assert!(written.is_ok() || !on, "this test needs a kernel with br_netfilter: {written:?}");
    }
}

#[test]
fn ipv6_networks_have_ipv6_all_the_way() {
    isolated("traffic::ipv6_networks_have_ipv6_all_the_way", || async {
        let lab = Lab::new();
        serve(lab.lan.as_fd(), "lan", 7000);
        let networks = lab.open(|_| {}).await;
        let mut six = spec("six");
        six.enable_ipv6 = true;
        let six = networks.create(six).await.unwrap();
        assert_eq!(six.ipam.len(), 2);
        let web = Sandbox::start(&networks, &["six"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        let neighbour = Sandbox::start(&networks, &["six"], &[]).await;
        assert_eq!(ask(web.fd(), "2001:db8::2", 7000).unwrap(), "lan 2001:db8::1");
        assert_eq!(ask(lab.lan.as_fd(), "2001:db8::1", 8080).unwrap(), "web 2001:db8::2");
        assert!(ask(neighbour.fd(), &web.ip6().to_string(), 80).is_ok());
        assert!(ask(neighbour.fd(), "2001:db8::1", 8080).is_ok(), "hairpin");
    });
}

#[test]
fn networks_are_isolated_from_each_other_and_from_outside() {
    isolated("traffic::networks_are_isolated_from_each_other_and_from_outside", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        networks.create(spec("other")).await.unwrap();
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        serve(web.fd(), "hidden", 81);
        let neighbour = Sandbox::start(&networks, &["bridge"], &[]).await;
        let stranger = Sandbox::start(&networks, &["other"], &[]).await;
        let address = web.ip().to_string();
        assert!(ask(neighbour.fd(), &address, 81).is_ok(), "one network");
        assert!(ask(lab.host.as_fd(), &address, 81).is_ok(), "the host");
        assert!(is_refused(stranger.fd(), &address, 80), "another network, published");
        assert!(is_refused(stranger.fd(), &address, 81), "another network");
        run_in(lab.lan.as_fd(), "ip", &["route", "add", "172.17.0.0/16", "via", HOST]);
        assert!(is_refused(lab.lan.as_fd(), &address, 81), "routed from the LAN");
        assert!(is_refused(lab.lan.as_fd(), &address, 80), "routed from the LAN past the translation");
        assert!(ask(lab.lan.as_fd(), HOST, 8080).is_ok());
    });
}

#[test]
fn a_port_published_on_loopback_is_the_hosts_alone() {
    isolated("traffic::a_port_published_on_loopback_is_the_hosts_alone", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(Some("127.0.0.1"), 8080, 80)]).await;
        serve(web.fd(), "web", 80);
        assert!(ask(lab.host.as_fd(), "127.0.0.1", 8080).is_ok());
        assert!(is_refused(lab.lan.as_fd(), HOST, 8080));
        // A neighbour that sends to 127.0.0.1 over the wire, and a host that would route it.
        run("sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1", "net.ipv4.conf.uplink.route_localnet=1"]);
        let lan = lab.lan.as_fd();
        run_in(lan, "sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
        run_in(lan, "ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]);
        run_in(lan, "ip", &["route", "add", "127.0.0.0/8", "via", HOST]);
        assert!(is_refused(lan, "127.0.0.1", 8080), "with our rules");
        drop(networks);
        assert!(ask(lab.host.as_fd(), "127.0.0.1", 8080).is_ok(), "the kernel serves it alone");
        run("nft", &["delete", "table", "inet", "gantry"]);
        // Without the rules it does come through: what stopped it above were they.
        let listener = std::net::TcpListener::bind("127.0.0.1:8081").unwrap();
        std::thread::spawn(move || {
            use std::io::Write as _;
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"open");
            }
        });
        assert_eq!(ask(lan, "127.0.0.1", 8081).unwrap(), "open");
    });
}

#[test]
fn the_kernel_alone_serves_ports_on_ipv4_loopback() {
    isolated("traffic::the_kernel_alone_serves_ports_on_ipv4_loopback", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(None, 5353, 53) };
        let web = Sandbox::start(&networks, &["bridge"], &[tcp(None, 8080, 80), udp]).await;
        serve(web.fd(), "web", 80);
        serve_udp(web.fd(), "dns", 53);
        drop(networks);
        for address in ["127.0.0.1", "127.0.0.9", HOST] {
            assert!(ask(lab.host.as_fd(), address, 8080).is_ok_and(|a| a.starts_with("web ")), "{address}");
        }
        assert_eq!(ask(lab.host.as_fd(), "127.0.0.1", 8080).unwrap(), "web 172.17.0.1", "the gateway's address");
        assert_eq!(ask_udp(lab.host.as_fd(), "127.0.0.1", 5353).unwrap(), "dns 172.17.0.1");
        assert!(is_refused(lab.host.as_fd(), "::1", 8080), "that was the proxy's");
        let setting = |link| std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet")).unwrap();
        assert_eq!(["all", "uplink", "gantry0"].map(setting), ["0\n", "0\n", "1\n"], "on our bridge only");
    });
}

/// The bridge routes 127.0.0.0/8, so the rules alone keep sandboxes from the host's own services (CVE-2020-8558).
#[test]
fn a_sandbox_does_not_reach_the_hosts_loopback() {
    isolated("traffic::a_sandbox_does_not_reach_the_hosts_loopback", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let sandbox = Sandbox::start(&networks, &["bridge"], &[]).await;
        serve(lab.host.as_fd(), "private", 9000);
        let heard = std::net::UdpSocket::bind("0.0.0.0:9001").unwrap();
        heard.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
        let fd = sandbox.fd();
        run_in(fd, "sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
        run_in(fd, "ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]);
        run_in(fd, "ip", &["route", "add", "127.0.0.0/8", "via", "172.17.0.1"]);
        run_in(fd, "ip", &["addr", "add", "127.0.0.2/32", "dev", "eth0"]);
        let pretend = || {
            let socket = sys::netlink::netns::within(fd, || std::net::UdpSocket::bind("127.0.0.2:4444")).unwrap();
            socket.send_to(b"?", "172.17.0.1:9001").unwrap();
            heard.recv(&mut [0; 8])
        };
        assert!(is_refused(fd, "127.0.0.1", 9000), "with our rules");
        assert!(pretend().is_err(), "a loopback source");
        drop(networks);
        run("nft", &["delete", "table", "inet", "gantry"]);
        // Without the rules both do come through: what stopped them above were they.
        assert_eq!(ask(fd, "127.0.0.1", 9000).unwrap(), "private 172.17.0.2");
        assert!(pretend().is_ok(), "a loopback source without our rules");
    });
}

#[test]
fn an_internal_network_has_no_way_out_and_no_way_in() {
    isolated("traffic::an_internal_network_has_no_way_out_and_no_way_in", || async {
        let lab = Lab::new();
        serve(lab.lan.as_fd(), "lan", 7000);
        let networks = lab.open(|_| {}).await;
        let mut inner = spec("inner");
        inner.internal = true;
        networks.create(inner).await.unwrap();
        let a = Sandbox::start(&networks, &["inner"], &[tcp(None, 8080, 80)]).await;
        let b = Sandbox::start(&networks, &["inner"], &[]).await;
        serve(a.fd(), "a", 80);
        assert!(a.attachment.ports.is_empty());
        assert!(ask(b.fd(), &a.ip().to_string(), 80).is_ok());
        assert!(is_refused(a.fd(), LAN, 7000));
        let gateway = networks.get("inner").unwrap().ipam[0].gateway.unwrap().to_string();
        run_in(a.fd(), "ip", &["route", "add", "default", "via", &gateway]);
        assert!(is_refused(a.fd(), LAN, 7000), "even with a route that root in the sandbox adds");
        assert!(is_refused(lab.lan.as_fd(), HOST, 8080));
    });
}

#[test]
fn a_network_without_icc_keeps_its_sandboxes_apart() {
    isolated("traffic::a_network_without_icc_keeps_its_sandboxes_apart", || async {
        let lab = Lab::new();
        serve(lab.lan.as_fd(), "lan", 7000);
        let networks = lab.open(|_| {}).await;
        let mut apart = spec("apart");
        apart.options.insert("com.docker.network.bridge.enable_icc".into(), "false".into());
        networks.create(apart).await.unwrap();
        let a = Sandbox::start(&networks, &["apart"], &[]).await;
        let b = Sandbox::start(&networks, &["apart"], &[]).await;
        serve(a.fd(), "a", 80);
        assert!(is_refused(b.fd(), &a.ip().to_string(), 80));
        assert!(ask(b.fd(), LAN, 7000).is_ok());
    });
}

#[test]
fn a_udp_flow_follows_the_port_to_its_new_sandbox() {
    isolated("traffic::a_udp_flow_follows_the_port_to_its_new_sandbox", || async {
        let lab = Lab::new();
        let networks = lab.open(|_| {}).await;
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(None, 5353, 53) };
        let first = Sandbox::start(&networks, &["bridge"], std::slice::from_ref(&udp)).await;
        serve_udp(first.fd(), "first", 53);
        let client =
            sys::netlink::netns::within(lab.lan.as_fd(), || std::net::UdpSocket::bind("0.0.0.0:4444")).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
        let ask = || {
            let mut buffer = [0; 64];
            client.send_to(b"?", (HOST, 5353)).unwrap();
            client.recv(&mut buffer).map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned())
        };
        assert_eq!(ask().unwrap(), format!("first {LAN}"));
        networks.disconnect(&first.id).await.unwrap();
        let second = Sandbox::start(&networks, &["bridge"], &[udp]).await;
        serve_udp(second.fd(), "second", 53);
        assert_ne!(first.ip(), second.ip(), "an address is not given again at once");
        assert_eq!(ask().unwrap(), format!("second {LAN}"), "the same client port is translated anew");
    });
}
