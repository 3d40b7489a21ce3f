//! What was loaded is stored for all hosts, unless something changed since its load began.

use bytes::Bytes;
use redis::Value;

use super::{RedisRefusal, RedisTier, link::unexpected, scripts, tags, write::ttl_argument};
use crate::{
    codec::Format,
    error::Result,
    key,
    tag_cells::Verdict,
    tier::{Fill, Record, Token},
};

/// How often a fill is tried over what can be adopted by nobody: damaged, or void by its tags.
const FILLS: usize = 3;

impl RedisTier {
    /// Stores a record that was loaded under this token; see [`RemoteTier::fill`].
    ///
    /// [`RemoteTier::fill`]: crate::tier::RemoteTier::fill
    pub(super) fn fill_record(&self, key: &[u8], record: &Record, token: Token) -> Result<Fill> {
        self.check_value(record)?;
        let Ok(ttl) = ttl_argument(record) else { return Ok(Fill::Dropped) };
        if tags::tags_of(record).is_some_and(|tags| tags.below.is_none()) {
            // Nobody could tell which changes of its tags came after it.
            return Ok(Fill::Dropped);
        }
        let call = self.write_call()?;
        let names = self.names(key);
        let stripe = key::group(key);
        let body = self.seal(key, record, token.words[1])?;
        let number = |number: u64| match number {
            0 => Bytes::new(),
            number => Bytes::copy_from_slice(&number.to_le_bytes()),
        };
        let [stamp, epoch] = token.words.map(|number| Bytes::from(number.to_string()));
        let (mut most, mut seen) = (self.most_stored_bytes(key), token.seen);
        for _ in 0..FILLS {
            let adopted = Bytes::from(most.to_string());
            let arguments =
                [stamp.clone(), epoch.clone(), body.clone(), ttl.clone(), adopted, number(seen)];
            let reply = match call.run(
                stripe,
                &scripts::FILL,
                &[&names.data, &names.stamp, &names.epoch],
                &|_| Ok(arguments.to_vec()),
            ) {
                Ok((reply, _)) => reply,
                Err(error) if error.cause() == Some(&RedisRefusal::OutOfMemory) => {
                    return Ok(Fill::Dropped);
                }
                Err(error) => return Err(error),
            };
            let Value::Array(parts) = reply else { return Err(unexpected()) };
            match parts.first() {
                Some(Value::Int(0)) => return Ok(Fill::Refused),
                Some(Value::Int(1)) => return Ok(Fill::Stored),
                Some(Value::Int(2)) => {}
                _ => return Err(unexpected()),
            }
            let mut parts = parts.into_iter().skip(1);
            let (Some(Value::BulkString(live)), Some(Value::Int(pttl))) =
                (parts.next(), parts.next())
            else {
                return Err(unexpected());
            };
            let live = self.open(&live, key, pttl).map(|(_, live)| live);
            let Some(live) = live.filter(|live| live.format != Format::Oversized) else {
                // Damaged, or no value: nothing can be adopted from it, and it must not block the
                // key for ever.
                most = 0;
                continue;
            };
            let verdict = match tags::tags_of(&live) {
                Some(tags) => self.verdicts(&call, &[tags])?.1.pop(),
                None => Some(Verdict::Current),
            };
            if verdict == Some(Verdict::Current) {
                return Ok(Fill::Adopted(live));
            }
            // By its tags it is gone, or stale.
            seen = live.change;
        }
        Ok(Fill::Dropped)
    }
}
