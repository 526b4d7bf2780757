//! A container's file system as an archive (`export`) and as an image (`commit`).

use std::path::Path;

use sys::rooted::RootFd;

use crate::archive::pack::{Marks, Packer};
use crate::archive::{ArchiveStream, stream};
use crate::container::changes::runtime_made;
use crate::container::root_tree::{self, Access};
use crate::container::{ContainerHandle, ContainerView, Phase};
use crate::error::{Error, Result};
use crate::id::{ImageId, Owner};
use crate::image::{ComposeRequest, Healthcheck, ImageConfig, Reference};
use crate::snapshot::SnapshotKey;

/// What a commit makes.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The name of the image, if it gets one.
    pub reference: Option<Reference>,
    /// Free text.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Dockerfile instructions that change the configuration.
    pub changes: Vec<String>,
    /// What takes the place of the container's own configuration, field by field.
    pub config: Option<ImageConfig>,
    /// The container is frozen while its files are read.
    pub pause: bool,
}

/// See [`ContainerHandle::export`].
pub(super) async fn export(container: &ContainerHandle) -> Result<ArchiveStream> {
    let tree = root_tree::open_bare(container, Access::Read).await?;
    Ok(stream(move |sink| {
        let mut packer = Packer::new(sink, Marks::None);
        packer.tree(&tree.root.open_dir(Path::new(""))?, b"")?;
        packer.finish().map(|_| ())
    }))
}

/// See [`ContainerHandle::commit`].
pub(super) async fn commit(container: &ContainerHandle, request: CommitRequest) -> Result<ImageId> {
    let view = container.view();
    if matches!(view.phase, Phase::Removing | Phase::Dead) {
        return Err(Error::conflict(format!("You cannot commit container {} which is {:?}", view.id, view.phase)));
    }
    let images = container.core.images.clone();
    let parent = images.get(&view.image_id.to_string())?;
    let mut config = container_config(&view, &parent.config);
    if let Some(given) = request.config {
        override_config(&mut config, given);
    }
    let config = crate::build::changed(config, &request.changes)?;
    let key: SnapshotKey = view.id.as_str().parse()?;
    let upper = container.core.snapshots.upper_dir(&key)?;
    let upper = upper.ok_or_else(|| Error::internal("a container without a writable layer"))?;
    let frozen = request.pause && view.phase == Phase::Running && container.pause().await.is_ok();
    let layer = images
        .spool_layer(move |sink| {
            let upper = RootFd::open(&upper)?.open_dir(Path::new(""))?;
            let mut packer = Packer::new(sink, Marks::Layer);
            packer.leave_out(runtime_made(&upper));
            packer.tree(&upper, b"")?;
            packer.finish().map(|_| ())
        })
        .await;
    if frozen && let Err(error) = container.unpause().await {
        tracing::warn!(%error, "a container that was committed stays frozen");
    }
    let command: Vec<String> = std::iter::once(view.resolved.path.clone()).chain(view.resolved.args.clone()).collect();
    let made = ComposeRequest {
        parent: Some(parent.id),
        config,
        author: request.author,
        comment: request.comment,
        created_by: command.join(" "),
        platform: None,
        reference: request.reference,
        owner: Owner::Docker,
    };
    images.compose(layer?, made).await
}

/// What the container runs with, as an image's configuration.
fn container_config(view: &ContainerView, parent: &ImageConfig) -> ImageConfig {
    let resolved = &view.resolved;
    let text = |list: &[String]| if list.is_empty() { None } else { Some(list.to_vec()) };
    let health = view.spec.health.as_ref().map(|health| Healthcheck {
        test: health.test.clone(),
        interval: health.interval_ns,
        timeout: health.timeout_ns,
        start_period: health.start_period_ns,
        start_interval: health.start_interval_ns,
        retries: i64::from(health.retries),
    });
    ImageConfig {
        user: resolved.user.clone(),
        exposed_ports: resolved.exposed_ports.clone(),
        env: resolved.env.clone(),
        entrypoint: text(&resolved.entrypoint),
        cmd: text(&resolved.cmd),
        volumes: resolved.volumes.clone(),
        working_dir: resolved.cwd.clone(),
        labels: resolved.labels.clone(),
        stop_signal: parent
            .stop_signal
            .clone()
            .or_else(|| Some(view.spec.stop_signal.clone()).filter(|signal| !signal.is_empty())),
        healthcheck: health.or_else(|| parent.healthcheck.clone()),
        on_build: parent.on_build.clone(),
        shell: parent.shell.clone(),
        args_escaped: parent.args_escaped,
    }
}

/// docker's merge: what is given wins, maps and lists of environment are joined.
fn override_config(config: &mut ImageConfig, given: ImageConfig) {
    if !given.user.is_empty() {
        config.user = given.user;
    }
    if !given.working_dir.is_empty() {
        config.working_dir = given.working_dir;
    }
    for entry in given.env {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        config.env.retain(|known| known.split('=').next() != Some(&name));
        config.env.push(entry);
    }
    for (list, more) in [(&mut config.exposed_ports, given.exposed_ports), (&mut config.volumes, given.volumes)] {
        list.extend(more);
        list.sort();
        list.dedup();
    }
    config.labels.extend(given.labels);
    if given.entrypoint.is_some() {
        config.entrypoint = given.entrypoint;
        config.cmd = None;
    }
    config.cmd = given.cmd.or(config.cmd.take());
    config.stop_signal = given.stop_signal.or(config.stop_signal.take());
    config.healthcheck = given.healthcheck.or(config.healthcheck.take());
    config.shell = given.shell.or(config.shell.take());
    if !given.on_build.is_empty() {
        config.on_build = given.on_build;
    }
}
