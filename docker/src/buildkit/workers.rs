//! PURE. The one worker, as clients list it.
//!
//! It has no label of a snapshotter: clients take that for a sign of the other drivers, and decline by themselves what only
//! those have (several platforms at once, other exporters, caches in registries, attestations).

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::pb;
use engine::image::Platform;

/// This engine as a worker.
pub(super) fn record(platform: &Platform) -> WorkerRecord {
    let platforms = vec![pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        ..pb::Platform::default()
    }];
    let labels = HashMap::from([("org.mobyproject.buildkit.worker.executor".to_owned(), "gantry".to_owned())]);
    WorkerRecord {
        id: "gantry".to_owned(),
        labels,
        platforms,
        buildkit_version: Some(version()),
        ..WorkerRecord::default()
    }
}

/// Who answers.
pub(super) fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: "gantry".to_owned(),
        version: concat!("v", env!("CARGO_PKG_VERSION"), "-gantry").to_owned(),
        revision: String::new(),
    }
}
