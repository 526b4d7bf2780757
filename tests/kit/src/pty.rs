//! A terminal for a client: what is typed goes to the master, what is shown is read from it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A client running on a pseudo terminal of its own, as its controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` on a new terminal of `rows` × `columns`.
    pub fn spawn(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        set_size(&master, rows, columns);
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("pts path")).expect("open pts");

        // setsid(1) makes the slave the controlling terminal, so that signals and window sizes arrive.
        let mut on_tty = Command::new("setsid");
        on_tty.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                on_tty.env(key, value);
            }
        }
        on_tty.env("TERM", "xterm");
        on_tty.stdin(slave.try_clone().expect("dup"));
        on_tty.stdout(slave.try_clone().expect("dup"));
        on_tty.stderr(Stdio::from(slave));
        let child = on_tty.spawn().expect("setsid");
        drop(on_tty);

        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().expect("dup"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            // EIO is how a pty says that its other side is gone.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("terminal lock").extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, master, shown }
    }

    /// Types `text`.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("type");
    }

    /// Changes the window size; the client is told by the kernel.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// Everything shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("terminal lock")).into_owned()
    }

    /// Waits until the terminal has shown `text`.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(30), "no {text:?} on the terminal: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the client to end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            if start.elapsed() > Duration::from_secs(30) {
                let _ = self.child.kill();
                panic!("the client on the terminal did not end; it shows: {:?}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(master: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master.as_fd(), size).expect("TIOCSWINSZ");
}
