//! What the tier counts, and the snapshot of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::codec::envelope::Doubt;

/// Counters of the Redis tier since it was made. A forked child goes on from its parent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatistics {
    /// Bytes of the protocol sent; with TLS before encryption, handshakes not counted.
    pub bytes_sent: u64,
    /// Bytes of the protocol received, as above.
    pub bytes_received: u64,
    /// Write system calls that carried requests: requests that come together leave together.
    pub writes: u64,
    /// Connections made.
    pub connects: u64,
    /// Of these, those that replaced a lost one.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Requests that the server answered, with an error reply or without.
    pub round_trips: u64,
    /// Error replies.
    pub refusals: u64,
    /// Requests without an answer before their deadline.
    pub timeouts: u64,
    /// Requests that failed at once because too many were under way.
    pub busy: u64,
    /// Requests that failed at once because there was no connection.
    pub disconnected: u64,
    /// Values found under our names that are no records of ours: damaged, foreign, of another
    /// version or type, under another seal; [`doubts`](Self::doubts) tells them apart.
    pub corrupt: u64,
    /// Writes that the server refused because their deadline had passed when it came to them.
    pub late_writes: u64,
    /// Changes of single keys that the server told this process of.
    pub changes_told: u64,
    /// Times that it said that everything changed.
    pub all_changes_told: u64,
    /// Groups of keys of which news was missed, by pub/sub, so that their copies were given up.
    pub news_missed: u64,
    /// Messages of pub/sub that were no news: of an unknown version, or no words of ours.
    pub news_ignored: u64,
    /// Subscriptions to its stream of changes that this process made ...
    pub subscriptions: u64,
    /// ... and those that were lost, or could not be made.
    pub subscriptions_lost: u64,
    /// Reads that a replica answered ...
    pub replica_hits: u64,
    /// ... those that its master was asked for next, as it had no fresh value ...
    pub replica_misses: u64,
    /// ... and those as it was behind what this host knows, failed, or was no replica of that master.
    pub replica_turned_back: u64,
    doubts: [u64; Doubt::ALL.len()],
}

impl RedisStatistics {
    /// Why values were counted as [`corrupt`](Self::corrupt): each reason, as a label of metrics
    /// names it, and how often it was the first one found.
    pub fn doubts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Doubt::ALL.into_iter().zip(self.doubts).map(|(doubt, times)| (doubt.as_str(), times))
    }
}

/// The live counters. Each is a statistic of its own, so relaxed order suffices.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) connect_failures: AtomicU64,
    pub(super) round_trips: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) corrupt: AtomicU64,
    pub(super) late_writes: AtomicU64,
    pub(super) changes_told: AtomicU64,
    pub(super) all_changes_told: AtomicU64,
    pub(super) news_missed: AtomicU64,
    pub(super) news_ignored: AtomicU64,
    pub(super) subscriptions: AtomicU64,
    pub(super) subscriptions_lost: AtomicU64,
    pub(super) replica_hits: AtomicU64,
    pub(super) replica_misses: AtomicU64,
    pub(super) replica_turned_back: AtomicU64,
    doubts: [AtomicU64; Doubt::ALL.len()],
    /// Questions for many values that are under way; no statistic.
    pub(super) many_under_way: AtomicUsize,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Counts bytes that are no record, and why.
    pub(super) fn count_doubt(&self, doubt: Doubt) {
        count(&self.corrupt);
        count(&self.doubts[doubt as usize]);
    }

    pub(super) fn snapshot(&self) -> RedisStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RedisStatistics {
            bytes_sent: read(&self.bytes_sent),
            bytes_received: read(&self.bytes_received),
            writes: read(&self.writes),
            connects: read(&self.connects),
            reconnects: read(&self.reconnects),
            connect_failures: read(&self.connect_failures),
            round_trips: read(&self.round_trips),
            refusals: read(&self.refusals),
            timeouts: read(&self.timeouts),
            busy: read(&self.busy),
            disconnected: read(&self.disconnected),
            corrupt: read(&self.corrupt),
            late_writes: read(&self.late_writes),
            changes_told: read(&self.changes_told),
            all_changes_told: read(&self.all_changes_told),
            news_missed: read(&self.news_missed),
            news_ignored: read(&self.news_ignored),
            subscriptions: read(&self.subscriptions),
            subscriptions_lost: read(&self.subscriptions_lost),
            replica_hits: read(&self.replica_hits),
            replica_misses: read(&self.replica_misses),
            replica_turned_back: read(&self.replica_turned_back),
            doubts: std::array::from_fn(|number| read(&self.doubts[number])),
        }
    }
}
