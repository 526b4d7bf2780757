//! The messages between the shim and a process that it is making, in the order they come. Pure.
//!
//! ```text
//! shim                                   child
//!   | ------------ Go --------------------> |   it is in its cgroup, limits are set
//!   | <----------- Warning* --------------- |
//!   | <----------- Pid (user namespaces) -- |   from the process between, which then ends
//!   | <----------- Console ---------------- |   with the terminal's descriptor
//!   | <----------- Hooks ------------------ |   only with hooks that run outside
//!   | ------------ HooksDone -------------> |
//!   | <----------- Ready ------------------ |   all but the exec is done
//!   | ------------ Start -----------------> |
//!   | <----------- (end of file) ---------- |   exec succeeded: the socket is close-on-exec
//! ```
//! Any time: `Failed`, the child's last message.

/// Largest message, either way.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// From the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ToChild {
    Go = b'g',
    HooksDone = b'h',
    Start = b's',
}

/// From the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromChild {
    /// The process that becomes the container's first one.
    Pid(i32),
    /// The terminal's descriptor comes with this message.
    Console,
    /// Mounts are there; run the hooks of the runtime's namespaces.
    Hooks,
    /// Waiting for `Start`.
    Ready,
    /// Something was done otherwise than asked.
    Warning(String),
    /// It could not be made.
    Failed { step: String, errno: i32, message: String },
}

impl ToChild {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'g' => Some(Self::Go),
            b'h' => Some(Self::HooksDone),
            b's' => Some(Self::Start),
            _ => None,
        }
    }
}

impl FromChild {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = match self {
            Self::Pid(pid) => [&b"p"[..], &pid.to_be_bytes()].concat(),
            Self::Console => b"c".to_vec(),
            Self::Hooks => b"h".to_vec(),
            Self::Ready => b"r".to_vec(),
            Self::Warning(text) => [b"w", text.as_bytes()].concat(),
            Self::Failed { step, errno, message } => {
                [&b"f"[..], &errno.to_be_bytes(), step.as_bytes(), b"\0", message.as_bytes()].concat()
            }
        };
        out.truncate(MESSAGE_BYTES_MAX);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match bytes {
            [b'p', a, b, c, d] => Some(Self::Pid(i32::from_be_bytes([*a, *b, *c, *d]))),
            b"c" => Some(Self::Console),
            b"h" => Some(Self::Hooks),
            b"r" => Some(Self::Ready),
            [b'w', rest @ ..] => Some(Self::Warning(text(rest))),
            [b'f', a, b, c, d, rest @ ..] => {
                let nul = rest.iter().position(|byte| *byte == 0)?;
                let errno = i32::from_be_bytes([*a, *b, *c, *d]);
                Some(Self::Failed { step: text(&rest[..nul]), errno, message: text(&rest[nul + 1..]) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let failed = FromChild::Failed { step: "mount".into(), errno: 13, message: "mount /x: denied".into() };
        for message in
            [FromChild::Pid(77), FromChild::Console, FromChild::Ready, FromChild::Warning("w".into()), failed]
        {
            assert_eq!(FromChild::decode(&message.encode()), Some(message));
        }
        assert_eq!(FromChild::decode(b""), None);
        assert_eq!(FromChild::decode(b"f\0\0"), None);
    }

    #[test]
    fn a_long_message_is_cut_not_lost() {
        let long = FromChild::Failed { step: "exec".into(), errno: 2, message: "x".repeat(9000) };
        let cut = FromChild::decode(&long.encode());
        assert!(matches!(cut, Some(FromChild::Failed { errno: 2, .. })));
    }
}
