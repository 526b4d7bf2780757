//! `/networks`.

pub(crate) mod connect;

use docker_api::network::{NetworkCreate, NetworkCreated, NetworkPrune};
use engine::Engine;
use engine::event::{NewEvent, ObjectKind};
use engine::id::Owner;
use engine::network::{IpamPool, NetworkSpec, NetworkView};
use http::StatusCode;

use crate::call::Call;
use crate::containers::list::names;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::time;
use crate::view;

pub(crate) async fn list(call: Call) -> Outcome {
    let accepted = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = Filters::parse(&call.query, &accepted)?;
    let dangling = filters.boolean("dangling")?;
    let name_patterns = names(&filters, "name")?;
    if let Some(word) = filters.values("type").find(|word| !matches!(*word, "custom" | "builtin")) {
        return Err(Failure::bad_request(format!("invalid filter: 'type'='{word}'")));
    }
    let wanted = |network: &NetworkView| {
        let kind = if network.predefined { "builtin" } else { "custom" };
        (name_patterns.is_empty() || name_patterns.iter().any(|name| name.is_match(&network.name)))
            && filters.any("id", |prefix| network.id.as_str().starts_with(prefix))
            && filters.exact("driver", &network.driver)
            && filters.exact("scope", "local")
            && filters.exact("type", kind)
            && filters.labels("label", &network.labels)
            && dangling.is_none_or(|dangling| dangling == (!network.predefined && network.endpoints.is_empty()))
    };
    let networks = call.engine().networks().list();
    let rows: Vec<_> = networks
        .iter()
        .filter(|network| wanted(network))
        .map(|network| view::network::network(network, None))
        .collect();
    reply::ok(&rows)
}

pub(crate) async fn inspect(call: Call) -> Outcome {
    if let Some(scope) = call.query.get("scope").filter(|scope| !matches!(*scope, "" | "local")) {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("network {} not found in scope {scope}", call.name())));
    }
    let network = call.engine().networks().get(call.name())?;
    let engine = call.engine();
    let find = |sandbox: &engine::id::SandboxId| container_of(engine, sandbox);
    reply::ok(&view::network::network(&network, Some(&find)))
}

/// Id and name of the container that an endpoint is shown for: the sandbox's first.
fn container_of(engine: &Engine, sandbox: &engine::id::SandboxId) -> Option<(String, String)> {
    let containers = engine.containers();
    let container = containers.iter().rfind(|container| container.sandbox_id == *sandbox)?;
    Some((container.id.to_string(), container.name.clone()))
}

pub(crate) async fn create(mut call: Call) -> Outcome {
    let wanted: NetworkCreate = call.required_json().await?;
    let spec = spec(wanted)?;
    let network = call.engine().networks().create(spec).await?;
    call.engine().publish(event("create", &network)).await;
    reply::json(StatusCode::CREATED, &NetworkCreated { id: network.id.to_string(), warning: String::new() })
}

/// PURE. The body -> what the engine is asked for.
fn spec(wanted: NetworkCreate) -> Result<NetworkSpec, Failure> {
    let refuse = |what: &str| Err(Failure::bad_request(format!("{what}: this engine is not part of a swarm")));
    if wanted.ingress {
        return refuse("Ingress");
    }
    if !matches!(wanted.scope.as_str(), "" | "local") {
        return refuse("Scope");
    }
    if wanted.config_only || wanted.config_from.is_some_and(|from| !from.network.is_empty()) {
        return refuse("ConfigOnly and ConfigFrom");
    }
    let ipam = wanted.ipam.unwrap_or_default();
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    Ok(NetworkSpec {
        name: wanted.name,
        driver: or(wanted.driver, "bridge"),
        owner: Owner::Docker,
        internal: wanted.internal,
        attachable: wanted.attachable,
        enable_ipv4: wanted.enable_ipv4.unwrap_or(true),
        enable_ipv6: wanted.enable_ipv6.unwrap_or(false),
        ipam_driver: or(ipam.driver, "default"),
        ipam: ipam.config.unwrap_or_default().into_iter().map(pool).collect::<Result<_, _>>()?,
        ipam_options: ipam.options.unwrap_or_default(),
        options: wanted.options,
        labels: wanted.labels,
    })
}

fn pool(config: docker_api::network::IpamConfig) -> Result<IpamPool, Failure> {
    fn read<T: std::str::FromStr>(field: &str, text: &str) -> Result<Option<T>, Failure> {
        match text {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("invalid IPAM.Config.{field}: {text:?}"))),
        }
    }
    let addresses = config.aux_addresses.iter().map(|(name, text)| {
        let ip = read("AuxiliaryAddresses", text)?;
        ip.map(|ip| (name.clone(), ip))
            .ok_or_else(|| Failure::bad_request(format!("invalid IPAM.Config.AuxiliaryAddresses.{name}: empty")))
    });
    Ok(IpamPool {
        subnet: read("Subnet", &config.subnet)?,
        ip_range: read("IPRange", &config.ip_range)?,
        gateway: read("Gateway", &config.gateway)?,
        aux_addresses: addresses.collect::<Result<_, _>>()?,
    })
}

fn event(action: &str, network: &NetworkView) -> NewEvent {
    NewEvent::network(action, network.id.to_string(), &network.name, &network.driver)
}

pub(crate) async fn remove(call: Call) -> Outcome {
    let network = call.engine().networks().get(call.name())?;
    call.engine().networks().remove(network.id.as_str()).await?;
    call.engine().publish(event("destroy", &network)).await;
    reply::no_content()
}

pub(crate) async fn prune(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, &["label", "label!", "until"])?;
    let until = time::parse("until", filters.values("until").next().unwrap_or_default(), time::now_ns())?;
    let wanted = move |network: &NetworkView| {
        let old = until.is_none_or(|until| network.created.as_nanosecond() < i128::from(until));
        network.owner == Owner::Docker && old && filters.prune_labels(&network.labels)
    };
    let before = call.engine().networks().list();
    let deleted = call.engine().networks().prune(wanted).await?;
    for network in before.iter().filter(|network| deleted.contains(&network.name)) {
        call.engine().publish(event("destroy", network)).await;
    }
    call.engine().publish(NewEvent::pruned(ObjectKind::Network, 0)).await;
    reply::ok(&NetworkPrune { networks_deleted: (!deleted.is_empty()).then_some(deleted) })
}
