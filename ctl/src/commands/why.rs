//! `gantry why`: what happened to a container, of either door: how it ended, its health, its events with the time
//! between them, and the last lines of its log.

use crate::cli::Command;
use crate::client::{Lines, Path};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Flag, Matches};
use crate::output::print;
use crate::output::table::short_id;
use crate::output::template::Value;
use crate::{timestamps, units};

use super::logs;

pub(crate) static COMMAND: Command = Command {
    about: "Tell what happened to a container",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[&[Flag::text("tail", "Number of lines to show from the end of its log").short('n').default("10")]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

/// Events that are shown, the newest ones.
const EVENTS_MAX: usize = 50;
/// Names of the signals that end programs, by number.
const SIGNALS: [(i64, &str); 12] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (15, "SIGTERM"),
    (31, "SIGSYS"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let container = context.client.get_value(&Path::of("containers", matches.arg(0), "json")?).await?;
    let id = container.field("Id").as_str();
    let mut text = verdict(&container, timestamps::now_seconds());
    text.push_str("\nTimeline\n");
    let events = events(context, id, &container).await?;
    text.push_str(&timeline(&container, &events));
    text.push_str("\nEnd of its log\n");
    print(&text)?;
    let path = Path::of("containers", id, "logs")?
        .query("stdout", "1")
        .query("stderr", "1")
        .query("timestamps", "1")
        .query("tail", matches.text("tail"));
    logs::copy(context, id, &path).await
}

async fn events(context: &Context, id: &str, container: &Value) -> Result<Vec<Value>> {
    let created = timestamps::seconds_of(container.field("Created").as_str()).unwrap_or(0);
    let filters = [format!("container={id}"), "type=container".to_owned(), "owner=docker".into(), "owner=cri".into()];
    let path = Path::new("/events")
        .query("since", &created.to_string())
        .query("until", &timestamps::now_exact())
        .filters(&filters);
    let mut lines = Lines::new(context.client.get(&path).await?.into_body());
    let mut events = Vec::new();
    while let Some(event) = lines.next().await? {
        // Probes and execs would hide what happened.
        if !event.field("Action").as_str().starts_with("exec_") {
            events.push(event);
        }
    }
    let surplus = events.len().saturating_sub(EVENTS_MAX);
    events.drain(..surplus);
    Ok(events)
}

/// The state in sentences.
fn verdict(container: &Value, now: i64) -> String {
    let state = container.field("State");
    let name = container.field("Name").as_str().trim_start_matches('/');
    let id = short_id(container.field("Id").as_str());
    let image = container.at("Config.Image").as_str();
    let since =
        |field: &str| timestamps::seconds_of(state.field(field).as_str()).map(|at| units::human_duration(now - at));
    let mut lines = vec![match state.field("Status").as_str() {
        status @ ("running" | "paused") => {
            let pid = state.field("Pid").as_int();
            format!(
                "{name} ({id}, {image}) is {status} with pid {pid}, started {} ago",
                since("StartedAt").unwrap_or_default()
            )
        }
        status if since("FinishedAt").is_some() => {
            let code = state.field("ExitCode").as_int();
            format!(
                "{name} ({id}, {image}) is {status}: it ended with code {code} {} ago",
                since("FinishedAt").unwrap_or_default()
            )
        }
        status => format!("{name} ({id}, {image}) is {status}: it has not run"),
    }];
    lines.extend(reason(container));
    if let Some(error) = Some(state.field("Error").as_str()).filter(|error| !error.is_empty()) {
        lines.push(format!("The engine says: {error}"));
    }
    lines.extend(health(state.field("Health")));
    let restarts = container.field("RestartCount").as_int();
    if restarts > 0 {
        let policy = container.at("HostConfig.RestartPolicy.Name").as_str();
        lines.push(format!("It was restarted {restarts} times (policy {policy})."));
    }
    lines.join("\n") + "\n"
}

/// What ended it, as far as its state tells.
fn reason(container: &Value) -> Option<String> {
    let state = container.field("State");
    if state.field("OOMKilled").truth() {
        let limit = container.at("HostConfig.Memory").as_float();
        let limit =
            if limit > 0.0 { units::binary_size(limit) } else { "none of its own: the pod's or the node's".to_owned() };
        return Some(format!("The kernel killed it, or a process in it, for memory. Its limit is {limit}."));
    }
    let ended = timestamps::seconds_of(state.field("FinishedAt").as_str()).is_some();
    let code = state.field("ExitCode").as_int();
    let signal = SIGNALS.iter().find(|(number, _)| code - 128 == *number);
    match (code, signal) {
        _ if !ended || state.field("Running").truth() => None,
        (127, _) => Some("127 is how shells say that a command was not found.".to_owned()),
        (126, _) => Some("126 is how shells say that a command cannot be executed.".to_owned()),
        (_, Some((_, name))) => {
            Some(format!("{name} ended it, or it gave that code itself; see \"kill\" below for who sent it."))
        }
        _ => None,
    }
}

fn health(health: &Value) -> Option<String> {
    let status = health.field("Status").as_str();
    if matches!(status, "" | "none") {
        return None;
    }
    let streak = health.field("FailingStreak").as_int();
    let last = health.field("Log").items().last();
    let last = last.map_or_else(String::new, |probe| {
        let output = probe.field("Output").as_str().trim();
        format!("; the last probe gave {} {output:?}", probe.field("ExitCode").as_int())
    });
    Some(format!("Its health is {status}, {streak} failures in a row{last}."))
}

/// Each event with the time since the one before.
fn timeline(container: &Value, events: &[Value]) -> String {
    let mut text = String::new();
    let mut before: Option<i64> = None;
    for event in events {
        let at = event.field("timeNano").as_int();
        let gap = before.map_or_else(String::new, |before| format!("+{}", span(at - before)));
        text.push_str(&format!("  {}  {gap:>10}  {}\n", timestamps::rfc3339_nano(at), deed(event)));
        before = Some(at);
    }
    if events.is_empty() {
        text.push_str(&format!(
            "  created {}; its events are not kept any more\n",
            container.field("Created").as_str()
        ));
    }
    text
}

fn deed(event: &Value) -> String {
    let attribute = |name: &str| event.at("Actor.Attributes").field(name).as_str();
    match event.field("Action").as_str() {
        "die" => format!("ended with code {}", attribute("exitCode")),
        "kill" => {
            let number: i64 = attribute("signal").parse().unwrap_or(0);
            let name = SIGNALS.iter().find(|(known, _)| *known == number).map_or("", |(_, name)| name);
            format!("signal {number} {name} sent through the engine").replace("  ", " ")
        }
        "oom" => "the kernel killed a process for memory".to_owned(),
        "rename" => format!("renamed from {}", attribute("oldName").trim_start_matches('/')),
        action => action.to_owned(),
    }
}

/// A time between two events: `340µs`, `12ms`, `3.2s`, `5 minutes`.
fn span(ns: i64) -> String {
    match ns {
        ..1_000_000 => format!("{}µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{}.{}s", ns / 1_000_000_000, ns / 100_000_000 % 10),
        _ => units::human_duration(ns / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: &str) -> String {
        let text = format!(
            r#"{{"Id":"0123456789abcdef","Name":"/web","RestartCount":2,"Config":{{"Image":"shell"}},
            "HostConfig":{{"Memory":67108864,"RestartPolicy":{{"Name":"always"}}}},"State":{state}}}"#
        );
        verdict(&Value::from_json(&text).unwrap(), 100)
    }

    #[test]
    fn a_verdict_says_how_it_ended() {
        let oom = r#"{"Status":"exited","ExitCode":137,"OOMKilled":true,"FinishedAt":"1970-01-01T00:01:30Z"}"#;
        let text = told(oom);
        for part in ["web (0123456789ab, shell) is exited: it ended with code 137 10 seconds ago", "64MiB", "2 times"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let killed = told(r#"{"Status":"exited","ExitCode":143,"FinishedAt":"1970-01-01T00:01:30Z"}"#);
        assert!(killed.contains("SIGTERM"), "{killed}");
        let created = told(r#"{"Status":"created","FinishedAt":"0001-01-01T00:00:00Z"}"#);
        assert!(created.contains("has not run"), "{created}");
        let ill = told(
            r#"{"Status":"running","Running":true,"Pid":7,"StartedAt":"1970-01-01T00:00:00Z",
            "Health":{"Status":"unhealthy","FailingStreak":3,"Log":[{"ExitCode":1,"Output":"no answer\n"}]}}"#,
        );
        assert!(ill.contains("unhealthy, 3 failures in a row; the last probe gave 1 \"no answer\""), "{ill}");
    }

    #[test]
    fn the_timeline_has_the_time_between() {
        let event = |at: i64, action: &str, attributes: &str| {
            let text = format!(r#"{{"Action":"{action}","timeNano":{at},"Actor":{{"Attributes":{{{attributes}}}}}}}"#);
            Value::from_json(&text).unwrap()
        };
        let events = [
            event(1_000_000_000, "create", ""),
            event(1_012_000_000, "start", ""),
            event(4_512_000_000, "kill", r#""signal":"9""#),
            event(4_512_340_000, "die", r#""exitCode":"137""#),
        ];
        let text = timeline(&Value::Nil, &events);
        let lines: Vec<&str> = text.lines().collect();
        for (line, ends) in lines.iter().zip([
            "create",
            "+12ms  start",
            "+3.5s  signal 9 SIGKILL sent through the engine",
            "+340µs  ended with code 137",
        ]) {
            assert!(line.ends_with(ends), "{line:?} {ends:?}");
        }
    }
}
