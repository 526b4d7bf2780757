//! The process after the image's defaults: program, arguments, environment, directory, user, labels.

use crate::container::ResolvedProcess;
use crate::error::{Error, Result};
use crate::id::Owner;
use crate::spec::facts::ImageFacts;
use crate::spec::{ContainerSpec, ProcessSpec};

/// The search path of a process whose environment has none.
pub const PATH_DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Applies the image's configuration under what was asked for.
///
/// # Errors
/// `InvalidArgument` when there is nothing to run, or an environment entry is malformed.
pub fn resolve(spec: &ContainerSpec, image: &ImageFacts) -> Result<ResolvedProcess> {
    let (entrypoint, cmd) = command(&spec.process, image);
    let mut argv = entrypoint.iter().chain(&cmd).cloned();
    let path = argv
        .next()
        .filter(|path| !path.is_empty())
        .ok_or_else(|| Error::invalid("no command specified: neither the request nor the image names one"))?;
    let args: Vec<String> = argv.collect();
    if args.iter().chain([&path]).any(|arg| arg.contains('\0')) {
        return Err(Error::invalid("command: an argument contains a NUL byte"));
    }
    let mut labels = if spec.owner == Owner::Docker { image.labels.clone() } else { Default::default() };
    labels.extend(spec.labels.clone());
    let or_image = |asked: &str, image: &str| if asked.is_empty() { image.to_owned() } else { asked.to_owned() };
    Ok(ResolvedProcess {
        path,
        args,
        entrypoint,
        cmd,
        env: environment(&image.env, &spec.process.env)?,
        cwd: or_image(&spec.process.cwd, &image.cwd),
        user: or_image(&spec.process.user, &image.user),
        labels,
        stop_signal: or_image(&spec.stop_signal, &image.stop_signal),
        exposed_ports: union(&image.exposed_ports, &spec.exposed_ports),
        volumes: if spec.image_volumes { image.volumes.clone() } else { Vec::new() },
    })
}

/// Both lists, each entry once.
fn union(image: &[String], asked: &[String]) -> Vec<String> {
    let more = asked.iter().filter(|port| !image.contains(port));
    image.iter().chain(more).cloned().collect()
}

/// An entrypoint of one's own drops the image's command, as docker and CRI have it.
fn command(process: &ProcessSpec, image: &ImageFacts) -> (Vec<String>, Vec<String>) {
    match (&process.entrypoint, &process.cmd) {
        (Some(entrypoint), cmd) => (entrypoint.clone(), cmd.clone().unwrap_or_default()),
        (None, Some(cmd)) => (image.entrypoint.clone(), cmd.clone()),
        (None, None) => (image.entrypoint.clone(), image.cmd.clone()),
    }
}

/// Later entries replace earlier ones in place; `KEY` without `=` removes the image's.
///
/// # Errors
/// `InvalidArgument` for an entry of the request with an empty name or a NUL. Malformed entries of an image are
/// dropped: they are no reason to leak the engine's own environment or to fail.
pub fn environment(image: &[String], asked: &[String]) -> Result<Vec<String>> {
    let mut env: Vec<String> = Vec::with_capacity(image.len() + asked.len() + 1);
    let valid = |entry: &&String| entry.find('=').is_some_and(|at| at > 0) && !entry.contains('\0');
    for entry in image.iter().filter(valid) {
        replace(&mut env, entry);
    }
    for entry in asked {
        if entry.contains('\0') {
            return Err(Error::invalid(format!("invalid environment variable: {entry:?} contains a NUL byte")));
        }
        match entry.find('=') {
            Some(0) => return Err(Error::invalid(format!("invalid environment variable: {entry}"))),
            Some(_) => replace(&mut env, entry),
            None => env.retain(|known| name(known) != entry),
        }
    }
    if !env.iter().any(|entry| name(entry) == "PATH") {
        env.insert(0, PATH_DEFAULT.to_owned());
    }
    Ok(env)
}

fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn replace(env: &mut Vec<String>, entry: &str) {
    match env.iter_mut().find(|known| name(known) == name(entry)) {
        Some(known) => entry.clone_into(known),
        None => env.push(entry.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn an_own_entrypoint_drops_the_images_command() {
        let image = ImageFacts { entrypoint: strings(&["/e"]), cmd: strings(&["c"]), ..Default::default() };
        let run = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            command(
                &ProcessSpec { entrypoint: entrypoint.map(strings), cmd: cmd.map(strings), ..Default::default() },
                &image,
            )
        };
        assert_eq!(run(None, None), (strings(&["/e"]), strings(&["c"])));
        assert_eq!(run(None, Some(&["x"])), (strings(&["/e"]), strings(&["x"])));
        assert_eq!(run(Some(&["/f"]), None), (strings(&["/f"]), vec![]));
        assert_eq!(run(Some(&[]), Some(&["x"])), (vec![], strings(&["x"])));
    }

    #[test]
    fn the_environment_is_merged_in_place() {
        let env = environment(&strings(&["A=1", "PATH=/p", "=bad", "NOEQUALS", "B=2"]), &strings(&["B=3", "A", "C="]))
            .unwrap();
        assert_eq!(env, ["PATH=/p", "B=3", "C="]);
        assert_eq!(environment(&[], &[]).unwrap(), [PATH_DEFAULT]);
        assert!(environment(&[], &strings(&["=x"])).is_err());
        assert!(environment(&[], &strings(&["A=\0"])).is_err());
    }
}
