//! Debian's docker-registry on loopback inside a world, filled by skopeo.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::command::run_with;
use crate::image::Image;
use crate::wait;
use crate::world::{World, only_child};

/// Where it listens.
pub const ADDRESS: &str = "127.0.0.1:5000";
/// Where the one that asks for credentials listens.
pub const PRIVATE_ADDRESS: &str = "127.0.0.1:5001";
/// Who may use that one, and the password.
pub const USER: (&str, &str) = ("gantry", "open sesame");
/// The line of that user for htpasswd: bcrypt.
const HTPASSWD: &str = "gantry:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n";

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    storage: PathBuf,
    init: i32,
}

impl Registry {
    /// Starts it in `world` on an empty storage of its own (or what is there, when it is started again).
    pub(crate) fn start(world: &World) -> Self {
        // 127.0.0.1:5000 in LISTEN.
        Self::start_at(world, "registry", ADDRESS, "0100007F:1388 00000000:0000 0A", "")
    }

    /// The same with users, who have to show their passwords.
    pub(crate) fn start_private(world: &World) -> Self {
        let users = world.dir().join("htpasswd");
        fs::write(&users, HTPASSWD).expect("users of the registry");
        let auth = format!("auth:\n  htpasswd:\n    realm: gantry\n    path: {}\n", users.display());
        // 127.0.0.1:5001 in LISTEN.
        Self::start_at(world, "private-registry", PRIVATE_ADDRESS, "0100007F:1389 00000000:0000 0A", &auth)
    }

    fn start_at(world: &World, name: &str, address: &str, listening: &str, more: &str) -> Self {
        let storage = world.dir().join(name);
        fs::create_dir_all(&storage).expect("registry storage");
        let config = world.dir().join(format!("{name}.yml"));
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{more}",
            storage.display()
        );
        fs::write(&config, text).expect("registry configuration");
        let child = world
            .enter("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("nsenter");
        wait::until("the registry to listen (apt-get install docker-registry)", Duration::from_secs(20), || {
            let table = fs::read_to_string(format!("/proc/{}/net/tcp", world.init())).ok()?;
            table.lines().any(|line| line.contains(listening)).then_some(())
        });
        Self { child, storage, init: world.init() }
    }

    /// Pushes `image` as `name` (`repository:tag`) with an OCI manifest; returns the full reference.
    #[track_caller]
    pub fn push(&self, image: &Image, name: &str) -> String {
        self.push_as(image, name, "oci")
    }

    /// Pushes `image` with a manifest of the given format: `oci` or `v2s2`.
    #[track_caller]
    pub fn push_as(&self, image: &Image, name: &str, format: &str) -> String {
        let layout = tempfile::tempdir_in(self.storage.parent().expect("parent")).expect("layout");
        image.write_oci(layout.path(), "image");
        let reference = format!("{ADDRESS}/{name}");
        let mut skopeo = std::process::Command::new("nsenter");
        skopeo.args(["-t", &self.init.to_string(), "-n", "--", "skopeo", "copy", "--quiet", "--insecure-policy"]);
        skopeo.args(["--dest-tls-verify=false", "--format", format]);
        skopeo.arg(format!("oci:{}:image", layout.path().display())).arg(format!("docker://{reference}"));
        run_with(skopeo, b"").ok();
        reference
    }

    /// The manifest of a reference, as the registry has it.
    #[track_caller]
    pub fn manifest(&self, reference: &str) -> serde_json::Value {
        let mut skopeo = std::process::Command::new("nsenter");
        skopeo.args(["-t", &self.init.to_string(), "-n", "--", "skopeo", "inspect", "--raw", "--tls-verify=false"]);
        skopeo.arg(format!("docker://{reference}"));
        serde_json::from_str(&run_with(skopeo, b"").ok()).expect("a manifest")
    }

    /// The file that holds a blob, for tests that damage it.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// The storage directory.
    pub fn storage(&self) -> &Path {
        &self.storage
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(inner) = only_child(self.child.id()).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(inner, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
