//! Where the server is: at one address, or wherever those who watch over it say.

use std::{fmt, path::PathBuf};

use super::{RedisOptions, settings::wrong, url::parse_url};
use crate::error::Result;

/// The port that Redis and Valkey listen on by default, and that of their sentinels.
const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// More than anybody runs; each is asked at every connection.
const MOST_ADDRESSES: usize = 32;

/// Longer names than any master has.
const MAX_NAME_BYTES: usize = 255;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Where the server is.
#[derive(Clone)]
pub(in super::super) enum Place {
    One(Address),
    /// Where the master is that these name.
    Sentinels(Sentinels),
    /// On the masters of the cluster that these are nodes of.
    Cluster(Vec<Address>),
}

impl Place {
    /// True where another server may take over, without changes that the one before confirmed.
    pub(in super::super) fn may_change(&self) -> bool {
        !matches!(self, Self::One(_))
    }

    /// True where several servers have parts of it.
    pub(in super::super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => write!(out, "{address}"),
            Self::Sentinels(sentinels) => {
                write!(out, "master {} of the sentinels ", sentinels.master)?;
                write_list(out, &sentinels.addresses)
            }
            Self::Cluster(nodes) => {
                write!(out, "the cluster of ")?;
                write_list(out, nodes)
            }
        }
    }
}

fn write_list(out: &mut fmt::Formatter<'_>, addresses: &[Address]) -> fmt::Result {
    for (number, address) in addresses.iter().enumerate() {
        write!(out, "{}{address}", if number == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// Who says which server is the master. No `Debug`, because of the password.
#[derive(Clone)]
pub(in super::super) struct Sentinels {
    pub(in super::super) addresses: Vec<Address>,
    pub(in super::super) master: String,
    pub(in super::super) username: Option<String>,
    pub(in super::super) password: Option<String>,
}

/// What names the server and who we are there.
pub(super) struct Named {
    pub(super) place: Place,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    pub(super) tls: bool,
}

impl Named {
    fn nameless(place: Place) -> Self {
        Self { place, username: None, password: None, database: 0, tls: false }
    }
}

impl RedisOptions {
    /// What sentinels, nodes, URL, path, or host and port say.
    pub(super) fn named(&self) -> Result<Named> {
        if !self.cluster {
            if self.nodes.is_some() {
                return Err(wrong("nodes: need cluster = true"));
            }
            return self.named_alone();
        }
        if self.sentinels.is_some() {
            return Err(wrong("cluster = true: not together with sentinels"));
        }
        if self.database.is_some_and(|database| database != 0) {
            return Err(wrong("database: must be 0 in a cluster"));
        }
        if let Some(list) = &self.nodes {
            if self.is_plain() || self.url.is_some() || self.unix_path.is_some() {
                return Err(wrong("nodes: not together with url, host, port or unix_path"));
            }
            let nodes = parse_list("nodes", list, DEFAULT_PORT)?;
            return Ok(Named::nameless(Place::Cluster(nodes)));
        }
        let named = self.named_alone()?;
        if named.database != 0 {
            return Err(wrong("url: must be of database 0 in a cluster"));
        }
        match named.place {
            Place::One(node @ Address::Tcp(..)) => {
                Ok(Named { place: Place::Cluster(vec![node]), ..named })
            }
            _ => Err(wrong("cluster = true: not over a unix socket")),
        }
    }

    fn is_plain(&self) -> bool {
        self.host.is_some() || self.port.is_some()
    }

    /// The same without a cluster.
    fn named_alone(&self) -> Result<Named> {
        let plain = self.is_plain();
        if let Some(sentinels) = self.checked_sentinels()? {
            if plain || self.url.is_some() || self.unix_path.is_some() {
                return Err(wrong("sentinels: not together with url, host, port or unix_path"));
            }
            return Ok(Named::nameless(Place::Sentinels(sentinels)));
        }
        if let Some(url) = &self.url {
            if plain || self.unix_path.is_some() {
                return Err(wrong("url: not together with host, port or unix_path"));
            }
            return parse_url(url);
        }
        let address = match &self.unix_path {
            Some(_) if plain => return Err(wrong("unix_path: not together with host or port")),
            Some(path) if path.as_os_str().is_empty() => {
                return Err(wrong("unix_path = \"\": must name a socket"));
            }
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(
                self.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
                self.port.unwrap_or(DEFAULT_PORT),
            ),
        };
        check_address(&address)?;
        Ok(Named::nameless(Place::One(address)))
    }

    /// The replicas of a server at this place, where those are read and it does not name them itself.
    pub(super) fn checked_replicas(&self, place: &Place) -> Result<Vec<Address>> {
        let is_one = matches!(place, Place::One(_));
        match &self.replicas {
            Some(_) if !self.replica_reads => Err(wrong("replicas: need replica_reads = true")),
            Some(_) if !is_one => Err(wrong("replicas: not together with sentinels or a cluster")),
            Some(list) => parse_list("replicas", list, DEFAULT_PORT),
            None if self.replica_reads && is_one => {
                Err(wrong("replica_reads = true: needs replicas, sentinels or a cluster"))
            }
            None => Ok(Vec::new()),
        }
    }

    fn checked_sentinels(&self) -> Result<Option<Sentinels>> {
        let Some(list) = &self.sentinels else {
            for (name, is_set) in [
                ("sentinel_master", self.sentinel_master.is_some()),
                ("sentinel_username", self.sentinel_username.is_some()),
                ("sentinel_password", self.sentinel_password.is_some()),
            ] {
                if is_set {
                    return Err(wrong(format!("{name}: needs sentinels")));
                }
            }
            return Ok(None);
        };
        let addresses = parse_list("sentinels", list, DEFAULT_SENTINEL_PORT)?;
        let Some(master) = &self.sentinel_master else {
            return Err(wrong("sentinels: need a sentinel_master"));
        };
        let plain = master.bytes().all(|byte| byte.is_ascii_graphic());
        if master.is_empty() || master.len() > MAX_NAME_BYTES || !plain {
            return Err(wrong(format!(
                "sentinel_master = {master:?}: must be 1 to {MAX_NAME_BYTES} bytes of printable \
                 ASCII without blanks"
            )));
        }
        if self.sentinel_username.is_some() && self.sentinel_password.is_none() {
            return Err(wrong("sentinel_username: needs a sentinel_password"));
        }
        Ok(Some(Sentinels {
            addresses,
            master: master.clone(),
            username: self.sentinel_username.clone(),
            password: self.sentinel_password.clone(),
        }))
    }
}

pub(super) fn check_address(address: &Address) -> Result<()> {
    match address {
        Address::Tcp(host, _) if host.trim().is_empty() || host.contains(char::is_whitespace) => {
            Err(wrong(format!("host = {host:?}: must be a name or an address")))
        }
        Address::Tcp(_, 0) => Err(wrong("port = 0: must be 1 to 65535")),
        _ => Ok(()),
    }
}

/// Reads `host:port, [address]:port, host`.
fn parse_list(name: &str, list: &str, default_port: u16) -> Result<Vec<Address>> {
    let rule = || {
        wrong(format!(
            "{name} = {list:?}: must be 1 to {MOST_ADDRESSES} of host:port, apart by commas"
        ))
    };
    let addresses: Option<Vec<_>> =
        list.split(',').map(|item| parse_address(item.trim(), default_port)).collect();
    let addresses = addresses.ok_or_else(rule)?;
    if addresses.len() > MOST_ADDRESSES { Err(rule()) } else { Ok(addresses) }
}

fn parse_address(item: &str, default_port: u16) -> Option<Address> {
    let (host, port) = match item.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match item.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (item, None),
        },
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@/[]".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(plain);
    (is_host && port != 0).then(|| Address::Tcp(host.to_owned(), port))
}
