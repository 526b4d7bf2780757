//! PURE. Dockerfile instructions that change an image's configuration: those that `commit --change` and
//! `import --change` take.

use crate::error::{Error, Result};

use super::config::{Healthcheck, ImageConfig};

const ALLOWED: &str = "CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|ONBUILD|STOPSIGNAL|USER|VOLUME|WORKDIR";

/// Applies one instruction.
///
/// # Errors
/// `InvalidArgument` naming the instruction and what is wrong with it.
pub(crate) fn apply_instruction(config: &mut ImageConfig, line: &str) -> Result<()> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (keyword, rest) = (word.to_ascii_uppercase(), rest.trim());
    let wrong = |why: &str| Error::invalid(format!("change {line:?}: {keyword} {why}"));
    if rest.is_empty() {
        return Err(wrong("requires at least one argument"));
    }
    match keyword.as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
            config.cmd = None;
        }
        "ENV" => {
            for (name, value) in pairs(rest, &config.env).map_err(|why| wrong(&why))? {
                config.env.retain(|known| known.split('=').next() != Some(&name));
                config.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, &config.env).map_err(|why| wrong(&why))?),
        "EXPOSE" => {
            for word in words(rest, &config.env).map_err(|why| wrong(&why))? {
                config.exposed_ports.extend(ports(&word).map_err(|why| wrong(&why))?);
            }
            config.exposed_ports.sort();
            config.exposed_ports.dedup();
        }
        "VOLUME" => {
            let paths = match array(rest) {
                Some(paths) => paths,
                None => words(rest, &config.env).map_err(|why| wrong(&why))?,
            };
            config.volumes.extend(paths);
            config.volumes.sort();
            config.volumes.dedup();
        }
        "USER" => config.user = expand(rest, &config.env),
        "WORKDIR" => config.working_dir = joined(&config.working_dir, &expand(rest, &config.env)),
        "STOPSIGNAL" => {
            crate::container::signal::parse(rest).map_err(|_| wrong(&format!("does not know the signal {rest:?}")))?;
            config.stop_signal = Some(rest.to_owned());
        }
        "ONBUILD" => on_build(config, rest).map_err(|why| wrong(&why))?,
        "HEALTHCHECK" => config.healthcheck = Some(health(config, rest).map_err(|why| wrong(&why))?),
        _ => return Err(Error::invalid(format!("{keyword} is not a valid change command ({ALLOWED})"))),
    }
    Ok(())
}

fn array(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A JSON array, else a line for the shell.
fn command(config: &ImageConfig, text: &str) -> Vec<String> {
    array(text).unwrap_or_else(|| {
        let mut shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        shell.push(text.to_owned());
        shell
    })
}

/// `a=b "c d"=e`, or the old form `name all the rest`.
fn pairs(text: &str, env: &[String]) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("must have two arguments")?;
        return Ok(vec![(name.to_owned(), expand(value.trim(), env))]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err("names can not be blank".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("can't find = in {word:?}: must be of the form name=value")),
    };
    words(text, env)?.into_iter().map(pair).collect()
}

/// Words as a shell splits them: quotes, backslashes, and variables outside of single quotes.
fn words(text: &str, env: &[String]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None | Some('"'), '$') => {
                let value = variable(&mut letters, env);
                word.get_or_insert_default().push_str(&value);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("has a quote {open} that is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// Variables in a text that is one word.
fn expand(text: &str, env: &[String]) -> String {
    let mut plain = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            '$' => plain.push_str(&variable(&mut letters, env)),
            other => plain.push(other),
        }
    }
    plain
}

/// What stands behind a `$`: `NAME`, `{NAME}`, `{NAME:-default}`, `{NAME:+other}`.
fn variable(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, env: &[String]) -> String {
    let value = |name: &str| {
        env.iter().find_map(|entry| entry.split_once('=').filter(|(known, _)| *known == name)).map_or("", |(_, v)| v)
    };
    if letters.next_if_eq(&'{').is_some() {
        let inner: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
        if let Some((name, default)) = inner.split_once(":-") {
            return if value(name).is_empty() { default.to_owned() } else { value(name).to_owned() };
        }
        if let Some((name, other)) = inner.split_once(":+") {
            return if value(name).is_empty() { String::new() } else { other.to_owned() };
        }
        return value(&inner).to_owned();
    }
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_') {
        name.push(letter);
    }
    if name.is_empty() { "$".to_owned() } else { value(&name).to_owned() }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
pub(crate) fn ports(text: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("invalid containerPort: {text}"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid containerPort range: {range}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

pub(crate) fn joined(now: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let base = if now.is_empty() { "/" } else { now };
    format!("{}/{path}", base.trim_end_matches('/'))
}

fn on_build(config: &mut ImageConfig, rest: &str) -> Result<(), String> {
    let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" => Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        "MAINTAINER" | "FROM" => Err(format!("{trigger} isn't allowed as an ONBUILD trigger")),
        _ => {
            config.on_build.push(rest.to_owned());
            Ok(())
        }
    }
}

/// `NONE`, or `[--interval=…] CMD command`.
fn health(config: &ImageConfig, rest: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, behind) = flag.split_once(char::is_whitespace).ok_or("needs CMD or NONE")?;
        let (name, value) = flag.split_once('=').ok_or_else(|| format!("--{flag}: missing a value"))?;
        let time = || duration_ns(value).ok_or_else(|| format!("--{name}: invalid duration {value:?}"));
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => check.retries = value.parse().map_err(|_| format!("--retries: invalid number {value:?}"))?,
            _ => return Err(format!("unknown flag: --{name}")),
        }
        rest = behind.trim_start();
    }
    let (kind, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), behind.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("NONE", _) => return Err("NONE takes no arguments".to_owned()),
        ("CMD", "") => return Err("Missing command after HEALTHCHECK CMD".to_owned()),
        ("CMD", line) => match array(line) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => match &config.shell {
                Some(shell) => {
                    std::iter::once("CMD".to_owned()).chain(shell.clone()).chain([line.to_owned()]).collect()
                }
                None => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            },
        },
        (other, _) => return Err(format!("Unknown type {other:?} (try CMD)")),
    };
    Ok(check)
}

/// Go's durations: `1m30s`, `500ms`.
fn duration_ns(text: &str) -> Option<i64> {
    let mut total = 0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let scale = match &unit[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = &unit[end..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded: a float cast saturates")]
    Some(total as i64).filter(|ns| *ns >= 0 && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> ImageConfig {
        let mut config = ImageConfig { env: vec!["HOME=/root".into()], ..ImageConfig::default() };
        for line in lines {
            apply_instruction(&mut config, line).unwrap();
        }
        config
    }

    #[test]
    fn instructions_change_what_they_name() {
        let config = after(&[
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
        ]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "/run me"]);
        assert_eq!(config.cmd, None, "an entrypoint takes the old command away");
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
        let refused = |line: &str| apply_instruction(&mut ImageConfig::default(), line).unwrap_err().to_string();
        assert!(refused("RUN make").contains("RUN is not a valid change command"));
        assert!(refused("CMD").contains("requires at least one argument"));
        assert!(refused("EXPOSE lots").contains("invalid containerPort: lots"));
        assert!(refused("ENV A=\"x").contains("not closed"));
        assert!(refused("STOPSIGNAL NOSUCH").contains("NOSUCH"));
        assert!(refused("HEALTHCHECK --every=1s CMD x").contains("unknown flag: --every"));
    }
}
