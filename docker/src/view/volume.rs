//! PURE. Volumes.

use docker_api::volume::{Volume, VolumeUsage};
use engine::volume::VolumeView;

/// A volume. Its size is not known without walking it, so usage says -1 as dockerd does when not asked to.
pub(crate) fn volume(view: &VolumeView, with_usage: bool) -> Volume {
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
        usage_data: with_usage.then_some(VolumeUsage { ref_count, size: -1 }),
    }
}
