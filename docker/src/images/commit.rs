//! `POST /commit`: an image of a container.

use docker_api::container::Config;
use docker_api::image::CommitResponse;
use engine::container::CommitRequest;
use engine::image::{Healthcheck, ImageConfig, Reference};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

pub(crate) async fn commit(mut call: Call) -> Outcome {
    let config: Option<Config> = call.json::<Option<Config>>().await?.flatten();
    let query = &call.query;
    let request = CommitRequest {
        reference: name(query.text("repo"), query.text("tag"))?,
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        changes: changes(&query.all("changes")),
        config: config.map(image_config),
        pause: query.flag_or("pause", true),
    };
    let id = call.engine().container(query.text("container"))?.commit(request).await?;
    reply::json(StatusCode::CREATED, &CommitResponse { id: id.to_string() })
}

/// `repo` and `tag` joined; nothing without a repository.
pub(crate) fn name(repo: &str, tag: &str) -> Result<Option<Reference>, Failure> {
    if repo.is_empty() {
        return match tag {
            "" => Ok(None),
            _ => Err(Failure::bad_request("query tag: a tag needs query repo")),
        };
    }
    let text = if tag.is_empty() { repo.to_owned() } else { format!("{repo}:{tag}") };
    let reference: Reference = text.parse().map_err(Failure::from)?;
    if reference.digest().is_some() {
        return Err(Failure::bad_request("cannot use digest reference"));
    }
    Ok(Some(reference.or_latest()))
}

/// Each value may hold several lines.
pub(crate) fn changes(values: &[String]) -> Vec<String> {
    let lines = values.iter().flat_map(|value| value.lines());
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What of a container's configuration an image can have.
fn image_config(config: Config) -> ImageConfig {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    ImageConfig {
        user: config.user,
        exposed_ports: config.exposed_ports.into_keys().collect(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.map(|words| words.0),
        cmd: config.cmd.map(|words| words.0),
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: text(config.stop_signal),
        healthcheck: config.healthcheck.map(|check| Healthcheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: config.on_build.unwrap_or_default(),
        shell: config.shell.map(|words| words.0),
        args_escaped: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_have_no_name_but_no_tag_alone() {
        assert!(name("", "").unwrap().is_none());
        assert_eq!(name("team/tool", "").unwrap().unwrap().familiar(), "team/tool:latest");
        assert_eq!(name("localhost:5000/x", "1").unwrap().unwrap().familiar(), "localhost:5000/x:1");
        assert!(name("", "1").is_err() && name("Bad", "").is_err());
        assert_eq!(changes(&["CMD a\n\nENV b=c".to_owned()]), ["CMD a", "ENV b=c"]);
    }
}
