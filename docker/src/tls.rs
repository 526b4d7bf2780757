//! TLS for TCP: always mutual, because whoever reaches this API is root on the node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

/// Files of a TLS listener, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// CA that client certificates must be signed by.
    pub ca: PathBuf,
    /// Certificate chain of this daemon.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Reads the files into a configuration that demands a client certificate.
///
/// # Errors
/// A sentence that names the file or the missing option.
pub fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, String> {
    let given = [("tls_ca", &files.ca), ("tls_cert", &files.cert), ("tls_key", &files.key)];
    if let Some((option, _)) = given.iter().find(|(_, path)| path.as_os_str().is_empty()) {
        return Err(format!(
            "a TCP listener needs mutual TLS: docker.{option} is not set (whoever reaches this API is root on the node)"
        ));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", files.ca.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| format!("{}: {e}", files.ca.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("{}: {e}", files.key.display()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(|e| format!("{}: {e}", files.cert.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let list: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?.collect();
    let list = list.map_err(|e| wrong(e.to_string()))?;
    if list.is_empty() { Err(wrong("no certificate in it".into())) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_without_mutual_tls_is_refused_by_the_name_of_the_option() {
        let text = server_config(&TlsFiles::default()).unwrap_err();
        assert!(text.contains("docker.tls_ca is not set"), "{text}");
        let files = TlsFiles { ca: "/nonexistent/ca.pem".into(), cert: "/c".into(), key: "/k".into() };
        assert!(server_config(&files).unwrap_err().contains("/nonexistent/ca.pem"));
    }
}
