//! ImageFsInfo.

use engine::Engine;

use crate::proto as cri;

/// Image layers and writable layers are on one file system, named by the directory that holds them.
pub(crate) fn fs_info(engine: &Engine) -> cri::ImageFsInfoResponse {
    let usage = engine.images().fs_usage();
    let value = |value: u64| Some(cri::UInt64Value { value });
    let usage = cri::FilesystemUsage {
        timestamp: i64::try_from(usage.at.as_nanosecond()).unwrap_or(i64::MAX),
        fs_id: Some(cri::FilesystemIdentifier { mountpoint: usage.snapshots_root.display().to_string() }),
        used_bytes: value(usage.bytes),
        inodes_used: value(usage.inodes),
    };
    // One snapshotter keeps image layers and writable layers below one root: the two file systems are one, and the
    // kubelet, which compares the two lists, does not count it twice.
    cri::ImageFsInfoResponse { image_filesystems: vec![usage.clone()], container_filesystems: vec![usage] }
}
