//! PURE. Volumes.

use docker_api::volume::{Volume, VolumeUsage};
use engine::volume::VolumeView;

/// A volume. With `usage`, how many containers use it and its bytes (-1 = not known).
pub(crate) fn volume(view: &VolumeView, usage: Option<i64>) -> Volume {
    let some = |map: &std::collections::BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let ref_count = i64::try_from(view.users.len()).unwrap_or(i64::MAX);
    Volume {
        created_at: view.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        driver: view.driver.clone(),
        labels: some(&view.labels),
        mountpoint: view.mountpoint.display().to_string(),
        name: view.name.clone(),
        options: some(&view.options),
        scope: "local".into(),
        usage_data: usage.map(|size| VolumeUsage { ref_count, size }),
    }
}
