//! From the configuration to two open doors, and back down when a signal comes.

use std::time::Duration;

use engine::Engine;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DockerConfig};
use crate::sockets::{self, Activated, Listener};

/// For calls under way when the daemon is told to stop.
const STOP_MS_MAX: u64 = 10_000;

/// Serves until SIGTERM or SIGINT. Containers go on: they belong to their shims.
pub(crate) async fn run(config: Config) -> Result<(), String> {
    let mut activated = Activated::take();
    let started = std::time::Instant::now();
    let engine = Engine::open(config.engine()).await.map_err(|e| e.to_string())?;
    let stop = CancellationToken::new();
    let mut doors = JoinSet::new();
    open_docker(&config, &engine, &mut activated, &stop, &mut doors).await?;
    open_cri(&config, &engine, &mut activated, &stop, &mut doors).await?;
    tell_systemd(&sd_notify::NotifyState::Ready);
    let millis = started.elapsed().as_millis();
    tracing::info!(docker = ?config.docker.listen, cri = config.cri.listen, root = %config.root.display(), millis, "serving");
    let result = tokio::select! {
        () = told_to_stop() => Ok(()),
        Some(ended) = doors.join_next() => Err(ended.map_or_else(|e| e.to_string(), |result| result.err().unwrap_or_else(|| "a door has closed".into()))),
    };
    tell_systemd(&sd_notify::NotifyState::Stopping);
    tracing::info!("stopping: calls under way are finished, containers go on");
    stop.cancel();
    let all = async { while doors.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), all).await.is_err() {
        tracing::warn!(waited_ms = STOP_MS_MAX, "some calls did not end in time and are cut off");
    }
    engine.close().await;
    for address in config.docker.listen.iter().chain([&config.cri.listen]) {
        sockets::unlink(address);
    }
    result
}

type Doors = JoinSet<Result<(), String>>;

async fn open_docker(
    config: &Config,
    engine: &Engine,
    activated: &mut Activated,
    stop: &CancellationToken,
    doors: &mut Doors,
) -> Result<(), String> {
    let mut listeners = Vec::new();
    for address in &config.docker.listen {
        listeners.push(match sockets::bind(address, "docker", &config.docker.group, activated).await? {
            Listener::Unix(listener) => docker::Listener::Unix(listener),
            Listener::Tcp(listener) => docker::Listener::Tls(listener, docker::tls_config(&tls_files(&config.docker))?),
        });
    }
    if listeners.is_empty() {
        return Ok(());
    }
    let settings = config.docker.settings()?;
    let (engine, stop) = (engine.clone(), stop.clone());
    doors.spawn(async move {
        docker::serve(engine, listeners, settings, stop).await.map_err(|e| format!("docker door: {e}"))
    });
    Ok(())
}

fn tls_files(config: &DockerConfig) -> docker::TlsFiles {
    docker::TlsFiles { ca: config.tls_ca.clone(), cert: config.tls_cert.clone(), key: config.tls_key.clone() }
}

async fn open_cri(
    config: &Config,
    engine: &Engine,
    activated: &mut Activated,
    stop: &CancellationToken,
    doors: &mut Doors,
) -> Result<(), String> {
    if config.cri.listen.is_empty() {
        return Ok(());
    }
    let Listener::Unix(listener) = sockets::bind(&config.cri.listen, "cri", "", activated).await? else {
        return Err(format!("cri.listen: {}: the CRI is served on a unix socket only", config.cri.listen));
    };
    let streaming = match config.cri.streaming_listen.as_str() {
        "" => None,
        address => Some(sockets::bind_streaming(address).await?),
    };
    let listeners = cri::Listeners { grpc: listener, streaming };
    let (engine, stop) = (engine.clone(), stop.clone());
    doors.spawn(async move {
        cri::serve(engine, listeners, stop.cancelled_owned()).await.map_err(|e| format!("CRI door: {e}"))
    });
    Ok(())
}

async fn told_to_stop() {
    let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = streams else {
        tracing::error!("signals cannot be waited for: only SIGKILL will end this daemon");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn tell_systemd(state: &sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, std::slice::from_ref(state)) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
