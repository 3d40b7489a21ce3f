//! What must hold of a shard whenever its lock is free.

use std::mem;

use super::{
    super::slot::{number_of, numbered},
    Locked, View, Writer,
};
use crate::policy::Policy;

impl<K, V> Locked<'_, K, V> {
    /// Asserts every invariant.
    pub(in crate::memory) fn validate(&self) {
        let writer = &*self.writer;
        let mut live = vec![false; writer.slab.used() as usize];
        let (mut len, mut weight) = (0, 0_u128);
        for number in 0..writer.slab.used() {
            let slot = numbered(number);
            let place = writer.slab.place(slot);
            if place.is_live() {
                live[number as usize] = true;
                len += 1;
                weight += u128::from(writer.weight_of(slot, place));
            }
        }
        assert_eq!(len, writer.len, "live entries and their count");
        assert_eq!(weight, u128::from(writer.weight), "sum of weights");
        assert!(len <= writer.bounds.entries, "entries above their bound");
        assert!(weight <= u128::from(writer.bounds.bytes), "bytes above their bound");

        let mut named = vec![false; live.len()];
        let mut table = Some(self.table());
        while let Some(index) = table {
            index.validate(
                |slot| writer.slab.place(slot).hash(),
                |slot| {
                    let number = number_of(slot) as usize;
                    assert!(live[number], "the index names slot {number}, which is not live");
                    assert!(!mem::replace(&mut named[number], true), "slot {number} twice");
                },
            );
            // SAFETY: a successor lives as long as its table.
            table = index.next().map(|next| unsafe { &*next.as_ptr() });
        }
        assert_eq!(named, live, "the index names the live slots and no others");
        writer.limbo.validate(&writer.slab);
        let others = u64::from(writer.slab.count_free()) + writer.limbo.len() as u64;
        assert_eq!(others + len, u64::from(writer.slab.used()), "slots that are in no list");
        let view = View { slab: &writer.slab, table: self.table(), by_weight: writer.by_weight };
        writer.policy.validate(&live, &view);
        writer.expiry.validate(
            |number| Writer::deadline_of(&writer.slab, writer.time_to_idle, numbered(number)),
            writer.slab.used() as usize,
        );
    }
}
