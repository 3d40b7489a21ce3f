//! `touch`: another time to live for a record of L3, whose value stays where it is.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{
    RedisTier,
    counters::count,
    link::{Link, unexpected},
    read::random_start,
    refusal, scripts, stamp_of,
    write::LONGEST_TTL,
};
use crate::{
    codec::Format,
    error::{ErrorKind, Result},
    key,
    tier::Touch,
};

impl RedisTier {
    pub(super) fn touch_record(&self, key: &[u8], fresh: Option<Duration>) -> Result<Touch> {
        let call = self.write_call()?;
        let names = self.names(key);
        // Anything below the server's unit is one of it.
        let millis = |fresh: Duration| fresh.as_nanos().div_ceil(1_000_000).to_string();
        let fresh = fresh.filter(|fresh| *fresh <= LONGEST_TTL).map_or(String::new(), millis);
        let fresh = Bytes::from(fresh);
        let [absent, oversized] = [Format::Absent, Format::Oversized]
            .map(|format| Bytes::from((format as u8).to_string()));
        let arguments = |link: &Link| {
            let not_after = Bytes::from(call.server_deadline(link)?.to_string());
            Ok(vec![random_start(), fresh.clone(), absent.clone(), not_after, oversized.clone()])
        };
        let all: [&[u8]; 3] = [&names.data, &names.stamp, &names.epoch];
        for _ in 0..2 {
            let (reply, link) = call.run(key::group(key), &scripts::TOUCH, &all, &arguments)?;
            let Value::Array(parts) = reply else { return Err(unexpected()) };
            match &parts[..] {
                [Value::Int(0)] => return Ok(Touch::Absent),
                [Value::Int(1), stamp] => return Ok(Touch::Done(stamp_of(stamp))),
                [Value::Int(3), stamp] => return Ok(Touch::Oversized(stamp_of(stamp))),
                // As for a write that comes too late.
                [Value::Int(2), Value::Int(now)] => {
                    count(&self.common.counters.late_writes);
                    link.clock().forget();
                    link.clock().heard(*now);
                }
                _ => return Err(unexpected()),
            }
        }
        Err(refusal::error(ErrorKind::Timeout, "touch came to the server after its deadline"))
    }
}
