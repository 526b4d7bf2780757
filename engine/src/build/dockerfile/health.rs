//! PURE. `HEALTHCHECK`.

use crate::image::Healthcheck;

use super::fault::Fault;
use super::flags::{Flags, Takes};
use super::instruction;
use super::line::Line;
use super::model::CommandLine;

const INTERVAL_MIN_NS: i64 = 1_000_000;

pub(super) fn check(line: &Line) -> Result<Healthcheck, Fault> {
    if line.rest.is_empty() {
        return Err(Fault::new("HEALTHCHECK requires at least one argument"));
    }
    let (kind, rest) = line.rest.split_once(char::is_whitespace).unwrap_or((&line.rest, ""));
    let rest = rest.trim_start();
    match kind.to_uppercase().as_str() {
        "NONE" if rest.is_empty() => Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }),
        "NONE" => Err(Fault::new("HEALTHCHECK NONE takes no arguments").at(rest)),
        "CMD" => with_command(line, rest),
        other => Err(Fault::new(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")).at(kind)),
    }
}

fn with_command(line: &Line, rest: &str) -> Result<Healthcheck, Fault> {
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"].map(|name| (name, Takes::Text));
    let flags = Flags::read(&line.flags, &known)?;
    let test = match instruction::command(rest)? {
        CommandLine::Shell(line) if !line.is_empty() => vec!["CMD-SHELL".to_owned(), line],
        CommandLine::Exec(words) if !words.is_empty() => std::iter::once("CMD".to_owned()).chain(words).collect(),
        _ => return Err(Fault::new("Missing command after HEALTHCHECK CMD")),
    };
    Ok(Healthcheck {
        test,
        interval: time(&flags, "interval")?,
        timeout: time(&flags, "timeout")?,
        start_period: time(&flags, "start-period")?,
        start_interval: time(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn time(flags: &Flags, name: &str) -> Result<i64, Fault> {
    let Some(text) = flags.filled(name) else { return Ok(0) };
    let ns = duration_ns(&text).ok_or_else(|| Fault::new(format!("--{name}: invalid duration {text:?}")).at(&text))?;
    if ns != 0 && ns < INTERVAL_MIN_NS {
        return Err(Fault::new(format!("Interval {name:?} cannot be less than 1ms")).at(&text));
    }
    Ok(ns)
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let Some(text) = flags.filled("retries") else { return Ok(0) };
    let number: i32 = text.parse().map_err(|_| Fault::new(format!("--retries: invalid number {text:?}")).at(&text))?;
    if number < 0 {
        return Err(Fault::new(format!("--retries cannot be negative ({number})")).at(&text));
    }
    Ok(number.into())
}

/// Nanoseconds of one of Go's durations: `1m30s`, `500ms`, `0`. `None` if it is none, or below zero.
fn duration_ns(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_f64;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let scale = match &unit[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
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
    Some(total as i64)
}
