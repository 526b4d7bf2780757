//! `/pods`: the pods of a kubelet, for people on the node. Gantry's own; dockerd has no such thing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::skip::zero;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Pod {
    /// Id of its sandbox.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes UID.
    pub uid: String,
    /// How often it was made anew.
    pub attempt: u32,
    /// `creating`, `ready`, `stopping`, `notready` or `removing`.
    pub state: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Addresses, while it is up.
    pub addresses: Vec<String>,
    /// Name of the network, while it is up.
    #[serde(skip_serializing_if = "zero")]
    pub network: String,
    /// Runtime handler.
    pub runtime: String,
    /// Why it is not ready or could not be removed.
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its containers.
    pub containers: Vec<PodContainer>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PodContainer {
    /// Id: every endpoint of `/containers` takes it.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
}
