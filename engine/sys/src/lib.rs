//! The kernel, typed: mounts, namespaces, cgroups, netlink, nftables, pidfds. No policy, no tokio.

pub mod capability;
pub mod cgroup;
pub mod clone;
pub mod fifo;
pub mod local_time;
pub mod lsm;
pub mod mount;
pub mod mount_tree;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod overlay;
pub mod pidfd;
pub mod proc;
pub mod pty;
pub mod rooted;
pub mod seccomp;
pub mod spawn;
pub mod sysinfo;
