//! `gantry info`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_OBJECT, Matches};
use crate::output::template::{Template, Value};
use crate::output::{eprintln, print, println};
use crate::units;

pub(crate) static COMMAND: Command = Command {
    about: "Display system-wide information",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORMAT_OBJECT.short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let bad = |message: String| Error::message(format!("template parsing error: {message}"));
    let template = match matches.text("format") {
        "" => None,
        "json" => Some(Template::parse("{{json .}}").map_err(bad)?),
        text => Some(Template::parse(text).map_err(bad)?),
    };
    if let Some(template) = template {
        let info = context.client.get_value(&Path::new("/info")).await?;
        return println(&template.render(&info).map_err(bad)?);
    }
    print(&format!(
        "Client:\n Version:    {}\n Host:       {}\n\nServer:\n",
        env!("CARGO_PKG_VERSION"),
        context.client.host().shown
    ))?;
    let info = context.client.get_value(&Path::new("/info")).await?;
    print(&render(&info))?;
    for warning in info.field("Warnings").items() {
        eprintln(warning.as_str());
    }
    Ok(())
}

/// The facts, in docker's order and words.
fn render(info: &Value) -> String {
    let mut out = String::new();
    let mut fact = |indent: usize, name: &str, value: String| {
        out.push_str(&format!("{:indent$}{name}: {value}\n", ""));
    };
    let text = |name: &str| info.field(name).as_str().to_owned();
    let number = |name: &str| info.field(name).as_int().to_string();
    fact(1, "Containers", number("Containers"));
    fact(2, "Running", number("ContainersRunning"));
    fact(2, "Paused", number("ContainersPaused"));
    fact(2, "Stopped", number("ContainersStopped"));
    fact(1, "Images", number("Images"));
    fact(1, "Server Version", text("ServerVersion"));
    fact(1, "Storage Driver", text("Driver"));
    for pair in info.field("DriverStatus").items() {
        if let [name, value] = pair.items() {
            fact(2, name.as_str(), value.as_str().to_owned());
        }
    }
    fact(1, "Logging Driver", text("LoggingDriver"));
    fact(1, "Cgroup Driver", text("CgroupDriver"));
    fact(1, "Cgroup Version", text("CgroupVersion"));
    out.push_str(&plugins(info));
    let runtimes: Vec<&str> = info.field("Runtimes").entries().into_iter().map(|(name, _)| name).collect();
    let mut fact = |indent: usize, name: &str, value: String| {
        out.push_str(&format!("{:indent$}{name}: {value}\n", ""));
    };
    fact(1, "Swarm", info.at("Swarm.LocalNodeState").as_str().to_owned());
    fact(1, "Runtimes", runtimes.join(" "));
    fact(1, "Default Runtime", text("DefaultRuntime"));
    fact(1, "Init Binary", text("InitBinary"));
    fact(1, "Security Options", String::new());
    for option in info.field("SecurityOptions").items() {
        let fields = option.as_str().split(',').filter_map(|field| field.split_once('='));
        for (key, value) in fields {
            match key {
                "name" => out.push_str(&format!("  {value}\n")),
                key => out.push_str(&format!("   {}: {value}\n", capitalized(key))),
            }
        }
    }
    let mut fact = |name: &str, value: String| out.push_str(&format!(" {name}: {value}\n"));
    fact("Kernel Version", text("KernelVersion"));
    fact("Operating System", text("OperatingSystem"));
    fact("OSType", text("OSType"));
    fact("Architecture", text("Architecture"));
    fact("CPUs", number("NCPU"));
    fact("Total Memory", units::binary_size(info.field("MemTotal").as_float()));
    fact("Name", text("Name"));
    fact("ID", text("ID"));
    fact("Docker Root Dir", text("DockerRootDir"));
    fact("Debug Mode", info.field("Debug").truth().to_string());
    for (name, title) in [("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy")] {
        if !text(name).is_empty() {
            fact(title, text(name));
        }
    }
    fact("Experimental", info.field("ExperimentalBuild").truth().to_string());
    let insecure: Vec<&str> =
        info.at("RegistryConfig.InsecureRegistryCIDRs").items().iter().map(Value::as_str).collect();
    if !insecure.is_empty() {
        fact("Insecure Registries", format!("\n  {}", insecure.join("\n  ")));
    }
    fact("Live Restore Enabled", info.field("LiveRestoreEnabled").truth().to_string());
    out.replace(": \n", ":\n")
}

fn plugins(info: &Value) -> String {
    let mut out = String::from(" Plugins:\n");
    for (name, title) in [("Volume", "Volume"), ("Network", "Network"), ("Log", "Log")] {
        let names: Vec<&str> = info.at("Plugins").field(name).items().iter().map(Value::as_str).collect();
        if !names.is_empty() {
            out.push_str(&format!("  {title}: {}\n", names.join(" ")));
        }
    }
    out
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
