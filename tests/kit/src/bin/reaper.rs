//! What testcontainers expects behind the name `testcontainers/ryuk`: it removes what a test run has left.
//!
//! Clients connect to port 8080 and send lines of filters, `label=a=b&label=c=d`, each answered with `ACK`. When the last
//! connection has been closed for a while, every container, network and volume that a line describes is removed through
//! the Docker API at /var/run/docker.sock, and the reaper ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::http;

const SOCKET: &str = "/var/run/docker.sock";
/// Nobody has connected for so long: nobody will.
const FIRST_CONNECTION_MAX: Duration = Duration::from_secs(60);
/// The reaper's own label, by which it spares itself.
const OWN_LABEL: &str = "org.testcontainers.ryuk";

#[derive(Debug)]
struct Session {
    filters: BTreeSet<String>,
    open: usize,
    changed: Instant,
    connected: bool,
}

fn main() {
    let listener = TcpListener::bind(("0.0.0.0", 8080)).expect("listen on port 8080");
    let session =
        Arc::new(Mutex::new(Session { filters: BTreeSet::new(), open: 0, changed: Instant::now(), connected: false }));
    let accepting = session.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = accepting.clone();
            std::thread::spawn(move || serve(stream, &session));
        }
    });
    // Clients wait for this line.
    println!("reaper: Started!");
    let wait = reconnection_timeout();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let session = session.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = session.changed.elapsed();
        if session.open == 0 && quiet > if session.connected { wait } else { FIRST_CONNECTION_MAX } {
            session.filters.iter().for_each(|filter| reap(filter));
            return;
        }
    }
}

/// `RYUK_RECONNECTION_TIMEOUT`, whole seconds (`10s`); one second unless it is given.
fn reconnection_timeout() -> Duration {
    let given = std::env::var("RYUK_RECONNECTION_TIMEOUT").ok();
    let seconds = given.and_then(|text| text.trim_end_matches('s').parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn serve(stream: TcpStream, session: &Mutex<Session>) {
    let change = |by: &dyn Fn(&mut Session)| {
        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
        by(&mut session);
        session.changed = Instant::now();
    };
    change(&|session| {
        session.open += 1;
        session.connected = true;
    });
    let mut answers = stream.try_clone().expect("a second handle of the connection");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        println!("reaper: {line}");
        change(&|session| {
            session.filters.insert(line.trim().to_owned());
        });
        if answers.write_all(b"ACK\n").is_err() {
            break;
        }
    }
    change(&|session| session.open -= 1);
}

/// Removes what a line describes.
fn reap(line: &str) {
    let labels: Vec<&str> = line.split('&').filter_map(|part| part.strip_prefix("label=")).collect();
    if labels.is_empty() {
        return;
    }
    let filters = escape(&serde_json::json!({ "label": labels }).to_string());
    for container in list(&format!("/containers/json?all=1&filters={filters}"), "") {
        if container["Labels"][OWN_LABEL].is_null() {
            remove(&format!("/containers/{}?force=1&v=1", container["Id"].as_str().unwrap_or_default()));
        }
    }
    for network in list(&format!("/networks?filters={filters}"), "") {
        remove(&format!("/networks/{}", network["Id"].as_str().unwrap_or_default()));
    }
    for volume in list(&format!("/volumes?filters={filters}"), "/Volumes") {
        remove(&format!("/volumes/{}", volume["Name"].as_str().unwrap_or_default()));
    }
}

fn list(path: &str, pointer: &str) -> Vec<Value> {
    let answer = http::request(Path::new(SOCKET), "GET", path, b"").json();
    answer.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn remove(path: &str) {
    let answer = http::request(Path::new(SOCKET), "DELETE", path, b"");
    println!("reaper: DELETE {path}: {}", answer.status);
}

/// Percent-encodes what a query may not hold.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
