//! TLS to the server by rustls: certificates are always verified, and no process-wide crypto
//! provider is installed or needed, so that the host's own use of rustls is left alone.

use std::{io, path::Path, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::refusal::error;
use crate::error::{Error, ErrorKind, Result};

pub(super) type Tls = TlsStream<TcpStream>;

/// What a handshake needs, made once for all connections.
pub(super) type Connector = TlsConnector;

/// Trusts the certificates of `ca_file`, or Mozilla's roots.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<Connector> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |cause: Box<dyn std::error::Error + Send + Sync>| {
                let rule = "must be a PEM file of certificates";
                error(ErrorKind::Config, format!("redis.tls_ca_file = {}: {rule}", path.display()))
                    .caused_by(cause)
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.into()))? {
                let certificate = certificate.map_err(|e| wrong(e.into()))?;
                roots.add(certificate).map_err(|e| wrong(e.into()))?;
            }
            if roots.is_empty() {
                return Err(wrong("the file has none".into()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| {
            Error::new(ErrorKind::Unsupported, "redis.tls: no protocol version").caused_by(cause)
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Shakes hands and verifies that the server is `host`.
pub(super) async fn handshake(
    connector: &Connector,
    host: &str,
    stream: TcpStream,
) -> io::Result<Tls> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
    connector.connect(name, stream).await
}

/// The socket below.
pub(super) fn plain(tls: &mut Tls) -> &mut TcpStream {
    tls.get_mut().0
}
