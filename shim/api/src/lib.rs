//! The containerd shim v2 protocol (ttrpc, Task and Sandbox services) and the formats that engine and shim share.
