//! The kernel, typed: mounts, namespaces, cgroups, netlink, nftables, pidfds. No policy, no tokio.

pub mod rooted;
