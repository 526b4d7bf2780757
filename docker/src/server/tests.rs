//! The server over a real unix socket, byte for byte.
//!
//! An engine makes networks when it opens, so each test first leaves the host's namespaces: they need root.

use bytes::Bytes;
use engine::config::{EngineConfig, Limits};
use engine::container::{AttachedIo, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::hijack::{self, Peer, Talk};

struct Served {
    dir: tempfile::TempDir,
    shutdown: CancellationToken,
}

/// An engine that holds nothing, in namespaces of this test's own.
async fn open_engine(root: &std::path::Path) -> Engine {
    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("this test needs root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    Engine::open(config(root)).await.unwrap()
}

fn config(root: &std::path::Path) -> EngineConfig {
    EngineConfig {
        root: root.join("root"),
        run: root.join("run"),
        shim: "/nonexistent/shim".into(),
        cgroup_driver: Default::default(),
        cgroup_parent: "/gantry-test".into(),
        default_runtime: "builtin".into(),
        runtimes: [("builtin".to_owned(), engine::config::RuntimeConfig::Builtin)].into(),
        images: Default::default(),
        network: Default::default(),
        limits: Limits::default(),
    }
}

impl Served {
    /// The whole door on an engine that holds nothing.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let engine = open_engine(dir.path()).await;
        let shutdown = CancellationToken::new();
        let settings = Settings { json_bytes_max: 1000, header_ms_max: 300, ..Settings::default() };
        tokio::spawn(serve(engine, vec![Listener::Unix(listener)], settings, shutdown.clone()));
        Self { dir, shutdown }
    }
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("s")).await.unwrap()
    }
    /// Sends bytes, closes the writing end, and reads to the end: a half-closed client still gets its answer.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn a_ping_has_the_headers_that_clients_negotiate_with() {
    let served = Served::start().await;
    let answer = served.exchange("GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "Api-Version: 1.51\r\n",
        "Docker-Experimental: false\r\n",
        "Ostype: linux\r\n",
        "Cache-Control: no-cache, no-store, must-revalidate\r\n",
        concat!("Server: Docker/", env!("CARGO_PKG_VERSION"), " (linux)\r\n"),
    ] {
        assert!(answer.contains(line), "{line} not in {answer}");
    }
    assert!(answer.ends_with("\r\n\r\nOK"), "{answer}");
    let head = served.exchange("HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n").await;
    assert!(head.contains("Api-Version: 1.51") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let served = Served::start().await;
    let one = "GET /v1.43/_ping HTTP/1.1\r\nHost: docker\r\n\r\n";
    let answer = served.exchange(&one.repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[tokio::test]
async fn bad_requests_get_json_and_a_reason() {
    let served = Served::start().await;
    let post = |path: &str, kind: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "application/json";
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(2000));
    let cases = [
        ("GET /nope HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), "404 Not Found", "page not found"),
        ("GET /v9.99/info HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), "400 Bad Request", "client version 9.99 is too new"),
        ("GET /v1.12/info HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), "400 Bad Request", "client version 1.12 is too old"),
        (
            "GET /swarm HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(),
            "503 Service Unavailable",
            "This node is not a swarm manager.",
        ),
        ("POST /build HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), "404 Not Found", "failed to read dockerfile"),
        (post("/containers/create", json, "{\"Image\":"), "400 Bad Request", "invalid JSON: unexpected EOF"),
        (post("/containers/create", json, ""), "400 Bad Request", "invalid JSON: got EOF while reading request body"),
        (
            post("/containers/create", json, "{\"HostConfig\":{\"Memory\":\"1\"}}"),
            "400 Bad Request",
            "HostConfig.Memory",
        ),
        (
            post("/containers/create", "text/plain", "{}"),
            "400 Bad Request",
            "unsupported Content-Type header (text/plain)",
        ),
        (post("/containers/create", json, &large), "413 Payload Too Large", "larger than 1000 bytes"),
        (
            "GET /containers/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(),
            "400 Bad Request",
            "invalid filter 'bogus'",
        ),
        (
            "GET /containers/json?filters=%7B HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(),
            "400 Bad Request",
            "invalid filter",
        ),
        (
            "GET /containers/none/json HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(),
            "404 Not Found",
            "No such container: none",
        ),
        (
            "POST /containers/none/start HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(),
            "404 Not Found",
            "No such container: none",
        ),
        ("GET /exec/none/json HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), "404 Not Found", "No such exec instance: none"),
    ];
    for (request, status, words) in cases {
        let answer = served.exchange(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let error: docker_api::error::ErrorResponse = serde_json::from_str(body).unwrap();
        assert!(error.message.contains(words), "{request}: {answer}");
        assert!(answer.contains("Content-Type: application/json"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_can_read_why() {
    let served = Served::start().await;
    for (path, status) in [("/build?version=2", "HTTP/1.1 501"), ("/containers/create", "HTTP/1.1 413")] {
        let mut stream = served.connect().await;
        let length = 8 << 20;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..length / 65536 {
            stream.write_all(&[b' '; 65536]).await.unwrap();
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), status);
    }
}

#[tokio::test]
async fn options_are_answered_everywhere_and_100_continue_is_sent() {
    let served = Served::start().await;
    let answer = served.exchange("OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let mut stream = served.connect().await;
    let head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let mut rest = [0; 12];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"HTTP/1.1 400");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_let_go() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: ").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}

/// A door whose every request attaches to a process that echoes its input and ends after it.
async fn serve_echo(tty: bool) -> (UnixStream, tokio::task::JoinHandle<()>) {
    let (client, server) = UnixStream::pair().unwrap();
    let gone = CancellationToken::new();
    let watch =
        AbortOnDropHandle::new(tokio::spawn(watch_hang_up(server.as_fd().try_clone_to_owned().unwrap(), gone.clone())));
    let (tap, side) = Tap::new(Box::new(server), Some(watch));
    let dir = tempfile::tempdir().unwrap();
    let engine = open_engine(dir.path()).await;
    let door = Arc::new(Door {
        engine,
        settings: Settings::default(),
        event_followers: Default::default(),
        buildkit: Default::default(),
    });
    let answer = move |request: Request<Incoming>, way: Way| {
        let door = door.clone();
        async move {
            let call = Call::new(request, way, door, api_version::CURRENT, Vec::new());
            let talk = Talk { tty, detach_keys: tty.then(|| vec![16, 17]) };
            let kind = hijack::content_type(call.version, tty);
            hijack::take_over(call, kind, false, Peer::Process(echo(tty), None), talk).await.unwrap()
        }
    };
    let way = Way { tap, gone, origin: Origin::Unix };
    let served = tokio::spawn(serve_connection(side, way, 1000, CancellationToken::new(), answer));
    (client, served)
}

fn echo(tty: bool) -> AttachedIo {
    let (stdin, mut input) = tokio::io::duplex(1024);
    let (sender, output) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        loop {
            let count = input.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                break;
            }
            drop(sender.send((Stream::Stdout, Bytes::copy_from_slice(&buffer[..count]))).await);
        }
        // Output after the end of the input must still arrive.
        drop(sender.send((Stream::Stderr, Bytes::from_static(b"bye"))).await);
    });
    AttachedIo { tty, stdin: Some(Box::new(stdin)), output }
}

async fn talk(mut client: UnixStream, head: &str, input: &[u8]) -> Vec<u8> {
    client.write_all(head.as_bytes()).await.unwrap();
    let mut seen = vec![0; 4096];
    let mut count = client.read(&mut seen).await.unwrap();
    while !seen[..count].windows(4).any(|four| four == b"\r\n\r\n") {
        count += client.read(&mut seen[count..]).await.unwrap();
    }
    seen.truncate(count);
    client.write_all(input).await.unwrap();
    client.shutdown().await.unwrap();
    client.read_to_end(&mut seen).await.unwrap();
    seen
}

const UPGRADE: &str = "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const PLAIN: &str = "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn an_upgrade_is_answered_with_docker_s_bytes_and_survives_a_half_close() {
    let (client, _) = serve_echo(false).await;
    let seen = talk(client, UPGRADE, b"hi").await;
    let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let frames = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\x03bye";
    assert_eq!(String::from_utf8_lossy(&seen), String::from_utf8_lossy(&[head.as_bytes(), frames].concat()));
}

#[tokio::test]
async fn without_an_upgrade_header_the_answer_is_a_bare_200() {
    let (client, served) = serve_echo(true).await;
    let seen = talk(client, PLAIN, b"hi").await;
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nhibye";
    assert_eq!(String::from_utf8_lossy(&seen), expected);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_detach_keys_end_the_talk_and_not_the_process() {
    let (client, _) = serve_echo(true).await;
    let seen = talk(client, UPGRADE, b"a\x10\x11").await;
    let text = String::from_utf8_lossy(&seen);
    let (_, output) = text.split_once("\r\n\r\n").unwrap();
    assert!(!output.contains('\u{10}') && "a".starts_with(output), "{output:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_connection() {
    let (mut client, served) = serve_echo(false).await;
    client.write_all(PLAIN.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    client.read_exact(&mut head).await.unwrap();
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
}
