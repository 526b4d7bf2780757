//! The test's own little internet: a host that runs the engine, and a machine on its LAN.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use engine::id::{Owner, SandboxId};
use engine::metadata::Store;
use engine::network::{Attachment, EndpointSpec, NetworkConfig, NetworkSpec, Networks, PortMapping, Protocol};
use sys::netlink::{Protocol as Family, Socket, list_links, netns, wait_operational};

/// The host's address on the LAN.
pub(crate) const HOST: &str = "203.0.113.1";
/// The other machine's.
pub(crate) const LAN: &str = "203.0.113.2";
/// How long an answer that must come is waited for: a first packet may be lost, and this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection that must not come about is waited for.
const REFUSAL: Duration = Duration::from_millis(400);
/// Set in the process under `unshare`.
const INSIDE: &str = "GANTRY_TEST_INSIDE";

/// Runs `test` in a process of its own with its own mounts and network; `name` is the test's full name.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(test());
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["-m", "-n", "--propagation", "private"])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare (util-linux) runs: this test needs it");
    assert!(status.success(), "{name} failed inside of its namespaces (it needs root, ip and nft)");
}

/// Runs a program that must succeed; answers what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a program in a network namespace.
pub(crate) fn run_in(netns: BorrowedFd<'_>, program: &str, arguments: &[&str]) -> String {
    netns::within(netns, || Ok(run(program, arguments))).unwrap()
}

/// Waits until a link of the lab passes packets, so that a test that loses one has lost it in the engine's part.
fn operational(link: &str) {
    let mut socket = Socket::open(Family::Route, 0).unwrap();
    assert!(wait_operational(&mut socket, link, Duration::from_secs(5)).unwrap(), "{link} of the lab stays down");
}

/// A host with the engine's networks and a LAN.
pub(crate) struct Lab {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) host: OwnedFd,
    pub(crate) lan: OwnedFd,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lan = netns::create().unwrap();
        run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "far"]);
        run("ip", &["link", "set", "far", "netns", &format!("/proc/{}/fd/{}", std::process::id(), lan.as_raw_fd())]);
        run("ip", &["addr", "add", &format!("{HOST}/24"), "dev", "uplink"]);
        run("ip", &["addr", "add", "2001:db8::1/64", "dev", "uplink", "nodad"]);
        run("sysctl", &["-qw", "net.ipv6.conf.uplink.accept_dad=0"]);
        run("ip", &["link", "set", "uplink", "up"]);
        run_in(lan.as_fd(), "sysctl", &["-qw", "net.ipv6.conf.far.accept_dad=0", "net.ipv6.conf.far.disable_ipv6=0"]);
        run_in(lan.as_fd(), "ip", &["link", "set", "far", "up"]);
        run_in(lan.as_fd(), "ip", &["addr", "add", &format!("{LAN}/24"), "dev", "far"]);
        run_in(lan.as_fd(), "ip", &["addr", "add", "2001:db8::2/64", "dev", "far", "nodad"]);
        operational("uplink");
        netns::within(lan.as_fd(), || {
            operational("far");
            Ok(())
        })
        .unwrap();
        Self { directory: tempfile::tempdir().unwrap(), host: netns::current().unwrap(), lan }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.directory.path().join("meta.db")).unwrap()
    }

    /// Opens the networks on this lab's store; again after a drop is a restart of the daemon.
    pub(crate) async fn open(&self, change: impl FnOnce(&mut NetworkConfig)) -> Networks {
        let mut config = NetworkConfig { netns_pool_size: 1, ..NetworkConfig::default() };
        change(&mut config);
        Networks::open(self.store(), config).await.unwrap()
    }
}

/// A sandbox of the engine.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    pub(crate) netns: OwnedFd,
    pub(crate) attachment: Attachment,
}

impl Sandbox {
    pub(crate) async fn start(networks: &Networks, names: &[&str], ports: &[PortMapping]) -> Self {
        let id = SandboxId::random();
        let netns = OwnedFd::from(networks.take_netns().await.unwrap());
        let wanted: Vec<_> = names.iter().copied().map(EndpointSpec::new).collect();
        let attachment = networks.connect(&id, netns.as_fd(), &wanted, ports).await.unwrap();
        Self { id, netns, attachment }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.attachment.endpoints[0].ipv4.unwrap().addr().into()
    }

    pub(crate) fn ip6(&self) -> IpAddr {
        self.attachment.endpoints[0].ipv6.unwrap().addr().into()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

pub(crate) fn spec(name: &str) -> NetworkSpec {
    NetworkSpec::bridge(name, Owner::Docker)
}

pub(crate) fn tcp(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PortMapping {
    let host_ip = host_ip.map(|ip| ip.parse().unwrap());
    PortMapping { host_ip, host_port, host_port_end: host_port, container_port, protocol: Protocol::Tcp }
}

/// A server that answers every connection with its name and the address that it sees.
pub(crate) fn serve(netns: BorrowedFd<'_>, name: &'static str, port: u16) {
    let listener =
        netns::within(netns, || TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))));
    let listener = listener.unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{name} {}", peer.ip().to_canonical());
        }
    });
}

/// A server that answers every datagram with its name and the address that it sees.
pub(crate) fn serve_udp(netns: BorrowedFd<'_>, name: &'static str, port: u16) {
    let socket = netns::within(netns, || UdpSocket::bind(("0.0.0.0", port))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What the server at `address` answers to a client in `netns`, which is patient.
pub(crate) fn ask(netns: BorrowedFd<'_>, address: &str, port: u16) -> io::Result<String> {
    ask_for(netns, address, port, PATIENCE)
}

/// Whether a client in `netns` cannot reach a server at `address`.
pub(crate) fn is_refused(netns: BorrowedFd<'_>, address: &str, port: u16) -> bool {
    ask_for(netns, address, port, REFUSAL).is_err()
}

fn ask_for(netns: BorrowedFd<'_>, address: &str, port: u16, limit: Duration) -> io::Result<String> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    netns::within(netns, || {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    })
}

/// As [`ask`], over UDP; a datagram that is lost is sent again.
pub(crate) fn ask_udp(netns: BorrowedFd<'_>, address: &str, port: u16) -> io::Result<String> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let begin = Instant::now();
    netns::within(netns, || {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(REFUSAL))?;
        socket.connect(address)?;
        loop {
            socket.send(b"?")?;
            let mut buffer = [0; 2048];
            match socket.recv(&mut buffer) {
                Ok(len) => return Ok(String::from_utf8_lossy(&buffer[..len]).into_owned()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => {}
            }
        }
    })
}

/// Names of the links of the test's own namespace.
pub(crate) fn links() -> Vec<String> {
    let mut socket = Socket::open(Family::Route, 0).unwrap();
    let mut names: Vec<_> = list_links(&mut socket).unwrap().into_iter().map(|link| link.name).collect();
    names.sort();
    names
}

/// What `nft` says of a table, in an order that does not depend on hashing.
pub(crate) fn nft_table(name: &str) -> Vec<String> {
    let text = run("nft", &["list", "table", "inet", name]);
    let mut lines: Vec<_> = text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
    lines.sort();
    lines
}

/// Waits until `condition` holds; answers how long it took.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    begin.elapsed()
}
