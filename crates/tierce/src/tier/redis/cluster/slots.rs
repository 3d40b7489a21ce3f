//! Which master has which slots, as a node of the cluster says, and which slot a stripe has.

use redis::Value;

use crate::{
    error::{ErrorKind, Result},
    tier::redis::{
        link::unexpected,
        names::STRIPES,
        options::Address,
        refusal::{self, error},
    },
};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// The slot of a stripe: of its two digits, which are the hash tag of all its names.
pub(super) fn of_stripe(stripe: usize) -> u16 {
    crc16(format!("{stripe:02x}").as_bytes()) % SLOTS
}

/// CRC16 as XMODEM has it: polynomial 0x1021, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 }
        })
    })
}

/// Who serves what, as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Shares {
    /// Of each stripe.
    pub(in super::super) masters: Vec<Option<Address>>,
    /// The replicas of each stripe's master.
    pub(in super::super) replicas: Vec<Vec<Address>>,
    /// All nodes, replicas too.
    pub(in super::super) nodes: Vec<Address>,
    /// Counts the changes that the cluster agreed on.
    pub(super) epoch: u64,
    /// False where the node takes the cluster for broken, or itself for cut off from it.
    pub(in super::super) is_ok: bool,
}

impl Shares {
    /// Reads the answers of the node at this address to CLUSTER SLOTS and CLUSTER INFO.
    ///
    /// # Errors
    /// An error reply, as one that is no node of a cluster gives.
    pub(super) fn of(slots: &Value, info: &Value, asked: &Address) -> Result<Self> {
        let ranges = match slots {
            Value::Array(ranges) => ranges,
            Value::ServerError(reply) => return Err(refusal::from_reply(reply)),
            _ => return Err(unexpected()),
        };
        let mut shares = Self {
            masters: vec![None; STRIPES],
            replicas: vec![Vec::new(); STRIPES],
            nodes: Vec::new(),
            epoch: 0,
            is_ok: false,
        };
        for range in ranges {
            let Value::Array(parts) = range else { return Err(unexpected()) };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = &parts[..] else {
                return Err(unexpected());
            };
            let (mut master, mut replicas) = (None, Vec::new());
            for node in nodes {
                let address = address(node, asked)?;
                match &master {
                    None => master = Some(address.clone()),
                    Some(_) => replicas.push(address.clone()),
                }
                if !shares.nodes.contains(&address) {
                    shares.nodes.push(address);
                }
            }
            for (stripe, share) in shares.masters.iter_mut().enumerate() {
                if (*first..=*last).contains(&i64::from(of_stripe(stripe))) {
                    share.clone_from(&master);
                    shares.replicas[stripe].clone_from(&replicas);
                }
            }
        }
        let info = match info {
            Value::BulkString(info) => String::from_utf8_lossy(info).into_owned(),
            Value::VerbatimString { text, .. } => text.clone(),
            Value::ServerError(reply) => return Err(refusal::from_reply(reply)),
            _ => return Err(unexpected()),
        };
        for line in info.lines() {
            match line.split_once(':') {
                Some(("cluster_state", state)) => shares.is_ok = state.trim() == "ok",
                Some(("cluster_current_epoch", epoch)) => {
                    shares.epoch = epoch.trim().parse().unwrap_or(0);
                }
                _ => {}
            }
        }
        Ok(shares)
    }

    /// True if there is nothing that another survey could find better.
    pub(super) fn is_sound(&self) -> bool {
        self.is_ok && self.masters.iter().all(Option::is_some)
    }

    /// The masters with the stripes of each.
    ///
    /// # Errors
    /// Where a stripe has none.
    pub(in super::super) fn by_master(&self) -> Result<Vec<(Address, Vec<usize>)>> {
        let mut all: Vec<(Address, Vec<usize>)> = Vec::new();
        for (stripe, master) in self.masters.iter().enumerate() {
            let Some(master) = master else { return Err(unserved(stripe)) };
            match all.iter_mut().find(|(address, _)| address == master) {
                Some((_, stripes)) => stripes.push(stripe),
                None => all.push((master.clone(), vec![stripe])),
            }
        }
        Ok(all)
    }
}

/// The error of a stripe that no master serves.
pub(super) fn unserved(stripe: usize) -> crate::error::Error {
    let slot = of_stripe(stripe);
    error(ErrorKind::Network, format!("no node of the cluster serves slot {slot}"))
}

/// The address of a node; one that does not say its host has that which was asked.
fn address(node: &Value, asked: &Address) -> Result<Address> {
    let Value::Array(parts) = node else { return Err(unexpected()) };
    let [host, Value::Int(port), ..] = &parts[..] else { return Err(unexpected()) };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).map_err(|_| unexpected())?,
        Value::Nil => "",
        _ => return Err(unexpected()),
    };
    let port = u16::try_from(*port).map_err(|_| unexpected())?;
    match (host, asked) {
        ("" | "?", Address::Tcp(host, _)) => Ok(Address::Tcp(host.clone(), port)),
        (host, _) => Ok(Address::Tcp(host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_hash_tag() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT says of the names.
        for (stripe, slot) in [(0x00, 13_254), (0x7f, 4_194), (0xb4, 7_071), (0xff, 11_756)] {
            assert_eq!(of_stripe(stripe), slot, "{stripe:02x}");
        }
        assert!((0..STRIPES).all(|stripe| of_stripe(stripe) < SLOTS));
    }

    fn at(port: u16) -> Address {
        Address::Tcp("10.0.0.1".to_owned(), port)
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
    }

    #[test]
    fn every_stripe_has_the_master_of_its_slot() {
        let host = |name: &str| Value::BulkString(name.into());
        let info = Value::BulkString(
            b"cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:7\r\n".to_vec(),
        );
        let slots = Value::Array(vec![
            range(0, 8_191, vec![node(host("10.0.0.1"), 1), node(host("10.0.0.1"), 3)]),
            range(8_192, 16_383, vec![node(Value::Nil, 2)]),
        ]);
        let shares = Shares::of(&slots, &info, &at(9)).unwrap();
        assert_eq!((shares.epoch, shares.is_ok), (7, true));
        assert_eq!(shares.nodes, [at(1), at(3), at(2)]);
        for (stripe, master) in shares.masters.iter().enumerate() {
            let port = if of_stripe(stripe) < 8_192 { 1 } else { 2 };
            assert_eq!(master.as_ref(), Some(&at(port)));
            let replicas: &[Address] = if port == 1 { &[at(3)] } else { &[] };
            assert_eq!(shares.replicas[stripe], replicas);
        }
        let by_master = shares.by_master().unwrap();
        assert_eq!(by_master.len(), 2);
        assert_eq!(by_master.iter().map(|(_, stripes)| stripes.len()).sum::<usize>(), STRIPES);

        let half = Value::Array(vec![range(0, 8_191, vec![node(host("h"), 1)])]);
        let half = Shares::of(&half, &info, &at(9)).unwrap();
        assert!(half.by_master().unwrap_err().to_string().contains("serves slot"));
        for garbage in [Value::Nil, Value::Array(vec![Value::Int(1)])] {
            assert!(Shares::of(&garbage, &info, &at(9)).is_err());
        }
    }
}
