//! Networks against the kernel: real traffic between namespaces, in a network namespace of the test's own.
//!
//! Needs root, `unshare`, `ip` and `nft`; without them the tests fail and say so. Each test runs again as a process of
//! its own under `unshare`, so that nothing of the host is seen or changed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lab;
mod lifecycle;
mod traffic;
