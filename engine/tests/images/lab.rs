//! What the tests stand on: a private network, a registry, layouts to push, trees to compare.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::id::{Digest, LayerId, Owner};
use engine::image::{ImageSettings, Images, PullProgress, PullRequest};
use engine::metadata::Store;
use engine::snapshot::Mount;

/// Runs `test` on a runtime whose threads are all in a new network namespace with `lo` up.
pub(crate) fn in_private_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        sys::namespace::unshare(sys::clone::CloneFlags::NEW_NET).expect("a network namespace (are you root?)");
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program; its failure is the test's, with what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Debian's docker-registry at `localhost:5000` of this network namespace.
pub(crate) struct Registry {
    child: Child,
}

impl Registry {
    pub(crate) fn start(dir: &Path) -> Self {
        let data = dir.join("registry");
        std::fs::create_dir_all(&data).unwrap();
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:5000\"}}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry (Debian package docker-registry)");
        let registry = Self { child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect("127.0.0.1:5000").is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::None => tar.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(3));
                encoder.write_all(tar).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(tar, 3).unwrap(),
        }
    }

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// An image as an OCI layout on disk.
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) config: Digest,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) diff_ids: Vec<LayerId>,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Layout {
    /// A layout in `dir` of these layer tars, lowest first.
    pub(crate) fn write(dir: &Path, tars: &[Vec<u8>], compression: Compression) -> Self {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
            digest
        };
        let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
        let mut layers = Vec::new();
        let mut entries = Vec::new();
        for tar in tars {
            let packed = compression.pack(tar);
            let digest = put(&packed);
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{}", compression.suffix());
            entries.push(serde_json::json!({"mediaType": media_type, "digest": digest, "size": packed.len()}));
            layers.push(digest);
        }
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"l": "v"}, "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": tars.iter().enumerate().map(|(n, _)| serde_json::json!({"created_by": format!("step {n}")})).collect::<Vec<_>>(),
        });
        let config = serde_json::to_vec(&config).unwrap();
        let config_digest = put(&config);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": entries,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let manifest_digest = put(&manifest);
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": OCI_MANIFEST, "digest": manifest_digest, "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "it"}}]});
        std::fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        std::fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir: dir.to_owned(), config: config_digest, manifest: manifest_digest, layers, diff_ids }
    }

    pub(crate) fn blob(&self, digest: Digest) -> Vec<u8> {
        std::fs::read(self.dir.join("blobs/sha256").join(digest.hex())).unwrap()
    }

    /// Pushes it with skopeo, bytes as they are; `format` may make it docker's schema 2.
    pub(crate) fn push(&self, name: &str, format: Option<&str>) {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        if let Some(format) = format {
            skopeo.args(["--format", format]);
        } else {
            skopeo.arg("--preserve-digests");
        }
        run(skopeo.arg(format!("oci:{}:it", self.dir.display())).arg(format!("docker://{name}")));
    }
}

/// An engine's images on a data root of the test's own.
pub(crate) async fn open_images(root: &Path) -> Images {
    open_images_with(root, |_| {}).await
}

pub(crate) async fn open_images_with(root: &Path, change: impl FnOnce(&mut ImageSettings)) -> Images {
    std::fs::create_dir_all(root).unwrap();
    let mut settings = ImageSettings::under(root);
    settings.stall_timeout = Duration::from_secs(3);
    settings.retry_after_max = Duration::from_secs(1);
    change(&mut settings);
    Images::open(Store::open(&root.join("meta.db")).unwrap(), settings).await.unwrap()
}

pub(crate) fn request(reference: &str) -> PullRequest {
    PullRequest { reference: reference.parse().unwrap(), platform: None, auth: None, owner: Owner::Docker }
}

/// Pulls and answers the image or error, with all that was told.
pub(crate) async fn pull(
    images: &Images,
    request: PullRequest,
) -> (engine::Result<std::sync::Arc<engine::image::ImageView>>, Vec<PullProgress>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4096);
    let listener = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(step) = receiver.recv().await {
            told.push(step);
        }
        told
    });
    let result = images.pull(request, sender).await;
    (result, listener.await.unwrap())
}

/// A tar of a directory, made by GNU tar with everything that it can keep.
pub(crate) fn gnu_tar(dir: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--format=pax", "--sparse", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-C"])
        .arg(dir)
        .args(["-cf", "-", "."])
        .output()
        .expect("tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Mounts a snapshot's layers detached and answers a path into it that is good while the descriptor lives.
pub(crate) fn mount(mounts: &[Mount]) -> (std::os::fd::OwnedFd, PathBuf) {
    use std::os::fd::AsRawFd as _;
    let [mount] = mounts else { panic!("one mount, not {}", mounts.len()) };
    let fd = if mount.kind == "bind" {
        sys::mount::clone_tree(Path::new(&mount.source), true).unwrap()
    } else {
        let mut parameters = Vec::new();
        for option in &mount.options {
            match option.split_once('=').unwrap() {
                ("lowerdir", list) => {
                    parameters
                        .extend(list.split(':').map(|dir| sys::mount::Parameter::Text("lowerdir+", dir.as_bytes())));
                }
                (key, value) => parameters.push(sys::mount::Parameter::Text(key, value.as_bytes())),
            }
        }
        sys::mount::new_filesystem("overlay", &parameters, 0).unwrap()
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    (fd, path)
}

/// Mounts the layers of an image as a container would get them, and describes the tree.
pub(crate) async fn image_tree(images: &Images, layers: &[LayerId], key: &str) -> BTreeMap<OsString, String> {
    let key = key.parse().unwrap();
    let mounts = images.snapshotter().prepare(&key, layers).await.unwrap();
    let (fd, path) = mount(&mounts);
    let tree = tree(&path);
    drop(fd);
    images.snapshotter().remove(&key).await.unwrap();
    tree
}

/// Every path below `root` with all that can be seen of it.
pub(crate) fn tree(root: &Path) -> BTreeMap<OsString, String> {
    let mut all = BTreeMap::new();
    describe_into(root, Path::new("."), &mut all);
    all
}

fn describe_into(root: &Path, relative: &Path, all: &mut BTreeMap<OsString, String>) {
    let path = root.join(relative);
    let meta = std::fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        format!("-> {:?}", std::fs::read_link(&path).unwrap())
    } else if kind.is_file() {
        format!("{} bytes {} links {}", meta.len(), file_digest(&path), meta.nlink())
    } else if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("device {:x}", meta.rdev())
    };
    let mtime = if kind.is_dir() && relative == Path::new(".") { 0 } else { meta.mtime() };
    let line = format!("{:o} {}:{} {mtime} {what} {:?}", meta.mode(), meta.uid(), meta.gid(), xattrs(&path));
    all.insert(relative.as_os_str().to_owned(), line);
    if kind.is_dir() {
        for entry in std::fs::read_dir(&path).unwrap() {
            describe_into(root, &relative.join(entry.unwrap().file_name()), all);
        }
    }
}

/// A digest of what is not zero, and where: two gigabytes of hole cost no hashing.
fn file_digest(path: &Path) -> String {
    use sha2::Digest as _;
    use std::io::Read as _;
    let mut hash = sha2::Sha256::new();
    let mut file = std::fs::File::open(path).unwrap();
    let mut block = vec![0; 1 << 16];
    for number in 0_u64.. {
        let mut filled = 0;
        while filled < block.len() {
            match file.read(&mut block[filled..]).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        if block[..filled] != vec![0; filled] {
            hash.update(number.to_le_bytes());
            hash.update(&block[..filled]);
        }
    }
    hex::encode(hash.finalize())
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    let mut all: Vec<_> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(length);
            (name.to_owned(), value)
        })
        .collect();
    all.sort();
    all
}

/// What is in the directories of an engine that should be empty again: blobs, downloads, layers, staging.
pub(crate) fn leftovers(root: &Path) -> Vec<PathBuf> {
    ["content/blobs/sha256", "content/ingest", "snapshots/layers", "snapshots/staging", "snapshots/active"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path()))
        .collect()
}
