//! Queues of keys whose links lie in arrays: a key is found in its queue without a search.

use super::Key;

/// "No key" in links.
pub(super) const NONE: Key = Key::MAX;

/// The links of all keys. A key is in at most one of the queues that share them.
pub(super) struct Links {
    newer: Vec<Key>,
    older: Vec<Key>,
}

impl Links {
    pub(super) fn new(universe: usize) -> Self {
        Self { newer: vec![NONE; universe], older: vec![NONE; universe] }
    }

    /// The key that was pushed next after this one, or [`NONE`].
    pub(super) fn newer(&self, key: Key) -> Key {
        self.newer[key as usize]
    }
}

/// Keys in order of being pushed.
pub(super) struct Queue {
    newest: Key,
    oldest: Key,
    length: usize,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { newest: NONE, oldest: NONE, length: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The key that was pushed first, or [`NONE`].
    pub(super) fn oldest(&self) -> Key {
        self.oldest
    }

    pub(super) fn push(&mut self, links: &mut Links, key: Key) {
        links.newer[key as usize] = NONE;
        links.older[key as usize] = self.newest;
        match self.newest {
            NONE => self.oldest = key,
            newest => links.newer[newest as usize] = key,
        }
        self.newest = key;
        self.length += 1;
    }

    /// Takes a key out, which must be in this queue.
    pub(super) fn remove(&mut self, links: &mut Links, key: Key) {
        let (newer, older) = (links.newer[key as usize], links.older[key as usize]);
        match newer {
            NONE => self.newest = older,
            newer => links.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => links.newer[older as usize] = newer,
        }
        self.length -= 1;
    }

    /// Takes the oldest key out; [`NONE`] if there is none.
    pub(super) fn pop(&mut self, links: &mut Links) -> Key {
        let oldest = self.oldest;
        if oldest != NONE {
            self.remove(links, oldest);
        }
        oldest
    }

    /// Makes a key, which must be in this queue, its newest.
    pub(super) fn renew(&mut self, links: &mut Links, key: Key) {
        if self.newest != key {
            self.remove(links, key);
            self.push(links, key);
        }
    }
}
