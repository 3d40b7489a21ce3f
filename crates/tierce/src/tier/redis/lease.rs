//! Who of all hosts loads a key: a lease in the server, in the slot of the key.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{RedisTier, link::unexpected, names, scripts};
use crate::{
    error::Result,
    key,
    tier::{LeaseStep, Leased},
};

impl RedisTier {
    pub(super) fn step_lease(&self, key: &[u8], owner: u64, step: LeaseStep) -> Result<Leased> {
        let (verb, span) = match step {
            LeaseStep::Take(span) => ("take", span),
            LeaseStep::Renew(span) => ("renew", span),
            LeaseStep::Release => ("release", Duration::ZERO),
        };
        let names = self.names(key);
        let lease = names::lease(&self.common.settings.prefix, key::group(key), key);
        let arguments = [verb.to_owned(), format!("{owner:016x}"), span.as_millis().to_string()]
            .map(Bytes::from);
        let all: [&[u8]; 2] = [&lease, &names.data];
        let call = self.write_call()?;
        let run = call.run(key::group(key), &scripts::LEASE, &all, &|_| Ok(arguments.to_vec()));
        match run?.0 {
            Value::Array(parts) => match &parts[..] {
                [Value::Int(is_mine), Value::Int(is_there)] => {
                    Ok(Leased { is_mine: *is_mine == 1, is_there: *is_there != 0 })
                }
                _ => Err(unexpected()),
            },
            _ => Err(unexpected()),
        }
    }
}
