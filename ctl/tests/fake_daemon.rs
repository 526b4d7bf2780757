//! The program against a daemon that is a script: the order of requests, hijacked streams, exit codes.
//!
//! Each test writes down what the daemon answers to each path; the fake notes what was asked, in order.

#![expect(clippy::unwrap_used, reason = "a test stops where something it set up fails")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// How the fake answers one path.
#[derive(Clone)]
enum Answer {
    Plain(u16, &'static str),
    /// Headers at once; the body when the hijacked stream has ended.
    Wait(&'static str),
    /// Upgrades, sends these bytes, and hangs up once the client has closed its side.
    Hijack(Vec<u8>),
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    bodies: Vec<String>,
    /// What arrived on the hijacked stream.
    input: Vec<u8>,
    hijack_over: bool,
}

struct Fake {
    socket: PathBuf,
    seen: Arc<Mutex<Seen>>,
    _folder: tempfile::TempDir,
}

impl Fake {
    /// Answers by the beginning of `METHOD path`; what is not listed is a 404.
    fn start(script: Vec<(&'static str, Answer)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("fake.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, seen) = (script.clone(), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream.unwrap(), &script, &seen));
            }
        });
        Fake { socket, seen, _folder: folder }
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let home = self.socket.parent().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gantry"))
            .args(args)
            .env_clear()
            .env("HOME", home)
            .env("PATH", home)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }
}

/// One connection: requests one after the other, until it is hijacked or closed.
fn serve(mut stream: UnixStream, script: &[(&'static str, Answer)], seen: &Mutex<Seen>) {
    while let Some((line, body)) = read_request(&mut stream) {
        {
            let mut seen = seen.lock().unwrap();
            seen.requests.push(line.clone());
            seen.bodies.push(body);
        }
        let answer = script.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, answer)| answer.clone());
        match answer.unwrap_or(Answer::Plain(404, r#"{"message":"No such container: x"}"#)) {
            Answer::Plain(status, text) => {
                let head =
                    format!("HTTP/1.1 {status} X\r\nApi-Version: 1.51\r\nContent-Length: {}\r\n\r\n", text.len());
                stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
            }
            Answer::Wait(text) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                while !seen.lock().unwrap().hijack_over {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                let chunk = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
                let _ = stream.write_all(chunk.as_bytes());
            }
            Answer::Hijack(output) => {
                stream.write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").unwrap();
                let mut input = Vec::new();
                stream.read_to_end(&mut input).unwrap();
                // Output after the client's half-close must still arrive.
                stream.write_all(&output).unwrap();
                let mut seen = seen.lock().unwrap();
                seen.input = input;
                seen.hijack_over = true;
                return;
            }
        }
    }
}

fn read_request(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, String::from_utf8(body).unwrap()))
}

fn frame(stream: u8, text: &str) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn output() -> Vec<u8> {
    [frame(1, "out\n"), frame(2, "err\n"), frame(1, "more\n")].concat()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const CREATED: Answer = Answer::Plain(201, r#"{"Id":"cafe","Warnings":[]}"#);

#[test]
fn run_creates_attaches_waits_starts_in_that_order() {
    let fake = Fake::start(vec![
        ("POST /containers/create", CREATED),
        ("POST /containers/cafe/attach", Answer::Hijack(output())),
        ("POST /containers/cafe/wait", Answer::Wait(r#"{"StatusCode":42}"#)),
        ("POST /containers/cafe/start", Answer::Plain(204, "")),
    ]);
    let result = fake.run(&["run", "--rm", "-i", "--name", "n", "image", "cmd"], b"typed");
    assert_eq!((text(&result.stdout), text(&result.stderr)), ("out\nmore\n", "err\n"));
    assert_eq!(result.status.code(), Some(42));
    assert_eq!(
        fake.requests(),
        [
            "POST /containers/create?name=n",
            "POST /containers/cafe/attach?stream=1&stdin=1&stdout=1&stderr=1",
            "POST /containers/cafe/wait?condition=removed",
            "POST /containers/cafe/start",
        ]
    );
    let seen = fake.seen.lock().unwrap();
    assert_eq!(text(&seen.input), "typed");
    assert!(seen.bodies[0].contains(r#""Image":"image""#) && seen.bodies[0].contains(r#""AutoRemove":true"#));
}

#[test]
fn without_stdin_the_connection_is_half_closed_at_once() {
    let fake = Fake::start(vec![
        ("POST /containers/create", CREATED),
        ("POST /containers/cafe/attach", Answer::Hijack(output())),
        ("POST /containers/cafe/wait", Answer::Wait(r#"{"StatusCode":0}"#)),
        ("POST /containers/cafe/start", Answer::Plain(204, "")),
    ]);
    let result = fake.run(&["run", "image"], b"ignored");
    assert_eq!((text(&result.stdout), result.status.code()), ("out\nmore\n", Some(0)));
    assert!(fake.seen.lock().unwrap().input.is_empty());
}

#[test]
fn a_detached_run_prints_the_id_and_asks_twice_only() {
    let fake = Fake::start(vec![
        ("POST /containers/create", CREATED),
        ("POST /containers/cafe/start", Answer::Plain(204, "")),
    ]);
    let result = fake.run(&["run", "-d", "image"], b"");
    assert_eq!((text(&result.stdout), result.status.code()), ("cafe\n", Some(0)));
    assert_eq!(fake.requests(), ["POST /containers/create", "POST /containers/cafe/start"]);
}

#[test]
fn failures_of_run_have_dockers_exit_codes() {
    let cases = [
        ("exec: \\\"x\\\": executable file not found in $PATH", 127),
        ("exec: \\\"/etc\\\": permission denied", 126),
        ("something else", 125),
    ];
    for (message, code) in cases {
        let message: &'static str = Box::leak(format!(r#"{{"message":"{message}"}}"#).into_boxed_str());
        let fake = Fake::start(vec![
            ("POST /containers/create", CREATED),
            ("POST /containers/cafe/start", Answer::Plain(400, message)),
        ]);
        let result = fake.run(&["run", "-d", "image"], b"");
        assert_eq!(result.status.code(), Some(code));
        assert!(text(&result.stderr).starts_with("gantry: Error response from daemon: "));
    }
    let fake = Fake::start(vec![("POST /containers/create", Answer::Plain(409, r#"{"message":"Conflict."}"#))]);
    assert_eq!(fake.run(&["run", "image"], b"").status.code(), Some(125));
    assert_eq!(fake.run(&["run", "--nosuch", "image"], b"").status.code(), Some(125));
    assert_eq!(fake.run(&["run"], b"").status.code(), Some(1));
}

#[test]
fn a_missing_image_is_pulled_and_create_tried_again() {
    let fake = Fake::start(vec![
        ("POST /containers/create", Answer::Plain(404, r#"{"message":"No such image: image:latest"}"#)),
        (
            "POST /images/create",
            Answer::Plain(
                200,
                "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n{\"status\":\"Status: Done\"}\r\n",
            ),
        ),
    ]);
    let result = fake.run(&["run", "image"], b"");
    assert_eq!(
        fake.requests(),
        ["POST /containers/create", "POST /images/create?fromImage=image&tag=latest", "POST /containers/create"]
    );
    assert!(
        text(&result.stderr).starts_with(
            "Unable to find image 'image:latest' locally\nlatest: Pulling from x\nStatus: Done\ngantry: Error response"
        ),
        "{}",
        text(&result.stderr)
    );
    let never = fake.run(&["run", "--pull", "never", "image"], b"");
    assert_eq!(never.status.code(), Some(125));
    assert_eq!(fake.requests().len(), 4);
}

#[test]
fn an_error_inside_a_pull_is_the_pulls_error() {
    let lines = "{\"status\":\"Pulling\"}\n{\"errorDetail\":{\"message\":\"denied here\"},\"error\":\"denied here\"}\n";
    let fake = Fake::start(vec![("POST /images/create", Answer::Plain(200, lines))]);
    let result = fake.run(&["pull", "image"], b"");
    assert_eq!((text(&result.stderr), result.status.code()), ("denied here\n", Some(1)));
}

#[test]
fn exec_ends_as_its_process_did() {
    let fake = Fake::start(vec![
        ("POST /containers/c/exec", Answer::Plain(201, r#"{"Id":"e1"}"#)),
        ("POST /exec/e1/start", Answer::Hijack(output())),
        ("GET /exec/e1/json", Answer::Plain(200, r#"{"Running":false,"ExitCode":137}"#)),
    ]);
    let result = fake.run(&["exec", "-i", "c", "sh", "-c", "x"], b"in");
    assert_eq!((text(&result.stdout), text(&result.stderr)), ("out\nmore\n", "err\n"));
    assert_eq!(result.status.code(), Some(137));
    let seen = fake.seen.lock().unwrap();
    assert!(seen.bodies[0].contains(r#""Cmd":["sh","-c","x"]"#));
    assert_eq!(text(&seen.input), "in");
}

#[test]
fn logs_are_split_into_their_streams() {
    let body: &'static str = Box::leak(String::from_utf8(output()).unwrap().into_boxed_str());
    let fake = Fake::start(vec![
        ("GET /containers/c/logs", Answer::Plain(200, body)),
        ("GET /containers/c/json", Answer::Plain(200, r#"{"Config":{"Tty":false}}"#)),
    ]);
    // The fake says API 1.51 and no content type: such logs are raw.
    let result = fake.run(&["logs", "c"], b"");
    assert_eq!(result.stdout, output());
}

#[test]
fn several_names_are_all_tried_and_all_failures_told() {
    let fake = Fake::start(vec![("DELETE /containers/a", Answer::Plain(204, ""))]);
    let result = fake.run(&["rm", "a", "b", "c"], b"");
    assert_eq!((text(&result.stdout), result.status.code()), ("a\n", Some(1)));
    assert_eq!(text(&result.stderr).lines().count(), 2);
}

#[test]
fn an_absent_daemon_is_told_clearly() {
    let result =
        Command::new(env!("CARGO_BIN_EXE_gantry")).args(["-H", "unix:///no/such.sock", "ps"]).output().unwrap();
    assert_eq!(
        (text(&result.stderr), result.status.code()),
        ("Cannot connect to the Gantry daemon at unix:///no/such.sock. Is gantryd running?\n", Some(1))
    );
}
