//! The kernel, typed: mounts, namespaces, cgroups, netlink, nftables, pidfds. No policy, no tokio.

pub mod capability;
pub mod cgroup;
pub mod rooted;
pub mod seccomp;
