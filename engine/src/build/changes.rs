//! PURE. Instructions by themselves, on a configuration that is there: `commit --change` and `import --change`.

use crate::error::{Error, Result};
use crate::image::{ImageConfig, Platform};

use super::dockerfile::{Kind, parse_trigger};
use super::state::State;

const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a configuration becomes by instructions, in their order.
///
/// # Errors
/// `InvalidArgument` naming the instruction and what is wrong with it.
pub(crate) fn changed(config: ImageConfig, changes: &[String]) -> Result<ImageConfig> {
    let mut state = State::empty(Platform::host(), '\\');
    state.config = config;
    for line in changes {
        change(&mut state, line.trim()).map_err(|error| Error::invalid(format!("change {line:?}: {error}")))?;
    }
    Ok(state.config)
}

fn change(state: &mut State, line: &str) -> Result<()> {
    let keyword = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !ALLOWED.contains(&keyword.as_str()) {
        return Err(Error::invalid(format!("{keyword} is not a valid change command ({})", ALLOWED.join("|"))));
    }
    let instruction = parse_trigger(line).map_err(|error| Error::invalid(error.message))?;
    if let Kind::Workdir(path) = &instruction.kind {
        state.config.working_dir = state.path(&state.word(path)?);
        return Ok(());
    }
    state.apply(&instruction).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_by(lines: &[&str]) -> Result<ImageConfig> {
        let config = ImageConfig { env: vec!["HOME=/root".into()], ..ImageConfig::default() };
        changed(config, &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn instructions_change_what_they_name() {
        let config = changed_by(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint /run me",
            "ENV A=1 B=\"two words\" C=${HOME}/x D='$HOME'",
            "ENV OLD the rest of it",
            "LABEL one=1 \"two\"=2",
            "EXPOSE 80 53/udp 8000-8002",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "USER 1000:50",
            "WORKDIR /srv",
            "WORKDIR app",
            "STOPSIGNAL SIGUSR1",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl localhost",
        ])
        .unwrap();
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "/run me"]);
        assert_eq!(config.cmd.unwrap(), ["a", "b c"], "a command that is given too stays");
        assert_eq!(config.env, ["HOME=/root", "A=1", "B=two words", "C=/root/x", "D=$HOME", "OLD=the rest of it"]);
        assert_eq!(
            config.labels.into_iter().collect::<Vec<_>>(),
            [("one".into(), "1".into()), ("two".into(), "2".into())]
        );
        assert_eq!(config.exposed_ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(config.volumes, ["/a", "/b", "/data"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:50", "/srv/app"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGUSR1"));
        assert_eq!(config.on_build, ["RUN make"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(
            (check.test, check.interval, check.retries),
            (vec!["CMD-SHELL".into(), "curl localhost".into()], 90_000_000_000, 2)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |line: &str| changed_by(&[line]).unwrap_err().to_string();
        assert!(refused("RUN make").contains("RUN is not a valid change command"));
        assert!(refused("ENV").contains("requires at least one argument"));
        assert!(refused("EXPOSE lots").contains("invalid containerPort: lots"));
        assert!(refused("ENV A=\"x").contains("unexpected end of statement"));
        assert!(refused("STOPSIGNAL NOSUCH").contains("NOSUCH"));
        assert!(refused("HEALTHCHECK --every=1s CMD x").contains("unknown flag: --every"));
    }
}
