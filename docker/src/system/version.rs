//! `GET /version`.

use std::collections::BTreeMap;

use docker_api::system::{Component, PlatformName, Version};

use crate::api_version::{CURRENT, OLDEST};
use crate::call::Call;
use crate::reply::{self, Outcome};

/// Our version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn version(call: Call) -> Outcome {
    let info = call.engine().info();
    let (arch, kernel) = (go_arch(), info.kernel);
    let details = [
        ("ApiVersion", CURRENT.to_string()),
        ("Arch", arch.to_owned()),
        ("Experimental", "false".into()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", OLDEST.to_string()),
        ("Os", "linux".into()),
    ];
    let details: BTreeMap<String, String> = details.map(|(key, value)| (key.to_owned(), value)).into();
    reply::ok(&Version {
        platform: PlatformName { name: "Gantry".into() },
        components: vec![Component { name: "Engine".into(), version: VERSION.into(), details }],
        version: VERSION.into(),
        api_version: CURRENT.to_string(),
        min_api_version: OLDEST.to_string(),
        git_commit: String::new(),
        go_version: String::new(),
        os: "linux".into(),
        arch: arch.into(),
        kernel_version: kernel,
        build_time: String::new(),
    })
}

/// The machine's architecture in Go's words.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
