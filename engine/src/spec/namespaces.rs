//! The namespaces of a runtime spec.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use crate::error::Result;
use crate::spec::build::built;
use crate::spec::facts::{NamespaceAt, SandboxFacts};

/// All of them, in a fixed order; the host's are not listed.
pub(super) fn all(sandbox: &SandboxFacts) -> Result<Vec<LinuxNamespace>> {
    let user = sandbox.user.as_ref().map_or(&NamespaceAt::Host, |user| &user.at);
    let wanted = [
        (LinuxNamespaceType::User, user),
        (LinuxNamespaceType::Mount, &NamespaceAt::New),
        (LinuxNamespaceType::Network, &sandbox.network),
        (LinuxNamespaceType::Uts, &sandbox.uts),
        (LinuxNamespaceType::Pid, &sandbox.pid),
        (LinuxNamespaceType::Ipc, &sandbox.ipc),
        (LinuxNamespaceType::Cgroup, &sandbox.cgroup),
    ];
    let mut namespaces = Vec::with_capacity(wanted.len());
    for (kind, at) in wanted {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match at {
            NamespaceAt::Host => {}
            NamespaceAt::New => namespaces.push(built(builder.build())?),
            NamespaceAt::Path(path) => namespaces.push(built(builder.path(path).build())?),
        }
    }
    Ok(namespaces)
}
