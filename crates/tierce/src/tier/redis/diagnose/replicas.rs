//! Which replicas there are to be read, and whether each would answer.

use super::{Asked, said};
use crate::{
    diagnosis::Diagnosis,
    error::Result,
    tier::redis::{
        options::Address,
        replicas::{self, Known},
    },
};

const REPLICAS: &str = "redis.replicas";
const REPLICA: &str = "redis.replica";

/// More bytes behind than a replica is that does what its master does as it comes.
const BEHIND_BYTES: u64 = 1 << 20;

pub(super) async fn examine(asked: &mut Asked, out: &mut Vec<Diagnosis>) {
    if !asked.settings().replica_reads {
        return;
    }
    let known = match replicas::known(&asked.common).await {
        Ok(Known::Same(all)) => all,
        Ok(Known::Each(each)) => {
            let mut all: Vec<Address> = each.into_iter().flatten().collect();
            all.sort();
            all.dedup();
            all
        }
        Err(error) => {
            let found = format!("nobody says which replicas there are: {}", said(&error));
            out.push(Diagnosis::doubtful(REPLICAS, found, "mend what names them"));
            return;
        }
    };
    if known.is_empty() {
        let found = "redis.replica_reads is on, and there is no replica: the master is asked";
        out.push(Diagnosis::doubtful(REPLICAS, found, "add one, or unset redis.replica_reads"));
    }
    for address in known {
        let name = address.to_string();
        let examined = match look(asked, &address).await {
            Ok(examined) => examined,
            Err(error) => Diagnosis::doubtful(
                REPLICA,
                format!("{name} does not answer: {}; its master is asked", said(&error)),
                "see that the replica runs and lets the same user in",
            ),
        };
        out.push(examined.of(&name));
    }
}

async fn look(asked: &mut Asked, address: &Address) -> Result<Diagnosis> {
    let mut replica = Asked::reach(&asked.common, address).await?;
    // The master first: a replica that has done as much since is not behind.
    let of_master = replicas::offset_of_master(&asked.one(redis::cmd("ROLE")).await?);
    let role = replica.one(redis::cmd("ROLE")).await?;
    let Some(offset) = replicas::offset_of_replica(&role) else {
        let found = format!("{address} is no replica with a link to its master; that one is asked");
        return Ok(Diagnosis::doubtful(REPLICA, found, "see INFO replication of the replica"));
    };
    // In a cluster the one that is asked may be another one's master.
    let is_cluster = asked.settings().place.is_cluster();
    let behind = of_master.filter(|_| !is_cluster).map(|master| master.saturating_sub(offset));
    Ok(match behind {
        Some(behind) if behind > BEHIND_BYTES => Diagnosis::doubtful(
            REPLICA,
            format!("{address} is {behind} bytes behind its master, which is asked meanwhile"),
            "see what keeps the replica from following (its network, its load)",
        ),
        Some(behind) => {
            Diagnosis::fit(REPLICA, format!("{address} follows, {behind} bytes behind"))
        }
        None => Diagnosis::fit(REPLICA, format!("{address} follows its master")),
    })
}
