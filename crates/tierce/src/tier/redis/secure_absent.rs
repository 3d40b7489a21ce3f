//! Stands where TLS would be in a build without the feature `tls`: options that ask for it were
//! refused, so no value of these types exists.

use std::{convert::Infallible, io, path::Path};

use tokio::net::TcpStream;

use super::refusal::error;
use crate::error::{ErrorKind, Result};

/// The stream type only completes the match arms; none is ever made.
pub(super) type Tls = TcpStream;

pub(super) type Connector = Infallible;

pub(super) fn connector(_ca_file: Option<&Path>) -> Result<Connector> {
    Err(error(ErrorKind::Unsupported, "redis.tls = true: this build lacks the feature tls"))
}

pub(super) async fn handshake(
    connector: &Connector,
    _host: &str,
    _stream: TcpStream,
) -> io::Result<Tls> {
    match *connector {}
}

pub(super) fn plain(stream: &mut Tls) -> &mut TcpStream {
    stream
}
