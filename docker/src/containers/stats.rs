//! `GET /containers/{id}/stats`: a sample each second, or one.

use std::time::Duration;

use docker_api::stats::Stats;
use engine::{ContainerHandle, ErrorKind};
use tokio::time::Instant;

use crate::call::Call;
use crate::reply::{self, Outcome, Pieces};
use crate::status_code::Failure;
use crate::view::stats::{Machine, machine_cpu_ns, stats, stopped};

/// Time between samples.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) async fn get(call: Call) -> Outcome {
    let container = call.container()?;
    let follow = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot");
    if follow && one_shot {
        return Err(Failure::bad_request("cannot have stream=true and one-shot=true"));
    }
    let info = call.engine().info();
    let machine =
        Machine { cpu_ns: 0, cpus: u32::try_from(info.cpus).unwrap_or(u32::MAX), memory_bytes: info.memory_bytes };
    if !follow {
        let first = sample(&container, machine, None).await?;
        if one_shot || first.read == first.preread {
            return reply::ok(&first);
        }
        // The percentage of one answer needs a sample before it.
        tokio::time::sleep(PERIOD).await;
        return reply::ok(&sample(&container, machine, Some(&first)).await?);
    }
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(stream(container, machine, pieces));
    Ok(response)
}

async fn stream(container: ContainerHandle, machine: Machine, pieces: Pieces) {
    let mut before: Option<Stats> = None;
    let mut next = Instant::now();
    let removed = container.wait(engine::container::WaitCondition::Removed);
    tokio::pin!(removed);
    loop {
        let Ok(now) = sample(&container, machine, before.as_ref()).await else { return };
        if pieces.line(&now, "\n").await.is_err() {
            return;
        }
        before = Some(now);
        next += PERIOD;
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            _ = &mut removed => return,
            () = pieces.closed() => return,
        }
    }
}

/// A sample; zeros while the container does not run.
async fn sample(container: &ContainerHandle, machine: Machine, before: Option<&Stats>) -> Result<Stats, engine::Error> {
    let view = container.view();
    let (name, id) = (view.name.as_str(), view.id.as_str());
    match container.stats().await {
        Ok(sample) => {
            let proc_stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
            let machine = Machine { cpu_ns: machine_cpu_ns(&proc_stat), ..machine };
            Ok(stats(name, id, &sample, machine, before))
        }
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(stopped(name, id)),
        Err(error) => Err(error),
    }
}
