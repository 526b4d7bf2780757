//! Running a client with a deadline, its output kept apart and bounded.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A client that runs longer than this is killed and fails the test.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// After its end, its output must be closed within this time.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// More output than this of one command is a fault of the test.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, as bytes.
    pub stdout: Vec<u8>,
    /// Standard error, lossy.
    pub stderr: String,
    /// From spawn to exit.
    pub took: Duration,
}

impl Run {
    /// The trimmed standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.status.success(), "{self}");
        self.out()
    }

    /// The exit code; a death by signal counts as 128 + signal, as shells have it.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|s| 128 + s)).unwrap_or(-1)
    }

    /// Trimmed standard output, lossy.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The command must have failed with `code`; returns its standard error.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code(), code, "wrong exit code: {self}");
        &self.stderr
    }

    /// The command must have failed; returns its standard error.
    #[track_caller]
    pub fn failure(&self) -> &str {
        assert!(!self.status.success(), "this should have failed: {self}");
        &self.stderr
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` ended with {} after {:?}\nstdout: {}\nstderr: {}",
            self.line,
            self.status,
            self.took,
            self.out(),
            self.stderr.trim()
        )
    }
}

/// Runs `command` to its end with `stdin`.
///
/// # Panics
/// When it cannot be started or outlives [`DEADLINE`].
#[track_caller]
pub fn run_with(mut command: Command, stdin: &[u8]) -> Run {
    let line = line_of(&command);
    let start = Instant::now();
    let input = if stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{line}`: {e}"));
    let out = child.stdout.take().map(drain);
    let err = child.stderr.take().map(drain);
    if let Some(mut pipe) = child.stdin.take() {
        // A command that does not want its input may close it early.
        let _ = pipe.write_all(stdin);
    }
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            break status;
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("`{line}` still ran after {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let took = start.elapsed();
    // A grandchild that keeps the pipe open is a fault, too: it must not hang the test.
    let collect = |reader: Option<Receiver<Vec<u8>>>| match reader.map(|r| r.recv_timeout(DRAIN_DEADLINE)) {
        Some(Ok(bytes)) => bytes,
        Some(Err(_)) => panic!("`{line}` ended, and something it left behind keeps its output open"),
        None => Vec::new(),
    };
    let stdout = collect(out);
    let stderr = String::from_utf8_lossy(&collect(err)).into_owned();
    Run { line, status, stdout, stderr, took }
}

/// Runs a program of the host with arguments and no input.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(program);
    command.args(args);
    run_with(command, b"")
}

fn drain(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
