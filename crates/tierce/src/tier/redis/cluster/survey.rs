//! Asking a cluster who serves what.
//!
//! Several nodes are asked at once, and the first answers are compared: the one of the highest epoch
//! counts, and one that takes the cluster for sound before one that does not, so that a node that was
//! cut off does not lead back to what was. Dead nodes cost nothing but their part of the time.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::slots::Shares;
use crate::{
    error::{ErrorKind, Result},
    random,
    tier::redis::{
        connect::{as_error, limits},
        link::{Common, unexpected},
        options::Address,
        refusal::{self, error},
        stream::Stream,
    },
};

/// Nodes that are asked at once.
const MOST_ASKED: usize = 8;

/// How long after the first answer others may come in.
const COMPARED_WITHIN: Duration = Duration::from_millis(30);

/// Who serves what, by some of these nodes.
///
/// # Errors
/// That of a node, where none answers in time.
pub(in super::super) async fn survey(
    common: &Arc<Common>,
    mut nodes: Vec<Address>,
) -> Result<Shares> {
    let mut until = Instant::now() + common.settings.connect_timeout / 2;
    for place in (1..nodes.len()).rev() {
        nodes.swap(place, random::random() as usize % (place + 1));
    }
    nodes.truncate(MOST_ASKED);
    let mut asked = JoinSet::new();
    for address in nodes {
        let common = Arc::clone(common);
        asked.spawn(async move { ask(&common, &address).await });
    }
    let (mut best, mut failure): (Option<Shares>, _) = (None, None);
    while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
        match answer.map_err(|_| unexpected()).flatten() {
            Ok(shares) => {
                if best.is_none() {
                    until = until.min(Instant::now() + COMPARED_WITHIN);
                }
                let rank = |shares: &Shares| (shares.is_ok, shares.epoch);
                if best.as_ref().is_none_or(|best| rank(best) < rank(&shares)) {
                    best = Some(shares);
                }
            }
            Err(error) => failure = Some(error),
        }
    }
    best.ok_or_else(|| {
        let none = || error(ErrorKind::Network, "no node of the cluster answered in time");
        failure.unwrap_or_else(none)
    })
}

async fn ask(common: &Common, address: &Address) -> Result<Shares> {
    let settings = &common.settings;
    let counters = Arc::clone(&common.counters);
    let mut stream = Stream::connect(address, common.connector.as_ref(), counters)
        .await
        .map_err(|cause| refusal::from_connect(cause, address))?;
    let (mut bytes, mut commands) = (Vec::new(), 2);
    if let Some(password) = &settings.password {
        commands += 1;
        redis::cmd("AUTH")
            .arg(settings.username.as_deref())
            .arg(password)
            .write_packed_command(&mut bytes);
    }
    redis::cmd("CLUSTER").arg("SLOTS").write_packed_command(&mut bytes);
    redis::cmd("CLUSTER").arg("INFO").write_packed_command(&mut bytes);
    let replies = stream.ask(&bytes, commands, limits(settings)).await.map_err(as_error)?;
    if let [redis::Value::ServerError(_), _, _] = &replies[..] {
        return Err(error(ErrorKind::Auth, "server refused our credentials"));
    }
    let [.., slots, info] = &replies[..] else { return Err(unexpected()) };
    Shares::of(slots, info, address)
}
