//! Images against real tools: Debian's docker-registry, skopeo, GNU tar, the kernel's overlayfs; and against a registry
//! that does everything wrong.
//!
//! Needs root, `ip`, `tar`, `skopeo` and `docker-registry`; without them the tests fail and say so. Each test has a
//! network namespace of its own, so that its registry can have any port and nothing of the host is reached.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

mod archives;
mod hostile;
mod lab;
mod real_registry;
mod untar;
