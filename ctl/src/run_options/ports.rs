//! `--publish` and `--expose`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use docker_api::Empty;
use docker_api::container::PortBinding;

/// Ports a container exposes and where they are published.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    pub(crate) exposed: BTreeMap<String, Empty>,
    pub(crate) bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

/// Reads every `-p` and `--expose`.
pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in publish {
        publish_one(&mut ports, &short_form(spec)?)?;
    }
    for spec in expose {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (protocol, range) = split_protocol(spec);
        let (first, last) = port_range(range)
            .map_err(|reason| format!("invalid range format for --expose: {spec}, error: {reason}"))?;
        for port in first..=last {
            ports.exposed.insert(format!("{port}/{protocol}"), Empty {});
        }
    }
    Ok(ports)
}

/// `target=80,published=8080,protocol=tcp` in the form `8080:80/tcp`.
fn short_form(spec: &str) -> Result<String, String> {
    if !spec.contains('=') {
        return Ok(spec.to_owned());
    }
    let mut fields = BTreeMap::from([("protocol", "tcp"), ("published", ""), ("target", "")]);
    for field in spec.split(',') {
        match field.split_once('=') {
            Some((key @ ("protocol" | "published" | "target"), value)) => {
                fields.insert(key, value);
            }
            Some(("mode", _)) => {}
            Some((key, _)) => return Err(format!("invalid field key {key}")),
            None => return Err(format!("invalid field {field}")),
        }
    }
    Ok(format!("{}:{}/{}", fields["published"], fields["target"], fields["protocol"]))
}

fn publish_one(ports: &mut Ports, spec: &str) -> Result<(), String> {
    let (head, container) = spec.rsplit_once(':').map_or(("", spec), |(head, last)| (head, last));
    let (address, host) = head.rsplit_once(':').map_or(("", head), |(address, host)| (address, host));
    let (protocol, container) = split_protocol(container);
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) = port_range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(port_range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    if let Some((host_first, host_last)) = host_range
        && last - first != host_last - host_first
        && first != last
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    for port in first..=last {
        let host_port = match host_range {
            None => String::new(),
            // One port of the container, anywhere in a range of the host.
            Some((host_first, host_last)) if first == last && host_first != host_last => {
                format!("{host_first}-{host_last}")
            }
            Some((host_first, _)) => (host_first + (port - first)).to_string(),
        };
        let key = format!("{port}/{protocol}");
        ports.exposed.insert(key.clone(), Empty {});
        let binding = PortBinding { host_ip: address.to_owned(), host_port };
        ports.bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

fn split_protocol(spec: &str) -> (String, &str) {
    match spec.split_once('/') {
        Some((port, protocol)) if !protocol.is_empty() => (protocol.to_lowercase(), port),
        Some((port, _)) => ("tcp".to_owned(), port),
        None => ("tcp".to_owned(), spec),
    }
}

/// `80` or `80-90`.
fn port_range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        crate::flags::values::uint16(text)?;
        text.parse::<u16>().map_err(|error| error.to_string())
    };
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(spec: &str) -> Result<Vec<String>, String> {
        let ports = parse(&[spec.to_owned()], &[])?;
        let mut shown = Vec::new();
        for (key, list) in ports.bindings {
            for binding in list.unwrap() {
                shown.push(format!("{}|{}->{key}", binding.host_ip, binding.host_port));
            }
        }
        Ok(shown)
    }

    #[test]
    fn ports_are_published_as_asked() {
        let cases: &[(&str, &[&str])] = &[
            ("80", &["|->80/tcp"]),
            ("8080:80", &["|8080->80/tcp"]),
            ("127.0.0.1:8080:80/udp", &["127.0.0.1|8080->80/udp"]),
            ("127.0.0.1::80", &["127.0.0.1|->80/tcp"]),
            ("[::1]:80:80", &["::1|80->80/tcp"]),
            ("8080-8082:90", &["|8080-8082->90/tcp"]),
            ("8080-8081:90-91", &["|8080->90/tcp", "|8081->91/tcp"]),
            ("target=80,published=8080,protocol=udp", &["|8080->80/udp"]),
        ];
        for (spec, shown) in cases {
            assert_eq!(bindings(spec).unwrap(), *shown, "{spec}");
        }
    }

    #[test]
    fn bad_ports_are_refused_with_dockers_words() {
        let cases = [
            ("80:90:100:200", "invalid IP address: 80:90"),
            ("8080-8082:90-91", "invalid ranges specified for container and host Ports: 90-91 and 8080-8082"),
            ("abc", "invalid containerPort: abc"),
            ("80/foo", "invalid proto: foo"),
            ("99999:80", "invalid hostPort: 99999"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80:", "no port specified: 80:<empty>"),
        ];
        for (spec, message) in cases {
            assert_eq!(bindings(spec).unwrap_err(), message);
        }
        assert_eq!(
            parse(&[], &["foo".to_owned()]).unwrap_err(),
            "invalid range format for --expose: foo, error: strconv.ParseUint: parsing \"foo\": invalid syntax"
        );
        assert_eq!(parse(&[], &["80-82/udp".to_owned()]).unwrap().exposed.len(), 3);
    }
}
