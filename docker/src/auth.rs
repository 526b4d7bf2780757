//! `X-Registry-Auth`: credentials that travel with a request.

use base64::Engine as _;
use docker_api::system::AuthConfig;
use engine::image::RegistryAuth;
use http::HeaderMap;

use crate::status_code::Failure;

/// Reads the header: base64url of a JSON object; absent, empty or `{}` is anonymous.
///
/// # Errors
/// 400 when it is neither base64 nor JSON. Nothing of it is repeated in the message.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<RegistryAuth>, Failure> {
    let wrong = |why: &str| Failure::bad_request(format!("invalid X-Registry-Auth header: {why}"));
    let Some(value) = headers.get("x-registry-auth") else { return Ok(None) };
    let text = value.to_str().map_err(|_| wrong("it is not ASCII"))?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // Clients differ in alphabet and padding.
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(plain).map_err(|_| wrong("it is not base64"))?;
    let config: AuthConfig =
        docker_api::from_slice(&json).map_err(|_| wrong("it is not a JSON object of credentials"))?;
    let auth = credentials(config)?;
    Ok((!auth.is_empty()).then_some(auth))
}

/// Credentials of a body or header; `auth` holds `user:password` in base64.
///
/// # Errors
/// 400 when `auth` is malformed.
pub(crate) fn credentials(config: AuthConfig) -> Result<RegistryAuth, Failure> {
    let named = RegistryAuth {
        username: config.username,
        password: config.password,
        identity_token: config.identitytoken,
        registry_token: config.registrytoken,
        server_address: config.serveraddress,
    };
    named
        .with_basic(&config.auth)
        .ok_or_else(|| Failure::bad_request("invalid credentials: auth is not user:password in base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, engine: &base64::engine::GeneralPurpose) -> Option<RegistryAuth> {
        let mut headers = HeaderMap::new();
        headers.insert("x-registry-auth", engine.encode(json).parse().unwrap());
        from_headers(&headers).unwrap()
    }

    #[test]
    fn credentials_come_in_any_base64() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
        let json = r#"{"username":"u","password":"p???>>>","serveraddress":"localhost:5000"}"#;
        for engine in [STANDARD, URL_SAFE, URL_SAFE_NO_PAD] {
            let auth = read(json, &engine).unwrap();
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p???>>>"));
        }
        assert_eq!(read("{}", &URL_SAFE), None);
        let auth = read(r#"{"auth":"dTpw"}"#, &URL_SAFE).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
    }

    #[test]
    fn nonsense_is_refused_without_repeating_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(from_headers(&headers).unwrap(), None);
        headers.insert("x-registry-auth", "c2VjcmV0".parse().unwrap());
        let failure = from_headers(&headers).unwrap_err();
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
}
