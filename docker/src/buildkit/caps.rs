//! PURE. What clients may ask for: the names are BuildKit's, and what is not in the lists is not built.

use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;

/// Of the bridge.
const FRONTEND: [&str; 11] = [
    "solve.base",
    "solve.inlinereturn",
    "readfile",
    "return",
    "returnmap",
    "statfile",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "frontend.caps",
];

/// Of the bridge, since evaluating and warning came later.
const FRONTEND_LATER: [&str; 3] = ["gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings"];

/// Of graphs. Clients look them up before they use an option of a front-end that needs them.
const GRAPH: [&str; 26] = [
    "source.image",
    "source.image.resolvemode",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "exec.meta.base",
    "exec.meta.cgroup.parent",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.setsdefaultpath",
    "exec.meta.ulimit",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.secret",
    "exec.mount.ssh",
    "file.base",
    "constraints",
    "platform",
    "meta.description",
];

fn all(names: &[&str]) -> Vec<ApiCap> {
    let cap = |name: &&str| ApiCap { id: (*name).to_owned(), enabled: true, ..ApiCap::default() };
    names.iter().map(cap).collect()
}

/// What the bridge can do.
pub(super) fn frontend() -> Vec<ApiCap> {
    let mut caps = all(&FRONTEND);
    caps.extend(all(&FRONTEND_LATER));
    caps
}

/// What graphs may have.
pub(super) fn graph() -> Vec<ApiCap> {
    all(&GRAPH)
}
