//! Posting to a place over HTTP: by whom, and what may be said of it.
//!
//! Addresses may hold what is secret: errors show host and port alone. Redirections are not followed,
//! as they would carry it elsewhere, and no proxy is asked. TLS is rustls with ring, as for L3; the
//! certificate is always checked.

use std::{path::Path, time::Duration};

use ureq::{
    Agent, Body,
    http::{Response, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::error::{Error, ErrorKind, Result};

/// Host and port of an address, which is all of it that may be shown.
pub(super) fn place(url: &str) -> std::result::Result<String, String> {
    let rule = "must be such as http://host:port/path or https://host/path".to_owned();
    // The parser's own words might repeat what is secret.
    let Ok(uri) = url.parse::<Uri>() else { return Err(rule) };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(rule);
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user or a password: use a token".to_owned());
    }
    if authority.host().is_empty() {
        return Err(rule);
    }
    Ok(authority.as_str().to_owned())
}

/// Who posts, and gives up after `timeout`. `who` names it in errors; so many connections are kept
/// for the next message.
///
/// # Errors
/// [`ErrorKind::Config`] for a file that holds no certificates.
pub(super) fn agent(
    who: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
    kept: usize,
) -> Result<Agent> {
    let roots = match ca_file {
        None => RootCerts::WebPki,
        Some(path) => RootCerts::new_with_certs(&certificates(who, path)?),
    };
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(kept)
        .proxy(None)
        .user_agent(concat!("tierce/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.new_agent())
}

fn certificates(who: &str, path: &Path) -> Result<Vec<Certificate<'static>>> {
    let refuse = |cause: Option<std::io::Error>| {
        let rule = "must be a PEM file of certificates";
        let message = format!("{who}: ca_file = {}: {rule}", path.display());
        let error = Error::new(ErrorKind::Config, message);
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    };
    let text = std::fs::read(path).map_err(|error| refuse(Some(error)))?;
    let found: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    if found.is_empty() { Err(refuse(None)) } else { Ok(found) }
}

/// For how long the place asks not to be tried again.
pub(super) fn asked(answer: &Response<Body>) -> Option<Duration> {
    let text = answer.headers().get("retry-after")?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

/// What went wrong, without the address.
pub(super) fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("timeout: {what}"),
        // So rustls tells of its own refusals.
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
            format!("TLS: {cause}")
        }
        ureq::Error::Io(cause) => format!("network: {cause}"),
        ureq::Error::HostNotFound => "network: the host is not found".to_owned(),
        ureq::Error::ConnectionFailed => "network: no connection".to_owned(),
        ureq::Error::Rustls(cause) => format!("TLS: {cause}"),
        ureq::Error::Tls(cause) => format!("TLS: {cause}"),
        ureq::Error::Protocol(_) => "the answer is not HTTP".to_owned(),
        _ => "the message cannot be sent".to_owned(),
    }
}
