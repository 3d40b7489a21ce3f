//! Stands where TLS would be in a build without the feature `tls`: options that ask for it were
//! refused, so no value of these types exists.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
};

use tokio::net::TcpStream;

use super::refusal::error;
use crate::error::{ErrorKind, Result};

/// The stream type only completes the match arms; none is ever made.
pub(super) type Tls = TcpStream;

pub(super) type Connector = Infallible;

pub(super) fn connector(
    _ca_file: Option<&Path>,
    _identity: Option<&(PathBuf, PathBuf)>,
) -> Result<Connector> {
    Err(error(ErrorKind::Unsupported, "redis.tls = true: this build lacks the feature tls"))
}

pub(super) async fn handshake(
    connector: &Connector,
    _host: &str,
    _stream: TcpStream,
) -> io::Result<Tls> {
    match *connector {}
}

pub(super) type Session = Infallible;

pub(super) const MOST_SEALED: usize = 0;

pub(super) fn into_parts(tls: Tls) -> (TcpStream, Session) {
    // A stream of this type is made nowhere.
    drop(tls);
    unreachable!("no TLS in this build")
}

pub(super) fn seal(
    session: &mut Session,
    _bytes: &[u8],
    _sealed: &mut Vec<u8>,
) -> io::Result<usize> {
    match *session {}
}

pub(super) fn open(
    session: &mut Session,
    _sealed: &[u8],
    _take: impl FnMut(&[u8]),
) -> io::Result<()> {
    match *session {}
}

pub(super) fn plain(stream: &mut Tls) -> &mut TcpStream {
    stream
}
