//! `hosts.toml` as containerd reads it: `<dir>/<registry>/hosts.toml`, else `<dir>/_default/hosts.toml`.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{Error, Result};

use super::endpoint::{Endpoint, TlsOptions, base_url, origins};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The endpoints that the directory of `registry` names; `None` when there is no file for it.
///
/// # Errors
/// `InvalidArgument` that names the file and the key when it cannot be understood.
pub(crate) fn read(dir: &Path, registry: &str, insecure: &[String]) -> Result<Option<Vec<Endpoint>>> {
    // containerd's spelling for file systems without colons is read as well.
    let escaped = registry.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
    let names = [Some(registry.to_owned()), escaped, Some("_default".to_owned())];
    for name in names.into_iter().flatten() {
        let folder = dir.join(&name);
        let path = folder.join("hosts.toml");
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        let context = |error: Error| error.context(path.display());
        if meta.len() > FILE_BYTES_MAX {
            return Err(Error::invalid(format!("{}: longer than {FILE_BYTES_MAX} bytes", path.display())));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| context(e.into()))?;
        return parse(&text, registry, &folder, insecure).map(Some).map_err(context);
    }
    Ok(None)
}

/// PURE. Mirrors in the order of the file, then the server.
fn parse(text: &str, registry: &str, folder: &Path, insecure: &[String]) -> Result<Vec<Endpoint>> {
    let file: Table = text.parse().map_err(|e: toml::de::Error| Error::invalid(e.message().to_owned()))?;
    let mut endpoints = Vec::new();
    if let Some(hosts) = file.get("host") {
        let hosts = hosts.as_table().ok_or_else(|| Error::invalid("host: not a table"))?;
        for (address, options) in hosts {
            let options = options.as_table().ok_or_else(|| Error::invalid(format!("host.{address:?}: not a table")))?;
            let endpoint = one(address, options, folder, false).map_err(|e| e.context(format!("host.{address:?}")))?;
            endpoints.push(endpoint);
        }
    }
    match file.get("server") {
        Some(server) => {
            let address = server.as_str().ok_or_else(|| Error::invalid("server: not a string"))?;
            endpoints.push(one(address, &file, folder, true).map_err(|e| e.context("server"))?);
        }
        None => endpoints.extend(origins(registry, insecure)?),
    }
    Ok(endpoints)
}

fn one(address: &str, options: &Table, folder: &Path, is_origin: bool) -> Result<Endpoint> {
    let flag = |key: &str| match options.get(key) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| Error::invalid(format!("{key}: not true or false"))),
    };
    let capabilities = match options.get("capabilities") {
        None => vec!["pull".to_owned(), "resolve".to_owned()],
        Some(value) => strings(value, "capabilities")?,
    };
    if let Some(unknown) = capabilities.iter().find(|c| !["pull", "resolve", "push", "referrers"].contains(&c.as_str()))
    {
        return Err(Error::invalid(format!("capabilities: {unknown:?} is not known")));
    }
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    let tls = TlsOptions {
        ca_files: options
            .get("ca")
            .map_or(Ok(Vec::new()), |v| strings(v, "ca"))?
            .iter()
            .map(|f| folder.join(f))
            .collect(),
        client: options.get("client").map(|v| client_pair(v, folder)).transpose()?,
        skip_verify: flag("skip_verify")?,
    };
    Ok(Endpoint {
        base: base_url(address, flag("override_path")?)?,
        tls,
        headers: headers(options)?,
        resolves: has("resolve"),
        pulls: has("pull"),
        is_origin,
    })
}

fn strings(value: &Value, key: &str) -> Result<Vec<String>> {
    let wrong = || Error::invalid(format!("{key}: not a string or a list of strings"));
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// `"both.pem"`, `["cert", "key"]` or `[["cert", "key"]]`; of several pairs the first.
fn client_pair(value: &Value, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let value = match value {
        Value::Array(list) if list.first().is_some_and(Value::is_array) => &list[0],
        other => other,
    };
    match strings(value, "client")?.as_slice() {
        [both] => Ok((folder.join(both), folder.join(both))),
        [certificate, key] => Ok((folder.join(certificate), folder.join(key))),
        _ => Err(Error::invalid("client: not a file, or a pair of certificate and key")),
    }
}

fn headers(options: &Table) -> Result<Vec<(String, String)>> {
    let Some(value) = options.get("header") else { return Ok(Vec::new()) };
    let table = value.as_table().ok_or_else(|| Error::invalid("header: not a table"))?;
    let mut all = Vec::new();
    for (name, value) in table {
        let values = strings(value, "header")?;
        let valid = http::HeaderName::try_from(name.as_str()).is_ok()
            && values.iter().all(|v| http::HeaderValue::try_from(v.as_str()).is_ok());
        if !valid {
            return Err(Error::invalid(format!("header: {name:?} is not a header with a value")));
        }
        all.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Endpoint>> {
        parse(text, "docker.io", Path::new("/certs/docker.io"), &[])
    }

    #[test]
    fn mirrors_keep_the_order_of_the_file_and_the_server_comes_last() {
        let endpoints = read_text(
            r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example/v2/hub"]
              capabilities = ["pull"]
              override_path = true
              ca = "ca.crt"
              client = [["c.crt", "c.key"]]
              [host."https://z.example/v2/hub".header]
                x-key = ["1", "2"]
            [host."http://a.example:5000"]
              skip_verify = true
            "#,
        )
        .unwrap();
        let bases: Vec<_> = endpoints.iter().map(|e| e.base.as_str()).collect();
        assert_eq!(
            bases,
            ["https://z.example/v2/hub/", "http://a.example:5000/v2/", "https://registry-1.docker.io/v2/"]
        );
        assert!(!endpoints[0].resolves && endpoints[0].pulls && !endpoints[0].is_origin && endpoints[2].is_origin);
        assert_eq!(endpoints[0].tls.ca_files, [Path::new("/certs/docker.io/ca.crt")]);
        assert_eq!(endpoints[0].tls.client.as_ref().unwrap().1, Path::new("/certs/docker.io/c.key"));
        assert_eq!(endpoints[0].headers.len(), 2);
        assert!(endpoints[1].tls.skip_verify);
    }

    #[test]
    fn without_a_server_the_registry_itself_is_last() {
        let endpoints = read_text("[host.\"https://m.example\"]\n").unwrap();
        assert_eq!(endpoints.last().unwrap().base.as_str(), "https://registry-1.docker.io/v2/");
    }

    #[test]
    fn mistakes_name_their_key() {
        for (text, word) in [
            ("server = 1", "server"),
            ("[host.\"https://m\"]\ncapabilities = [\"fly\"]", "fly"),
            ("[host.\"https://m\"]\nskip_verify = \"yes\"", "skip_verify"),
            ("[host.\"https://m\"]\nheader = { \"a b\" = \"x\" }", "header"),
            ("[host.\"ftp://m\"]", "ftp"),
            ("host = 3", "host"),
            ("x = ", ""),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }
}
