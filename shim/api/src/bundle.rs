//! Where the files of a shim are. The engine makes the folders and `config.json`; the shim makes the rest.
//!
//! ```text
//! <run>/shim/<sandbox-id>/             bundle of the shim, 0700
//!     shim.sock                        ttrpc, 0600
//!     attach.sock                      streams of every process of the sandbox, 0600 (see `attach`)
//!     shim.log                         what the shim has to say
//!     cgroup                           cgroup of the sandbox's own init, while there is one
//!     <container-id>/                  bundle of a container (Create's `bundle`)
//!         config.json                  OCI runtime spec, written before Create
//!         other-shim.json              OtherShim, while another shim runs the container
//!         io/<exec-id>/std{in,out,err} FIFOs to that shim; exec-id is `init` for the first process
//!         exit.json                    ExitRecord of the first process, until Delete
//!         exec/<exec-id>.json          ExitRecord of an exec, until Delete
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::options::ExitRecord;

/// Largest record that is read back.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// Bundle folder of a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimBundle {
    folder: PathBuf,
}

impl ShimBundle {
    /// The bundle of `sandbox_id` under the engine's run root.
    #[must_use]
    pub fn new(run_root: &Path, sandbox_id: &str) -> Self {
        Self { folder: run_root.join("shim").join(sandbox_id) }
    }

    /// A bundle at a known folder.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ttrpc socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("shim.sock")
    }

    /// The attach socket.
    #[must_use]
    pub fn attach_socket(&self) -> PathBuf {
        self.folder.join("attach.sock")
    }

    /// The shim's own log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("shim.log")
    }

    /// What a bind mount of shared memory names as its source; nothing is mounted there.
    #[must_use]
    pub fn shm(&self) -> PathBuf {
        self.folder.join("shm")
    }

    /// Where the cgroup of the sandbox's own init is written, while there is one.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        self.folder.join("cgroup")
    }

    /// The bundle of a container of this sandbox.
    #[must_use]
    pub fn container(&self, container_id: &str) -> ContainerBundle {
        ContainerBundle { folder: self.folder.join(container_id) }
    }
}

/// The process of another shim that runs a container for ours, for whoever clears up after both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherShim {
    /// Its process id; 0 when it did not say.
    pub pid: i32,
    /// Its ttrpc socket.
    pub socket: PathBuf,
}

/// Bundle folder of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerBundle {
    folder: PathBuf,
}

impl ContainerBundle {
    /// A bundle at a known folder.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The OCI runtime spec.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.json")
    }

    /// What a bind mount of shared memory names as its source, see [`ShimBundle::shm`].
    #[must_use]
    pub fn shm(&self) -> PathBuf {
        self.folder.with_file_name("shm")
    }

    /// Where it is written which other shim runs the container.
    #[must_use]
    pub fn other_shim(&self) -> PathBuf {
        self.folder.join("other-shim.json")
    }

    /// The folder of the FIFOs of a process that another shim runs.
    #[must_use]
    pub fn fifos(&self, exec_id: &str) -> PathBuf {
        self.folder.join("io").join(if exec_id.is_empty() { "init" } else { exec_id })
    }

    /// The record of the end of a process; the first one for an empty `exec_id`.
    #[must_use]
    pub fn exit_record(&self, exec_id: &str) -> PathBuf {
        if exec_id.is_empty() {
            self.folder.join("exit.json")
        } else {
            self.folder.join("exec").join(format!("{exec_id}.json"))
        }
    }

    /// Reads an exit record; `None` when there is none (still running, or collected).
    ///
    /// # Errors
    /// What the file system says; `InvalidData` for a record that cannot be read.
    pub fn read_exit(&self, exec_id: &str) -> io::Result<Option<ExitRecord>> {
        let path = self.exit_record(exec_id);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        match std::fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(named(e)),
            Ok(meta) if meta.len() > RECORD_BYTES_MAX => {
                return Err(named(io::Error::new(io::ErrorKind::InvalidData, "too large for an exit record")));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path).map_err(named)?;
        serde_json::from_slice(&text).map(Some).map_err(|e| named(io::Error::new(io::ErrorKind::InvalidData, e)))
    }

    /// Writes an exit record: complete or not at all, as seen by readers.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_exit(&self, exec_id: &str, record: &ExitRecord) -> io::Result<()> {
        let path = self.exit_record(exec_id);
        if let Some(folder) = path.parent().filter(|_| !exec_id.is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("json.new");
        std::fs::write(&temporary, serde_json::to_vec(record).map_err(io::Error::other)?)?;
        std::fs::rename(&temporary, &path)
    }

    /// Forgets an exit record.
    ///
    /// # Errors
    /// What the file system says; a missing record is fine.
    pub fn remove_exit(&self, exec_id: &str) -> io::Result<()> {
        match std::fs::remove_file(self.exit_record(exec_id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
