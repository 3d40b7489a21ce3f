//! TLS to the server by rustls: certificates are always verified, and no process-wide crypto
//! provider is installed or needed, so that the host's own use of rustls is left alone.

use std::{
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::refusal::error;
use crate::error::{Error, ErrorKind, Result};

pub(super) type Tls = TlsStream<TcpStream>;

/// What a handshake needs, made once for all connections.
pub(super) type Connector = TlsConnector;

/// Trusts the certificates of the CA file, or Mozilla's roots, and shows ours if there is one.
///
/// # Errors
/// [`ErrorKind::Config`] names the file that is not what it should be.
pub(super) fn connector(
    ca_file: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<Connector> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates("tls_ca_file", path)? {
                roots
                    .add(certificate)
                    .map_err(|cause| wrong("tls_ca_file", path, CERTIFICATES, cause.into()))?;
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| {
            Error::new(ErrorKind::Unsupported, "redis.tls: no protocol version").caused_by(cause)
        })?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("tls_certificate", certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|cause| wrong("tls_key", key, PRIVATE_KEY, cause.into()))?;
            let rule = "must be of the certificate in redis.tls_certificate";
            let taken = config.with_client_auth_cert(chain, secret);
            taken.map_err(|cause| wrong("tls_key", key, rule, cause.into()))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

const CERTIFICATES: &str = "must be a PEM file of certificates";
const PRIVATE_KEY: &str = "must be a PEM file of a private key that is not encrypted";

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn wrong(option: &str, path: &Path, rule: &str, cause: Cause) -> Error {
    let message = format!("redis.{option} = {}: {rule}", path.display());
    error(ErrorKind::Config, message).caused_by(cause)
}

/// The certificates of a file, one at least.
fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |cause| wrong(option, path, CERTIFICATES, cause);
    let found = CertificateDer::pem_file_iter(path).map_err(|cause| wrong(cause.into()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|cause| wrong(cause.into()))?;
    if found.is_empty() { Err(wrong("the file has none".into())) } else { Ok(found) }
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

/// The state of an encrypted connection after its handshake, without the socket.
pub(super) type Session = ClientConnection;

/// Bytes to read from the socket at once: a record is as long as 16 KiB and a little.
pub(super) const MOST_SEALED: usize = 64 << 10;

/// The socket below.
pub(super) fn plain(tls: &mut Tls) -> &mut TcpStream {
    tls.get_mut().0
}

/// Socket and session, each by itself.
pub(super) fn into_parts(tls: Tls) -> (TcpStream, Session) {
    tls.into_inner()
}

/// Encrypts the beginning of `bytes` into `sealed`, with whatever the session has to say itself;
/// returns how many bytes that were.
pub(super) fn seal(session: &mut Session, bytes: &[u8], sealed: &mut Vec<u8>) -> io::Result<usize> {
    let taken = session.writer().write(bytes)?;
    while session.wants_write() {
        session.write_tls(sealed)?;
    }
    Ok(taken)
}

/// Decrypts what came and gives it to `take`, piece by piece.
pub(super) fn open(
    session: &mut Session,
    mut sealed: &[u8],
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    while !sealed.is_empty() {
        session.read_tls(&mut sealed)?;
        session
            .process_new_packets()
            .map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))?;
        let mut reader = session.reader();
        loop {
            let piece = match reader.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if piece.is_empty() {
                break;
            }
            take(piece);
            let taken = piece.len();
            reader.consume(taken);
        }
    }
    Ok(())
}
