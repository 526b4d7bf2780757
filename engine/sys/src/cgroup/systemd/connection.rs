//! A connection to systemd, by its private socket (root only, no bus needed) or by the system bus.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{Error, Result};
use super::wire::{self, ERROR, METHOD_RETURN, Malformed, Message, PREFIX_BYTES, SIGNAL, Target, Writer};

const PRIVATE_SOCKET: &str = "/run/systemd/private";
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
/// For a call to be answered, and for a job to be done.
const CALL_MS_MAX: u64 = 30_000;
/// A line of the authentication is shorter.
const AUTH_LINE_BYTES_MAX: usize = 512;

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const BUS: Target =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// One connection, used for one operation and dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// For error messages.
    socket: &'static str,
    serial: u32,
    /// Signals that came while a reply was awaited: a job may be done before its start is answered.
    signals: Vec<Message>,
}

impl Connection {
    /// Connects and asks for the signals of jobs.
    pub(super) fn open() -> Result<Self> {
        let (stream, socket) = match UnixStream::connect(PRIVATE_SOCKET) {
            Ok(stream) => (stream, PRIVATE_SOCKET),
            Err(_) => match UnixStream::connect(BUS_SOCKET) {
                Ok(stream) => (stream, BUS_SOCKET),
                Err(error) => return Err(Error::io("connect to systemd at", Path::new(BUS_SOCKET), error)),
            },
        };
        let mut connection = Self { stream, socket, serial: 0, signals: Vec::new() };
        connection.authenticate().map_err(|error| connection.failed("authenticate at", error))?;
        if socket == BUS_SOCKET {
            connection.call(BUS, "Hello", "", &Writer::default())?;
            let mut rule = Writer::default();
            rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            connection.call(BUS, "AddMatch", "s", &rule)?;
        }
        match connection.manager("Subscribe", "", &Writer::default()) {
            // Some versions of systemd count a private connection as subscribed already.
            Ok(_) | Err(Error::Systemd { .. }) => Ok(connection),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> Error {
        Error::io(action, Path::new(self.socket), error)
    }

    /// EXTERNAL: the kernel tells systemd who is at the other end (D-Bus Specification, "Authentication Protocol").
    /// `BEGIN` goes along: where systemd reads it together with the first message, it leaves that message lying.
    fn authenticate(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(CALL_MS_MAX)))?;
        self.stream.set_write_timeout(Some(Duration::from_millis(CALL_MS_MAX)))?;
        self.stream.write_all(auth_line(rustix::process::geteuid().as_raw()).as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > AUTH_LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless answer"));
            }
        }
        if !line.starts_with(b"OK ") {
            let answer = String::from_utf8_lossy(&line).trim().to_owned();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("answered {answer:?}")));
        }
        Ok(())
    }

    /// Calls a method of systemd's manager.
    pub(super) fn manager(&mut self, member: &str, signature: &str, body: &Writer) -> Result<Message> {
        self.call(MANAGER, member, signature, body)
    }

    fn call(&mut self, target: Target, member: &str, signature: &str, body: &Writer) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = wire::method_call(serial, target, member, signature, body);
        self.stream.write_all(&bytes).map_err(|error| self.failed("write to", error))?;
        let deadline = Instant::now() + Duration::from_millis(CALL_MS_MAX);
        loop {
            let message = self.receive(deadline, member)?;
            match message.kind {
                METHOD_RETURN if message.reply_serial == serial => return Ok(message),
                ERROR if message.reply_serial == serial => {
                    let text = message.reader().text().unwrap_or_default();
                    return Err(Error::Systemd { name: message.error_name, message: text });
                }
                SIGNAL if message.member == "JobRemoved" => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits until the job with this object path is done; answers its result, `done` if all went well.
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String> {
        let deadline = Instant::now() + Duration::from_millis(CALL_MS_MAX);
        let early: Vec<Message> = std::mem::take(&mut self.signals);
        for message in &early {
            if let Some(result) = job_result(message, job) {
                return Ok(result);
            }
        }
        loop {
            let message = self.receive(deadline, job)?;
            if let Some(result) = job_result(&message, job) {
                return Ok(result);
            }
        }
    }

    fn receive(&mut self, deadline: Instant, waiting_for: &str) -> Result<Message> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TimedOut { waiting_for: format!("systemd ({waiting_for})") });
        }
        let read = |stream: &mut UnixStream| -> io::Result<Vec<u8>> {
            stream.set_read_timeout(Some(left))?;
            let mut prefix = [0; PREFIX_BYTES];
            stream.read_exact(&mut prefix)?;
            let length = wire::message_length(&prefix).map_err(invalid)?;
            let mut bytes = prefix.to_vec();
            bytes.resize(length.max(PREFIX_BYTES), 0);
            stream.read_exact(&mut bytes[PREFIX_BYTES..])?;
            Ok(bytes)
        };
        let bytes = read(&mut self.stream).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::TimedOut { waiting_for: format!("systemd ({waiting_for})") },
            _ => self.failed("read from", error),
        })?;
        Message::parse(&bytes).map_err(|malformed| self.failed("read from", invalid(malformed)))
    }
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed.to_string())
}

/// A NUL, which carries the credentials, the user's number in hexadecimal of its decimal digits, and the end.
fn auth_line(uid: u32) -> String {
    let hex: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
    format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n")
}

/// `JobRemoved(u id, o job, s unit, s result)`
fn job_result(message: &Message, job: &str) -> Option<String> {
    if message.kind != SIGNAL || message.member != "JobRemoved" || message.interface != MANAGER.interface {
        return None;
    }
    let mut body = message.reader();
    body.u32().ok()?;
    let path = body.text().ok()?;
    body.text().ok()?;
    (path == job).then(|| body.text().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_authenticates_as_the_digit_zero() {
        assert_eq!(auth_line(0), "\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
        assert_eq!(auth_line(1000), "\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n");
    }

    #[test]
    fn a_peer_that_answers_late_signals_and_errors_is_understood() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection { stream: ours, socket: PRIVATE_SOCKET, serial: 0, signals: Vec::new() };
        let mut signal = Writer::default();
        signal.bool(true);
        ["/job/1", "x.scope", "done"].into_iter().for_each(|text| signal.text(text));
        let mut removed = wire::method_call(1, MANAGER, "JobRemoved", "uoss", &signal);
        removed[1] = SIGNAL;
        theirs.write_all(&removed).unwrap();
        assert_eq!(connection.wait_for_job("/job/1").unwrap(), "done");

        drop(theirs);
        let error = connection.manager("StopUnit", "", &Writer::default()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}
