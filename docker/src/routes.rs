//! THE list of endpoints: method, path, function.
//!
//! Every endpoint of the one-machine API stands here. What is not built answers 501 and says so by name; what needs a
//! swarm answers 503 with docker's sentence. Fixed paths stand before those with parameters.

use std::future::Future;
use std::pin::Pin;

use crate::call::Call;
use crate::reply::Outcome;
use crate::{build, buildkit, containers, exec, images, networks, pods, system, volumes};

use Action::{NotBuilt, Swarm};

/// A function that answers a request.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What is done with a request.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// It is answered by this function.
    Run(Handler),
    /// 501: the endpoint is known and what it does is not built.
    NotBuilt(&'static str),
    /// 503: only a swarm has it.
    Swarm,
}

/// One endpoint.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) pattern: &'static str,
    pub(crate) action: Action,
}

const fn route(method: &'static str, pattern: &'static str, action: Action) -> Route {
    Route { method, pattern, action }
}

macro_rules! run {
    ($function:path) => {
        Action::Run(|call| Box::pin($function(call)))
    };
}

/// All endpoints, tried in order.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    route("POST", "/containers/create", run!(containers::create::create)),
    route("GET", "/containers/json", run!(containers::list::list)),
    route("POST", "/containers/prune", run!(containers::prune::prune)),
    route("GET", "/containers/{id}/attach/ws", run!(containers::attach_ws::attach)),
    route("GET", "/containers/{id}/archive", run!(containers::archive::get)),
    route("HEAD", "/containers/{id}/archive", run!(containers::archive::head)),
    route("PUT", "/containers/{id}/archive", run!(containers::archive::put)),
    route("GET", "/containers/{id}/changes", run!(containers::changes::changes)),
    route("POST", "/containers/{id}/restart", run!(containers::lifecycle::restart)),
    route("POST", "/containers/{id}/unpause", run!(containers::lifecycle::unpause)),
    route("POST", "/containers/{id}/attach", run!(containers::attach::attach)),
    route("GET", "/containers/{id}/export", run!(containers::changes::export)),
    route("POST", "/containers/{id}/rename", run!(containers::lifecycle::rename)),
    route("POST", "/containers/{id}/resize", run!(containers::lifecycle::resize)),
    route("POST", "/containers/{id}/update", run!(containers::update::update)),
    route("POST", "/containers/{id}/pause", run!(containers::lifecycle::pause)),
    route("POST", "/containers/{id}/start", run!(containers::lifecycle::start)),
    route("GET", "/containers/{id}/stats", run!(containers::stats::get)),
    route("GET", "/containers/{id}/json", run!(containers::inspect::inspect)),
    route("POST", "/containers/{id}/kill", run!(containers::lifecycle::kill)),
    route("GET", "/containers/{id}/logs", run!(containers::logs::logs)),
    route("POST", "/containers/{id}/stop", run!(containers::lifecycle::stop)),
    route("POST", "/containers/{id}/wait", run!(containers::wait::wait)),
    route("GET", "/containers/{id}/top", run!(containers::top::top)),
    route("DELETE", "/containers/{id}", run!(containers::lifecycle::remove)),

    route("POST", "/containers/{id}/exec", run!(containers::exec::create)),
    route("POST", "/exec/{id}/resize", run!(exec::resize)),
    route("POST", "/exec/{id}/start", run!(exec::start)),
    route("GET", "/exec/{id}/json", run!(exec::inspect)),

    route("POST", "/commit", run!(images::commit::commit)),
    route("POST", "/images/create", run!(images::pull::create)),
    route("GET", "/images/get", run!(images::archive::save_many)),
    route("GET", "/images/json", run!(images::list::list)),
    route("POST", "/images/load", run!(images::archive::load)),
    route("POST", "/images/prune", run!(images::remove::prune)),
    route("GET", "/images/search", run!(images::search::search)),
    route("GET", "/images/{name*}/attestations", NotBuilt("listing attestations")),
    route("GET", "/images/{name*}/history", run!(images::history)),
    route("GET", "/images/{name*}/json", run!(images::inspect)),
    route("POST", "/images/{name*}/push", run!(images::push::push)),
    route("GET", "/images/{name*}/get", run!(images::archive::save_one)),
    route("POST", "/images/{name*}/tag", run!(images::tag)),
    route("DELETE", "/images/{name*}", run!(images::remove::remove)),

    route("POST", "/build", run!(build::build)),
    route("POST", "/build/cancel", run!(build::cancel)),
    route("POST", "/build/prune", run!(build::prune)),

    route("GET", "/networks", run!(networks::list)),
    route("POST", "/networks/create", run!(networks::create)),
    route("POST", "/networks/prune", run!(networks::prune)),
    route("POST", "/networks/{id}/disconnect", run!(networks::connect::disconnect)),
    route("POST", "/networks/{id}/connect", run!(networks::connect::connect)),
    route("DELETE", "/networks/{id}", run!(networks::remove)),
    route("GET", "/networks/{id}", run!(networks::inspect)),

    route("GET", "/pods/json", run!(pods::list)),
    route("GET", "/pods/{name*}/json", run!(pods::inspect)),

    route("GET", "/volumes", run!(volumes::list)),
    route("POST", "/volumes/create", run!(volumes::create)),
    route("POST", "/volumes/prune", run!(volumes::prune)),
    route("DELETE", "/volumes/{id}", run!(volumes::remove)),
    route("GET", "/volumes/{id}", run!(volumes::inspect)),
    route("PUT", "/volumes/{id}", NotBuilt("updating a volume (cluster volumes of a swarm)")),

    route("GET", "/_ping", run!(system::ping::ping)),
    route("HEAD", "/_ping", run!(system::ping::ping)),
    route("GET", "/events", run!(system::events::events)),
    route("GET", "/info", run!(system::info::info)),
    route("GET", "/leaks", run!(system::leaks::leaks)),
    route("GET", "/system/df", run!(system::df::df)),
    route("GET", "/version", run!(system::version::version)),

    route("POST", "/auth", run!(images::login)),
    route("GET", "/distribution/{name*}/json", run!(images::distribution::inspect)),

    route("POST", "/grpc", run!(buildkit::grpc)),
    route("POST", "/session", run!(buildkit::session)),

    route("DELETE", "/containers/{id}/checkpoints/{checkpoint}", run!(containers::checkpoint::remove)),
    route("GET", "/containers/{id}/checkpoints", run!(containers::checkpoint::list)),
    route("POST", "/containers/{id}/checkpoints", run!(containers::checkpoint::create)),

    route("GET", "/plugins", run!(system::plugins)),
    route("POST", "/plugins/create", NotBuilt("managing plugins")),
    route("GET", "/plugins/privileges", NotBuilt("managing plugins")),
    route("POST", "/plugins/pull", NotBuilt("managing plugins")),
    route("POST", "/plugins/{name*}/disable", run!(system::no_such_plugin)),
    route("POST", "/plugins/{name*}/upgrade", run!(system::no_such_plugin)),
    route("POST", "/plugins/{name*}/enable", run!(system::no_such_plugin)),
    route("GET", "/plugins/{name*}/json", run!(system::no_such_plugin)),
    route("POST", "/plugins/{name*}/push", run!(system::no_such_plugin)),
    route("POST", "/plugins/{name*}/set", run!(system::no_such_plugin)),
    route("DELETE", "/plugins/{name*}", run!(system::no_such_plugin)),

    route("GET", "/configs", Swarm),
    route("POST", "/configs/create", Swarm),
    route("GET", "/nodes", Swarm),
    route("GET", "/secrets", Swarm),
    route("POST", "/secrets/create", Swarm),
    route("GET", "/services", Swarm),
    route("POST", "/services/create", Swarm),
    route("GET", "/swarm", Swarm),
    route("POST", "/swarm/init", Swarm),
    route("POST", "/swarm/join", Swarm),
    route("POST", "/swarm/leave", Swarm),
    route("POST", "/swarm/unlock", Swarm),
    route("GET", "/swarm/unlockkey", Swarm),
    route("POST", "/swarm/update", Swarm),
    route("GET", "/tasks", Swarm),
    route("POST", "/configs/{id}/update", Swarm),
    route("DELETE", "/configs/{id}", Swarm),
    route("GET", "/configs/{id}", Swarm),
    route("POST", "/nodes/{id}/update", Swarm),
    route("DELETE", "/nodes/{id}", Swarm),
    route("GET", "/nodes/{id}", Swarm),
    route("POST", "/secrets/{id}/update", Swarm),
    route("DELETE", "/secrets/{id}", Swarm),
    route("GET", "/secrets/{id}", Swarm),
    route("POST", "/services/{id}/update", Swarm),
    route("GET", "/services/{id}/logs", Swarm),
    route("DELETE", "/services/{id}", Swarm),
    route("GET", "/services/{id}", Swarm),
    route("GET", "/tasks/{id}/logs", Swarm),
    route("GET", "/tasks/{id}", Swarm),
];
