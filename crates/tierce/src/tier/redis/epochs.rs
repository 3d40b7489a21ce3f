//! The epochs as a process knows them.
//!
//! **A guess** for each stripe: the last one that the server said. A write sends its record with the head
//! that it has under this epoch; the script makes another head where the epoch is another one.
//!
//! **The edition.** A read of many keys need not ask for the epochs of their stripes. Where one server has all stripes, a number beside the epochs is their *edition*. Every script that
//! changes an epoch, or begins one that was lost, removes the edition in the same step; who finds none
//! begins another one at random. So an edition that is there now is the same as before only if no epoch
//! was changed between:
//!
//! ```text
//!   known: edition 7, epochs     MGET edition data      7: the known epochs are those of this moment
//!                                                       another, or none: asked again, as below
//!   nothing known                SET edition random NX
//!                                MGET edition epochs data
//! ```
//!
//! - The server does an MGET alone, so edition, epochs and records are of one moment.
//! - An edition that the server lost is another one afterwards. What is lost with it is not asked for.
//! - An epoch that the server lost alone goes on for who knows it until somebody begins it anew, which
//!   every read and write of one key does, and `clear`: until then nothing was cleared.
//!
//! In a cluster the stripes of a read lie at many nodes, and are few at each. Where masters may change
//! each stripe is asked for its reign anyway. There nobody has an edition.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::names::STRIPES;
use crate::sync::Mutex;

/// Where the edition lies.
pub(super) const STRIPE: usize = 0;

/// The epochs of one edition.
pub(super) struct Edition {
    pub(super) number: u64,
    /// Of each stripe; `None` where the server had none.
    pub(super) epochs: Vec<Option<u64>>,
}

/// The epochs that this process knows.
pub(super) struct Epochs {
    /// One short lock, nothing inside it.
    edition: Mutex<Option<Arc<Edition>>>,
    /// 0 where nothing is known. Each says all by itself, so relaxed order suffices.
    guesses: [AtomicU64; STRIPES],
}

impl Epochs {
    pub(super) fn unknown() -> Self {
        Self { edition: Mutex::new(None), guesses: [const { AtomicU64::new(0) }; STRIPES] }
    }

    /// The epoch that a stripe had when it was heard of last, or 0.
    pub(super) fn guess(&self, stripe: usize) -> u64 {
        self.guesses[stripe].load(Ordering::Relaxed)
    }

    /// The server said that a stripe has this epoch.
    pub(super) fn heard(&self, stripe: usize, epoch: Option<u64>) {
        let epoch = epoch.unwrap_or(0);
        // Most say what is known, and need not take the line from others.
        if self.guess(stripe) != epoch {
            self.guesses[stripe].store(epoch, Ordering::Relaxed);
        }
    }

    /// The edition that is known.
    pub(super) fn edition(&self) -> Option<Arc<Edition>> {
        self.edition.lock().clone()
    }

    /// Takes note of what a server said at one moment, if that is of use: an edition, and as many epochs
    /// as there are stripes.
    pub(super) fn learn(&self, number: Option<u64>, epochs: &[Option<u64>]) {
        let learnt = number.filter(|_| epochs.len() == STRIPES);
        let learnt = learnt.map(|number| Arc::new(Edition { number, epochs: epochs.to_vec() }));
        let before = std::mem::replace(&mut *self.edition.lock(), learnt);
        drop(before);
    }
}
