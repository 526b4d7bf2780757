//! The generated messages, under the names of their protobuf packages.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    missing_docs,
    unreachable_pub
)]

/// `containerd.types`: mounts, platforms, metrics, envelopes.
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/containerd.types.rs"));
}
/// `containerd.v1.types`: task states and processes.
pub mod v1 {
    /// States and processes.
    pub mod types {
        include!(concat!(env!("OUT_DIR"), "/containerd.v1.types.rs"));
    }
}
/// `containerd.task.v3` (and v2, the same on the wire).
pub mod task {
    /// The messages of the Task service.
    pub mod v3 {
        include!(concat!(env!("OUT_DIR"), "/containerd.task.v3.rs"));
    }
}
/// `containerd.runtime`.
pub mod runtime {
    /// `containerd.runtime.sandbox`.
    pub mod sandbox {
        /// The messages of the Sandbox service.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/containerd.runtime.sandbox.v1.rs"));
        }
    }
    /// `containerd.runtime.bootstrap`.
    pub mod bootstrap {
        /// Parameters and result of `start`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/containerd.runtime.bootstrap.v1.rs"));
        }
    }
}
/// `containerd.events`: what happened to tasks.
pub mod events {
    include!(concat!(env!("OUT_DIR"), "/containerd.events.rs"));
}
/// `containerd.services`.
pub mod services {
    /// `containerd.services.events`.
    pub mod events {
        /// `containerd.services.events.ttrpc`.
        pub mod ttrpc {
            /// How a shim publishes an event.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/containerd.services.events.ttrpc.v1.rs"));
            }
        }
    }
}
/// `containerd.runc.v1`: options of the runc family.
pub mod runc {
    include!(concat!(env!("OUT_DIR"), "/containerd.runc.v1.rs"));
}
/// `runtimeoptions`: options of any other runtime.
pub mod runtimeoptions {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/runtimeoptions.v1.rs"));
    }
}
/// `io.containerd.cgroups.v1`: metrics as containerd's clients expect them on cgroup v1.
pub mod metrics_v1 {
    include!(concat!(env!("OUT_DIR"), "/io.containerd.cgroups.v1.rs"));
}
/// `io.containerd.cgroups.v2`: the same for cgroup v2.
pub mod metrics_v2 {
    include!(concat!(env!("OUT_DIR"), "/io.containerd.cgroups.v2.rs"));
}
/// `ttrpc`: the envelope of a call.
pub mod ttrpc {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}
/// `gantry.shim.v1`: our additions.
pub mod gantry {
    include!(concat!(env!("OUT_DIR"), "/gantry.shim.v1.rs"));
}

/// Short paths for what is used everywhere.
pub use runtime::sandbox::v1 as sandbox;
pub use services::events::ttrpc::v1 as events_service;
