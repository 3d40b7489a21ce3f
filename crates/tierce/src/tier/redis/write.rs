//! A record that is set: whatever is there, or only over what was expected.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::Value;

use super::{
    RedisTier,
    call::Call,
    counters::count,
    keeper,
    link::{Link, unexpected},
    names,
    read::random_start,
    refusal, scripts, stamp_of, tags,
};
use crate::{
    error::{ErrorKind, Result},
    key,
    tier::{Record, RemoteTier, Written},
};

/// What is fresh for longer is stored without an end: the server's own bound is of that order, and no
/// record lives that long.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Within which a record is stale at most, for the same reason.
const LONGEST_STALE: Duration = LONGEST_TTL;

impl RedisTier {
    /// Runs the script that replaces a record, of which its last argument says which it may be.
    pub(super) fn write_over(
        &self,
        key: &[u8],
        record: &Record,
        expected: Bytes,
    ) -> Result<Written> {
        self.check_value(record)?;
        let ttl = match ttl_argument(record) {
            Ok(ttl) => ttl,
            Err(()) if expected.is_empty() => return self.delete(key).map(Written::Done),
            Err(()) => return Ok(Written::Otherwise),
        };
        let call = self.write_call()?;
        let names = self.names(key);
        let record = self.numbered(&call, record)?;
        let stripe = key::group(key);
        let epoch = self.epochs.guess(stripe);
        let body = self.seal(key, &record, epoch)?;
        let epoch = Bytes::from(epoch.to_string());
        let arguments = |link: &Link| {
            let not_after = Bytes::from(call.server_deadline(link)?.to_string());
            let starts = [random_start(), random_start()];
            let mut arguments = Vec::with_capacity(8);
            arguments.extend(starts);
            arguments.extend([
                body.clone(),
                ttl.clone(),
                not_after,
                expected.clone(),
                epoch.clone(),
            ]);
            if link.may_change() {
                let (_, reign) = link.reign();
                let reign = reign.ok_or_else(keeper::replaced)?;
                arguments.push(Bytes::copy_from_slice(reign.name()));
            }
            Ok(arguments)
        };
        let of_reign = self.reign_name(stripe).map(|reign| {
            let [_, notice, _] = names::of_clear(&self.common.settings.prefix, stripe);
            [reign, notice]
        });
        let mut all: Vec<&[u8]> = vec![&names.data, &names.stamp, &names.epoch];
        all.extend(of_reign.iter().flatten().map(|name| &name[..]));
        let edition = self.edition_name();
        all.extend(edition.as_deref());
        let script = if of_reign.is_some() { &scripts::WRITE_UNDER } else { &scripts::WRITE };
        for _ in 0..2 {
            let (reply, link) = call.run(stripe, script, &all, &arguments)?;
            let Value::Array(parts) = reply else { return Err(unexpected()) };
            let [Value::Int(happened), Value::Int(server_millis), stamp, news @ ..] = &parts[..]
            else {
                return Err(unexpected());
            };
            let (happened, server_millis) = (*happened, *server_millis);
            if happened != 0 {
                link.clock().heard(server_millis);
                if let Some(epoch) = news.first() {
                    self.epochs.heard(stripe, stamp_of(epoch));
                }
                let stamp = stamp_of(stamp);
                return Ok(if happened == 1 { Written::Done(stamp) } else { Written::Otherwise });
            }
            // In time by our clock and late by the server's: that one was set forward.
            count(&self.common.counters.late_writes);
            link.clock().forget();
            link.clock().heard(server_millis);
        }
        Err(refusal::error(ErrorKind::Timeout, "write came to the server after its deadline"))
    }

    /// The record with a number up to which it knows of changes of its tags.
    fn numbered<'r>(&self, call: &Call<'_>, record: &'r Record) -> Result<Cow<'r, Record>> {
        if tags::tags_of(record).is_none_or(|tags| tags.below.is_some()) {
            return Ok(Cow::Borrowed(record));
        }
        let known = self.numbering(call)?;
        let mut record = record.clone();
        let extras = record.extras.as_mut().map(Arc::make_mut);
        if let Some(tags) = extras.and_then(|extras| extras.tags.as_mut()) {
            tags.below = Some(known);
        }
        Ok(Cow::Owned(record))
    }

    /// Refuses a value that is too large, before any of it is sent.
    pub(super) fn check_value(&self, record: &Record) -> Result<()> {
        let bound = self.common.settings.envelope.max_value_bytes;
        if record.value.len() > bound {
            return Err(refusal::error(
                ErrorKind::TooLarge,
                format!("value of {} bytes: must be at most {bound}", record.value.len()),
            ));
        }
        Ok(())
    }
}

/// How long the server keeps a record, and in which last part of that it is stale; `None` for ever.
pub(super) fn kept_for(record: &Record) -> Option<(Duration, Duration)> {
    let ttl = record.ttl?;
    let fresh = ttl.saturating_sub(record.stale);
    let stale = record.stale.min(LONGEST_STALE);
    // One that has been stale for a while has more of that before it than time.
    (fresh <= LONGEST_TTL).then(|| (ttl.min(fresh + stale), stale))
}

/// The time of a record as the scripts take it, or `Err` where it is zero: nothing is to be kept then.
pub(super) fn ttl_argument(record: &Record) -> Result<Bytes, ()> {
    match kept_for(record) {
        Some((ttl, _)) if ttl.is_zero() => Err(()),
        Some((ttl, _)) => Ok(Bytes::from(ttl.as_nanos().div_ceil(1_000_000).to_string())),
        None => Ok(Bytes::new()),
    }
}
