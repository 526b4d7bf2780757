//! A registry that does everything wrong: each wrong gets its own error, and nothing stays behind.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::ErrorKind;
use engine::id::{Digest, Owner};
use engine::image::{Images, RegistryAuth};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::*;

/// A request as the registry saw it.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HashMap<String, String>,
}

/// What to answer: raw bytes, and what to do then.
enum Answer {
    /// A whole answer.
    Whole(Vec<u8>),
    /// These bytes, then silence with the connection open.
    Stall(Vec<u8>),
    /// These bytes, then more of the same without end.
    Endless(Vec<u8>),
}

fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Answer::Whole(bytes)
}

type Behaviour = Arc<dyn Fn(&Seen, usize) -> Answer + Send + Sync>;

/// Serves `behaviour`, which also gets how often the path was asked for before.
struct Hostile {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hostile {
    async fn start(address: &str, behaviour: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (all, behaviour): (_, Behaviour) = (Arc::clone(&seen), Arc::new(behaviour));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, Arc::clone(&all), Arc::clone(&behaviour)));
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>, behaviour: Behaviour) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        // A TLS hello is no request: the client shall try without.
        if stream.read_exact(&mut byte).await.is_err() || (head.is_empty() && byte[0] == 0x16) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let seen = Seen { path, headers };
    let before = {
        let mut all = all.lock().unwrap();
        let before = all.iter().filter(|known| known.path == seen.path).count();
        all.push(seen.clone());
        before
    };
    match behaviour(&seen, before) {
        Answer::Whole(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Stall(bytes) => {
            drop(stream.write_all(&bytes).await);
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        Answer::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

/// A good image of one layer of incompressible bytes, to be served wrongly.
struct Good {
    layout: Layout,
    layer: Vec<u8>,
}

fn good(dir: &Path) -> Good {
    let mut bytes = Vec::new();
    let mut state = 1_u64;
    for _ in 0..50_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &bytes[..]).unwrap();
    let layout = Layout::write(&dir.join("layout"), &[tar.into_inner().unwrap()], Compression::Gzip);
    let layer = layout.blob(layout.layers[0]);
    Good { layout, layer }
}

impl Good {
    fn blobs(&self) -> HashMap<String, Vec<u8>> {
        let layout = &self.layout;
        let mut all = HashMap::new();
        for digest in [layout.config, layout.layers[0]] {
            all.insert(format!("/v2/x/blobs/{digest}"), layout.blob(digest));
        }
        all.insert(format!("/v2/x/manifests/{}", layout.manifest), layout.blob(layout.manifest));
        all.insert("/v2/x/manifests/1".to_owned(), layout.blob(layout.manifest));
        all
    }

    fn layer_path(&self) -> String {
        format!("/v2/x/blobs/{}", self.layout.layers[0])
    }
}

fn serve_from(blobs: &HashMap<String, Vec<u8>>, seen: &Seen) -> Answer {
    match blobs.get(&seen.path) {
        Some(bytes) if seen.path.contains("/manifests/") => answer("200 OK", &[("Content-Type", OCI_MANIFEST)], bytes),
        Some(bytes) => answer("200 OK", &[], bytes),
        None => answer("404 Not Found", &[], b"{}"),
    }
}

struct Outcome {
    result: engine::Result<Arc<engine::image::ImageView>>,
    images: Images,
    root: PathBuf,
    took: Duration,
}

/// Pulls `127.0.0.1:<port>/x:1` from a registry that serves the good image except for the layer.
async fn pull_layer(
    dir: &Path,
    good: &Good,
    layer: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
) -> (Outcome, Hostile) {
    let (blobs, path) = (good.blobs(), good.layer_path());
    let registry =
        Hostile::start(
            "127.0.0.1:0",
            move |seen, before| {
                if seen.path == path { layer(seen, before) } else { serve_from(&blobs, seen) }
            },
        )
        .await;
    (pull_from(dir, &registry, None).await, registry)
}

async fn pull_from(dir: &Path, registry: &Hostile, auth: Option<RegistryAuth>) -> Outcome {
    let root = dir.join(format!("data{}", registry.port));
    let images = open_images_with(&root, |settings| {
        settings.stall_timeout = Duration::from_millis(600);
        settings.attempts_max = 3;
    })
    .await;
    let mut request = request(&format!("127.0.0.1:{}/x:1", registry.port));
    request.auth = auth;
    let started = Instant::now();
    let (result, _) = pull(&images, request).await;
    Outcome { result, images, root, took: started.elapsed() }
}

impl Outcome {
    /// The pull failed like this and nothing is left but what a later pull can use.
    #[track_caller]
    fn refused(self, kind: ErrorKind, word: &str) {
        let error = self.result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(self.images.list().is_empty());
        if !matches!(kind, ErrorKind::Unavailable) {
            assert_eq!(leftovers(&self.root), Vec::<PathBuf>::new(), "{error}");
        }
        for dir in ["snapshots/staging", "snapshots/layers"] {
            assert_eq!(std::fs::read_dir(self.root.join(dir)).unwrap().count(), 0, "{dir}: {error}");
        }
        assert!(self.took < Duration::from_secs(30), "{:?}", self.took);
    }
}

fn case<F: std::future::Future<Output = ()>>(test: impl FnOnce(PathBuf, Good) -> F + Send + 'static) {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let good = good(dir.path());
        test(dir.path().to_owned(), good).await;
    });
}

#[test]
fn a_layer_with_another_digest_is_refused() {
    case(|dir, good| async move {
        let mut other = good.layer.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        let (outcome, _r) = pull_layer(&dir, &good, move |_, _| answer("200 OK", &[], &other)).await;
        outcome.refused(ErrorKind::InvalidArgument, "filesystem layer verification failed for digest");
    });
}

#[test]
fn a_layer_that_is_longer_than_it_says_is_refused_while_it_comes() {
    case(|dir, good| async move {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        let endless = [head, good.layer.clone()].concat();
        let (outcome, _r) = pull_layer(&dir, &good, move |_, _| Answer::Endless(endless.clone())).await;
        outcome.refused(ErrorKind::InvalidArgument, "more than its");
    });
}

#[test]
fn a_short_body_and_a_stall_are_resumed_where_they_stopped() {
    case(|dir, good| async move {
        let layer = good.layer.clone();
        let (outcome, registry) = pull_layer(&dir, &good, move |seen, before| {
            let from: usize = seen.headers.get("range").map_or(0, |r| r[6..r.len() - 1].parse().unwrap());
            let upto = (from + layer.len() / 4 + 1).min(layer.len());
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
                layer.len() - from,
                layer.len() - 1,
                layer.len()
            );
            let bytes = [head.as_bytes(), &layer[from..upto]].concat();
            if before % 2 == 0 { Answer::Whole(bytes) } else { Answer::Stall(bytes) }
        })
        .await;
        assert_eq!(outcome.result.unwrap().layers, good.layout.diff_ids);
        let path = good.layer_path();
        let ranges: Vec<_> =
            registry.seen().into_iter().filter(|s| s.path == path).map(|s| s.headers.get("range").cloned()).collect();
        assert!(ranges.len() >= 4 && ranges[0].is_none() && ranges[1..].iter().all(Option::is_some), "{ranges:?}");
    });
}

#[test]
fn a_registry_that_only_ever_stalls_is_given_up_and_resumed_by_the_next_daemon() {
    case(|dir, good| async move {
        let layer = good.layer.clone();
        let half = layer.len() / 2;
        let (outcome, registry) = pull_layer(&dir, &good, move |seen, _| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
            if seen.headers.contains_key("range") {
                Answer::Stall(Vec::new())
            } else {
                Answer::Stall([head.as_bytes(), &layer[..half]].concat())
            }
        })
        .await;
        let root = outcome.root.clone();
        let port = registry.port;
        outcome.refused(ErrorKind::Unavailable, "timed out");
        let kept = std::fs::metadata(root.join("content/ingest").join(good.layout.layers[0].hex())).unwrap().len();
        assert_eq!(kept, half as u64);
        // A new daemon on the same root, and the registry is well again on another port of the same name.
        drop(registry);
        let (blobs, path, layer) = (good.blobs(), good.layer_path(), good.layer.clone());
        let healthy = Hostile::start("127.0.0.1:0", move |seen, _| {
            if seen.path != path {
                return serve_from(&blobs, seen);
            }
            let from: usize = seen.headers["range"][6..].trim_end_matches('-').parse().unwrap();
            let range = format!("bytes {from}-{}/{}", layer.len() - 1, layer.len());
            answer("206 Partial Content", &[("Content-Range", &range)], &layer[from..])
        })
        .await;
        assert_ne!(healthy.port, port);
        let images = open_images(&root).await;
        let (result, _) = pull(&images, request(&format!("127.0.0.1:{}/x:1", healthy.port))).await;
        result.unwrap();
        let path = good.layer_path();
        let asked: Vec<_> =
            healthy.seen().into_iter().filter(|s| s.path == path).map(|s| s.headers["range"].clone()).collect();
        assert_eq!(asked, [format!("bytes={half}-")]);
    });
}

#[test]
fn a_damaged_beginning_is_thrown_away_and_fetched_again() {
    case(|dir, good| async move {
        let registry = {
            let blobs = good.blobs();
            Hostile::start("127.0.0.1:0", move |seen, _| serve_from(&blobs, seen)).await
        };
        let root = dir.join(format!("data{}", registry.port));
        drop(open_images(&root).await);
        std::fs::write(root.join("content/ingest").join(good.layout.layers[0].hex()), vec![9; 1000]).unwrap();
        pull_from(&dir, &registry, None).await.result.unwrap();
    });
}

#[test]
fn wrong_ranges_do_not_shift_bytes() {
    case(|dir, good| async move {
        for kind in 0..3 {
            let layer = good.layer.clone();
            let (outcome, _r) = pull_layer(&dir, &good, move |seen, _| {
                let half = layer.len() / 2;
                if !seen.headers.contains_key("range") {
                    // The first whole request breaks off; a later whole one (no range is tried again) is whole.
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
                    static BROKEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());
                    let mut broken = BROKEN.lock().unwrap();
                    if !broken.contains(&kind) {
                        broken.push(kind);
                        return Answer::Whole([head.as_bytes(), &layer[..half]].concat());
                    }
                    return answer("200 OK", &[], &layer);
                }
                match kind {
                    // The range of another place.
                    0 => answer("206 Partial Content", &[("Content-Range", "bytes 7-99/100")], &layer[7..]),
                    // 206, but everything.
                    1 => answer(
                        "206 Partial Content",
                        &[("Content-Range", &format!("bytes 0-{}/{}", layer.len() - 1, layer.len()))],
                        &layer,
                    ),
                    // Not satisfiable, though it is.
                    _ => answer("416 Range Not Satisfiable", &[], b""),
                }
            })
            .await;
            assert_eq!(outcome.result.unwrap().layers, good.layout.diff_ids, "kind {kind}");
        }
    });
}

#[test]
fn a_range_that_is_never_satisfiable_ends() {
    case(|dir, good| async move {
        let (outcome, _r) = pull_layer(&dir, &good, |_, _| answer("416 Range Not Satisfiable", &[], b"")).await;
        outcome.refused(ErrorKind::Unavailable, "416");
    });
}

#[test]
fn too_many_requests_is_waited_for_but_not_for_a_day() {
    case(|dir, good| async move {
        let layer = good.layer.clone();
        let (outcome, _r) = pull_layer(&dir, &good, move |_, before| {
            if before == 0 {
                answer("429 Too Many Requests", &[("Retry-After", "86400")], b"")
            } else {
                answer("200 OK", &[], &layer)
            }
        })
        .await;
        outcome.result.unwrap();
        assert!(
            outcome.took >= Duration::from_millis(900) && outcome.took < Duration::from_secs(20),
            "{:?}",
            outcome.took
        );
        let (outcome, _r) = pull_layer(&dir, &good, |_, _| answer("503 Service Unavailable", &[], b"")).await;
        outcome.refused(ErrorKind::Unavailable, "503");
    });
}

#[test]
fn a_redirect_to_another_host_gets_no_credentials() {
    case(|dir, good| async move {
        let layer = good.layer.clone();
        let other = Hostile::start("127.0.0.2:0", move |_, _| answer("200 OK", &[], &layer)).await;
        let (blobs, path) = (good.blobs(), good.layer_path());
        let location = format!("http://127.0.0.2:{}/elsewhere?signature=1", other.port);
        let registry = Hostile::start("127.0.0.1:0", move |seen, _| {
            if !seen.headers.contains_key("authorization") {
                return answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
            }
            if seen.path == path {
                answer("307 Temporary Redirect", &[("Location", &location)], b"")
            } else {
                serve_from(&blobs, seen)
            }
        })
        .await;
        let auth = RegistryAuth { username: "user".into(), password: "s3cret".into(), ..RegistryAuth::default() };
        let image = pull_from(&dir, &registry, Some(auth)).await.result.unwrap();
        assert!(
            other.seen().len() == 1 && !other.seen()[0].headers.contains_key("authorization"),
            "{:?}",
            other.seen()
        );
        assert_eq!(image.pulled_with_auth, [Owner::Docker]);
        assert!(image.usable_by(Owner::Docker) && !image.usable_by(Owner::Cri));
    });
}

#[test]
fn without_credentials_it_is_denied_in_dockers_words() {
    case(|dir, _good| async move {
        let registry = Hostile::start("127.0.0.1:0", |_, _| {
            answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"")
        })
        .await;
        let text = format!(
            "pull access denied for 127.0.0.1:{}/x, repository does not exist or may require 'docker login'",
            registry.port
        );
        pull_from(&dir, &registry, None).await.refused(ErrorKind::Unauthorized, &text);
        let auth = RegistryAuth { username: "user".into(), password: "wrong".into(), ..RegistryAuth::default() };
        let again = dir.join("again");
        pull_from(&again, &registry, Some(auth)).await.refused(ErrorKind::Unauthorized, &text);
    });
}

#[test]
fn tokens_come_from_the_realm_with_scope_and_are_not_shown() {
    case(|dir, good| async move {
        let blobs = good.blobs();
        let port: Arc<Mutex<u16>> = Arc::default();
        let known = Arc::clone(&port);
        let registry = Hostile::start("127.0.0.1:0", move |seen, _| {
            if seen.path.starts_with("/token") {
                return answer("200 OK", &[], br#"{"access_token":"t0ken"}"#);
            }
            if seen.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
                let challenge = format!(
                    "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"s\",scope=\"repository:x:pull\"",
                    known.lock().unwrap()
                );
                return answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"");
            }
            serve_from(&blobs, seen)
        })
        .await;
        *port.lock().unwrap() = registry.port;
        let auth = RegistryAuth { username: "user".into(), password: "s3cret".into(), ..RegistryAuth::default() };
        pull_from(&dir, &registry, Some(auth)).await.result.unwrap();
        let token = registry.seen().into_iter().find(|s| s.path.starts_with("/token")).unwrap();
        assert!(
            token.path.contains("scope=repository%3Ax%3Apull") && token.path.contains("service=s"),
            "{}",
            token.path
        );
        assert_eq!(token.headers["authorization"], "Basic dXNlcjpzM2NyZXQ=");
        // A refresh token goes by POST and never in an address.
        let again = dir.join("again");
        let auth = RegistryAuth { identity_token: "refr3sh".into(), ..RegistryAuth::default() };
        pull_from(&again, &registry, Some(auth)).await.result.unwrap();
        assert!(registry.seen().iter().all(|s| !s.path.contains("refr3sh")));
    });
}

#[test]
fn a_token_service_without_tls_elsewhere_gets_nothing() {
    case(|dir, _good| async move {
        let registry = Hostile::start("127.0.0.1:0", |_, _| {
            answer("401 Unauthorized", &[("WWW-Authenticate", "Bearer realm=\"http://192.0.2.1/token\"")], b"")
        })
        .await;
        let auth = RegistryAuth { username: "user".into(), password: "s3cret".into(), ..RegistryAuth::default() };
        pull_from(&dir, &registry, Some(auth)).await.refused(ErrorKind::Unauthorized, "not reached by TLS");
    });
}

#[test]
fn redirects_that_loop_or_leave_are_refused() {
    case(|dir, good| async move {
        for (location, word) in [
            ("/v2/x/blobs/again", "redirects"),
            ("http://192.0.2.1/x", "not configured for plain HTTP"),
            ("http://user:pw@127.0.0.1/x", "credentials"),
            ("file:///etc/passwd", "another protocol"),
        ] {
            let blobs = good.blobs();
            let path = good.layer_path();
            let registry = Hostile::start("127.0.0.1:0", move |seen, _| {
                if seen.path == path || seen.path.ends_with("again") {
                    return answer("302 Found", &[("Location", location)], b"");
                }
                serve_from(&blobs, seen)
            })
            .await;
            pull_from(&dir, &registry, None).await.refused(ErrorKind::Unavailable, word);
        }
    });
}

#[test]
fn manifests_that_are_huge_or_ambiguous_are_refused() {
    case(|dir, good| async move {
        let manifest = String::from_utf8(good.layout.blob(good.layout.manifest)).unwrap();
        let both = manifest.replacen("\"layers\"", "\"manifests\":[],\"layers\"", 1);
        let schema1 = r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#.to_owned();
        let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n                                  ".to_vec();
        let wide = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            vec![format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1}}"#, Digest::of(b"")); 11_000]
                .join(",")
        );
        let cases: Vec<(Answer, &str)> = vec![
            (answer("200 OK", &[("Content-Type", OCI_MANIFEST)], &vec![b' '; 50 << 20]), "longer than"),
            (Answer::Endless(endless), "longer than"),
            (answer("200 OK", &[("Content-Type", OCI_MANIFEST)], both.as_bytes()), "both manifests and layers"),
            (answer("200 OK", &[], schema1.as_bytes()), "schema 1"),
            (
                answer("200 OK", &[("Content-Type", "application/vnd.oci.image.index.v1+json")], manifest.as_bytes()),
                "calls itself",
            ),
            (answer("200 OK", &[], wide.as_bytes()), "11000 entries"),
            (answer("200 OK", &[], &b"[".repeat(100_000)), "invalid manifest"),
        ];
        for (answer, word) in cases {
            let once = Mutex::new(Some(answer));
            let registry = Hostile::start("127.0.0.1:0", move |_, _| {
                once.lock().unwrap().take().unwrap_or_else(|| self::answer("500 Gone", &[], b""))
            })
            .await;
            pull_from(&dir, &registry, None).await.refused(ErrorKind::InvalidArgument, word);
        }
    });
}

#[test]
fn a_configuration_that_names_another_layer_is_refused() {
    case(|dir, good| async move {
        // The manifest is honest about the blob, the configuration lies about what is in it.
        let mut blobs = good.blobs();
        let config = String::from_utf8(good.layout.blob(good.layout.config)).unwrap();
        let config = config.replace(&good.layout.diff_ids[0].to_string(), &Digest::of(b"other").to_string());
        let manifest = String::from_utf8(good.layout.blob(good.layout.manifest)).unwrap();
        let manifest = manifest.replace(&good.layout.config.to_string(), &Digest::of(config.as_bytes()).to_string());
        blobs.insert(format!("/v2/x/blobs/{}", Digest::of(config.as_bytes())), config.into_bytes());
        blobs.insert("/v2/x/manifests/1".to_owned(), manifest.into_bytes());
        let registry = Hostile::start("127.0.0.1:0", move |seen, _| serve_from(&blobs, seen)).await;
        pull_from(&dir, &registry, None).await.refused(ErrorKind::InvalidArgument, "wrong diff id");
    });
}

#[test]
fn a_tag_that_moves_while_it_is_pulled_gives_one_whole_image() {
    case(|dir, good| async move {
        let other = Layout::write(&dir.join("other"), &[vec![0; 1024]], Compression::Gzip);
        let moved = other.blob(other.manifest);
        let blobs = good.blobs();
        let registry = Hostile::start("127.0.0.1:0", move |seen, before| {
            if seen.path.ends_with("/manifests/1") && before > 0 {
                return answer("200 OK", &[("Content-Type", OCI_MANIFEST)], &moved);
            }
            serve_from(&blobs, seen)
        })
        .await;
        let outcome = pull_from(&dir, &registry, None).await;
        let image = outcome.result.unwrap();
        assert_eq!((image.id, image.manifest.digest), (good.layout.config, good.layout.manifest));
    });
}

#[test]
fn a_pull_that_is_dropped_stops_and_its_layer_can_be_fetched_again() {
    case(|dir, good| async move {
        let layer = good.layer.clone();
        let (blobs, path) = (good.blobs(), good.layer_path());
        let registry = Hostile::start("127.0.0.1:0", move |seen, before| {
            if seen.path == path && before == 0 {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
                return Answer::Stall([head.as_bytes(), &layer[..1000]].concat());
            }
            serve_from(&blobs, seen)
        })
        .await;
        let images = open_images_with(&dir.join("data"), |s| s.stall_timeout = Duration::from_secs(60)).await;
        let reference = format!("127.0.0.1:{}/x:1", registry.port);
        let first = tokio::time::timeout(Duration::from_millis(700), pull(&images, request(&reference))).await;
        assert!(first.is_err(), "it was to hang");
        let (second, _) =
            tokio::time::timeout(Duration::from_secs(20), pull(&images, request(&reference))).await.unwrap();
        second.unwrap();
        assert!(images.pulls_in_progress().is_empty());
    });
}

#[test]
fn a_mirror_that_fails_is_passed_over_and_gets_no_credentials() {
    case(|dir, good| async move {
        let mirror = Hostile::start("127.0.0.1:0", |_, _| {
            answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"give me\"")], b"")
        })
        .await;
        let blobs = good.blobs();
        let registry = Hostile::start("127.0.0.1:0", move |seen, _| {
            if !seen.headers.contains_key("authorization") {
                return answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
            }
            serve_from(&blobs, seen)
        })
        .await;
        let name = format!("127.0.0.1:{}", registry.port);
        let mirror_url = format!("http://127.0.0.1:{}", mirror.port);
        let images = open_images_with(&dir.join("data"), |settings| {
            settings.registry_mirrors.insert(name.clone(), vec![mirror_url]);
        })
        .await;
        let mut request = request(&format!("{name}/x:1"));
        request.auth = Some(RegistryAuth { username: "u".into(), password: "p".into(), ..RegistryAuth::default() });
        pull(&images, request).await.0.unwrap();
        assert!(!mirror.seen().is_empty() && mirror.seen().iter().all(|s| !s.headers.contains_key("authorization")));
    });
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    case(|dir, good| async move {
        let registry = {
            let blobs = good.blobs();
            Hostile::start("127.0.0.1:0", move |seen, _| serve_from(&blobs, seen)).await
        };
        let root = dir.join(format!("data{}", registry.port));
        std::fs::create_dir_all(&root).unwrap();
        // Mounted nowhere: reached through its descriptor.
        let fd = sys::mount::new_filesystem("tmpfs", &[sys::mount::Parameter::Text("size", b"200k")], 0).unwrap();
        let small = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
        let images = open_images_with(&root, |settings| settings.content_root = small.join("content")).await;
        let (result, _) = pull(&images, request(&format!("127.0.0.1:{}/x:1", registry.port))).await;
        let error = result.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        for sub in ["blobs/sha256", "ingest"] {
            assert_eq!(std::fs::read_dir(small.join("content").join(sub)).unwrap().count(), 0, "{sub}");
        }
        for sub in ["layers", "staging"] {
            assert_eq!(std::fs::read_dir(root.join("snapshots").join(sub)).unwrap().count(), 0, "{sub}");
        }
    });
}
