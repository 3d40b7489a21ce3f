//! What a URL says of the server.

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::{
    place::{Address, Named, Place, check_address},
    settings::wrong,
};
use crate::error::Result;

/// Reads a URL; no error repeats any part of it beyond the scheme.
pub(super) fn parse_url(url: &str) -> Result<Named> {
    let rule = "must be redis://, rediss:// or unix:// with a host or a path";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(format!("url: {rule}")))?;
    let (tls, scheme) = match scheme {
        "redis" => (false, "redis"),
        "rediss" => (true, "redis"),
        "unix" => (false, "unix"),
        _ => return Err(wrong(format!("url with this scheme: {rule}"))),
    };
    if rest.contains('#') {
        return Err(wrong("url: must have no fragment (certificates are always verified)"));
    }
    // The parser's own message is dropped: it may quote the user or the password.
    let info = format!("{scheme}://{rest}")
        .into_connection_info()
        .map_err(|_| wrong(format!("url: {rule}")))?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => return Err(wrong(format!("url: {rule}"))),
    };
    check_address(&address)?;
    let redis = info.redis_settings();
    Ok(Named {
        place: Place::One(address),
        username: redis.username().filter(|name| !name.is_empty()).map(str::to_owned),
        password: redis.password().map(str::to_owned),
        database: redis.db(),
        tls,
    })
}
