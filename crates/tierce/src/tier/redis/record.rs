//! A record of L3 and what its envelope says beside the value.

use std::{sync::Arc, time::Duration};

use super::{tags, write::kept_for};
use crate::{
    codec::envelope::{Aside, Opened},
    tag_cells::{Known, KnownBelow, Tags},
    tier::{Extras, Record},
};

/// What a record of L3 says beside its value.
pub(super) fn aside_of(record: &Record) -> Aside {
    let millis = |span: Duration| u64::try_from(span.as_nanos().div_ceil(1_000_000));
    let (mut life_millis, mut stale_millis) = (0, 0);
    if let Some((ttl, stale)) = kept_for(record) {
        let age = record.age.unwrap_or(Duration::ZERO);
        let is_known = record.age.is_some();
        life_millis = if is_known { millis(ttl.saturating_add(age)).unwrap_or(0) } else { 0 };
        stale_millis = millis(stale).unwrap_or(u64::MAX);
    }
    let validator = record.extras.as_deref().map(Extras::kept_validator).unwrap_or_default();
    let of_tags = tags::tags_of(record).and_then(|tags| Some((&tags.hashes, tags.below?)));
    let (known, tags) = match of_tags {
        Some((hashes, KnownBelow { era, raises })) => ([era, raises], hashes.to_vec()),
        None => ([0; 2], Vec::new()),
    };
    Aside { stale_millis, life_millis, known, tags, validator }
}

/// The record that was opened, with what is left of its time.
pub(super) fn record_of(opened: Opened, ttl: Option<Duration>) -> Record {
    let Opened { is_expired, is_touched, format, change, value, aside, .. } = opened;
    // Over before its time, and of no end: of no time either.
    let ttl = ttl.or(is_expired.then_some(Duration::ZERO));
    let life = (aside.life_millis != 0).then(|| Duration::from_millis(aside.life_millis));
    let stale = match ttl {
        // All that is left.
        Some(ttl) if is_expired => ttl,
        Some(_) => Duration::from_millis(aside.stale_millis),
        None => Duration::ZERO,
    };
    let [era, raises] = aside.known;
    let below = Some(KnownBelow { era, raises });
    let tags = Tags { hashes: aside.tags.into(), known: Known::default(), below };
    Record {
        stale,
        age: life.filter(|_| !is_touched).zip(ttl).map(|(life, left)| life.saturating_sub(left)),
        extras: Extras::new(aside.validator, Some(tags)).map(Arc::new),
        change,
        is_as_made: !is_expired && !is_touched,
        ..Record::new(value, format, ttl)
    }
}
