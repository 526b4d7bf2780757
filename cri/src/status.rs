//! Version, Status and RuntimeConfig: what the kubelet asks of the runtime itself.

use std::collections::HashMap;

use engine::Engine;
use engine::config::CgroupDriver;

use crate::proto as cri;

/// The version of the kubelet's side of the interface; the kubelet refuses another.
const KUBELET_API_VERSION: &str = "0.1.0";

/// Version.
pub(crate) fn version() -> cri::VersionResponse {
    cri::VersionResponse {
        version: KUBELET_API_VERSION.into(),
        runtime_name: "gantry".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: "v1".into(),
    }
}

/// Status.
pub(crate) async fn status(engine: &Engine, verbose: bool) -> cri::StatusResponse {
    let info = engine.info();
    let condition = |(kind, ready, reason): &(String, bool, String)| cri::RuntimeCondition {
        r#type: kind.clone(),
        status: *ready,
        reason: if *ready { String::new() } else { format!("{kind}Not") },
        message: reason.clone(),
    };
    let features = engine.handler_features().await;
    let handler = |name: &str, runtime: &str| {
        let own = features.get(runtime).copied().unwrap_or_default();
        let features = cri::RuntimeHandlerFeatures {
            recursive_read_only_mounts: own.recursive_read_only_mounts,
            user_namespaces: own.user_namespaces,
        };
        cri::RuntimeHandler { name: name.to_owned(), features: Some(features) }
    };
    // The handler without a name is the default one.
    let default = std::iter::once(handler("", &engine.config().default_runtime));
    let handlers = default.chain(info.runtimes.iter().map(|name| handler(name, name))).collect();
    let mut verbose_info = HashMap::new();
    if verbose {
        let document = serde_json::json!({
            "daemonID": info.daemon_id,
            "kernel": info.kernel,
            "cgroupVersion": info.cgroup_version,
            "warnings": info.warnings,
            "root": engine.config().root,
            "run": engine.config().run,
        });
        verbose_info.insert("config".to_owned(), document.to_string());
    }
    cri::StatusResponse {
        status: Some(cri::RuntimeStatus { conditions: info.conditions.iter().map(condition).collect() }),
        info: verbose_info,
        runtime_handlers: handlers,
        features: Some(cri::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
            mount_options: false,
        }),
    }
}

/// RuntimeConfig.
pub(crate) fn runtime_config(engine: &Engine) -> cri::RuntimeConfigResponse {
    let driver = match engine.config().cgroup_driver {
        CgroupDriver::Systemd => cri::CgroupDriver::Systemd,
        CgroupDriver::Cgroupfs => cri::CgroupDriver::Cgroupfs,
    };
    cri::RuntimeConfigResponse { linux: Some(cri::LinuxRuntimeConfiguration { cgroup_driver: driver as i32 }) }
}

/// UpdateRuntimeConfig: the kubelet tells the subnets of this node's pods.
pub(crate) async fn update_runtime_config(
    engine: &Engine,
    request: cri::UpdateRuntimeConfigRequest,
) -> Result<(), tonic::Status> {
    let network = request.runtime_config.and_then(|config| config.network_config);
    // A kubelet of a node without subnets sends an empty text: that is no news.
    let Some(network) = network.filter(|network| !network.pod_cidr.is_empty()) else { return Ok(()) };
    engine.set_pod_subnets(&network.pod_cidr).await.map_err(|error| crate::status_code::status(&error))
}
