//! `gantry events`.

use crate::cli::Command;
use crate::client::{Lines, Path};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FILTER, FORMAT_OBJECT, Flag, Matches};
use crate::output::table::parse;
use crate::output::template::{Template, Value};
use crate::output::{print, println};
use crate::timestamps;

pub(crate) static COMMAND: Command = Command {
    about: "Get real time events from the server",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        FILTER.short('f'),
        FORMAT_OBJECT,
        Flag::text("since", "Show all events created since timestamp"),
        Flag::text("until", "Stream events until this timestamp"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let format = matches.text("format");
    let template = Some(format).filter(|format| !matches!(*format, "" | "json")).map(parse).transpose()?;
    let moment = |flag: &str| timestamps::to_query(matches.text(flag)).map_err(Error::Message);
    let path = Path::new("/events")
        .query_some("since", &moment("since")?)
        .query_some("until", &moment("until")?)
        .filters(matches.list("filter"));
    let mut lines = Lines::new(context.client.get(&path).await?.into_body());
    while let Some(event) = lines.next().await? {
        match &template {
            Some(template) => println(&rendered(template, event)?)?,
            None if format == "json" => println(&event.to_json())?,
            None => print(&sentence(&event))?,
        }
    }
    Ok(())
}

fn rendered(template: &Template, event: Value) -> Result<String> {
    template
        .render(&with_go_names(event))
        .map_err(|message| Error::message(format!("template parsing error: {message}")))
}

/// Templates use Go's names: `.Time` beside the JSON's `time`.
fn with_go_names(event: Value) -> Value {
    let Value::Struct(fields) = &event else { return event };
    let mut fields = fields.as_ref().clone();
    const NAMES: [(&str, &str); 6] = [
        ("status", "Status"),
        ("id", "ID"),
        ("from", "From"),
        ("scope", "Scope"),
        ("time", "Time"),
        ("timeNano", "TimeNano"),
    ];
    for (name, go_name) in NAMES {
        let value = event.field(name);
        fields.push((go_name.to_owned(), if value.is_nil() { Value::text("") } else { value.clone() }));
    }
    let actor = event.field("Actor");
    if let (Value::Struct(parts), Some(at)) = (actor, fields.iter().position(|(name, _)| name == "Actor")) {
        let parts = parts.iter().map(|(name, value)| {
            let value = if name == "Attributes" { value.clone().into_maps() } else { value.clone() };
            (name.clone(), value)
        });
        fields[at].1 = Value::record(parts.collect());
    }
    Value::record(fields)
}

/// `2024-01-02T03:04:05.000000006Z container start ID (image=x, name=y)`.
fn sentence(event: &Value) -> String {
    let nanos = event.field("timeNano").as_int();
    let nanos = if nanos == 0 { event.field("time").as_int().saturating_mul(1_000_000_000) } else { nanos };
    let mut attributes: Vec<String> = event
        .at("Actor.Attributes")
        .entries()
        .into_iter()
        .map(|(name, value)| format!("{name}={}", value.as_str()))
        .collect();
    attributes.sort();
    let tail = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!(
        "{} {} {} {}{tail}\n",
        timestamps::rfc3339_nano(nanos),
        event.field("Type").as_str(),
        event.field("Action").as_str(),
        event.at("Actor.ID").as_str(),
    )
}
