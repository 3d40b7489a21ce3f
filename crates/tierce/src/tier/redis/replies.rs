//! The replies to one request, one behind the other in one piece of memory.
//!
//! A thread uses that memory again: it packs its question there, the replies take the place of the
//! question once that was sent, and when they were read it is kept for the next call. Memory for each
//! reply would be taken by the thread that reads for all and given back by the one that asked,
//! which allocators are slow at.

use std::cell::Cell;

/// The most that a thread keeps for its next call: a hundred values of usual size.
const MOST_KEPT: usize = 128 << 10;

/// The most ends that are kept: those of a question for a hundred keys, each with its time.
const MOST_ENDS_KEPT: usize = 512;

/// What a thread without a spare begins with: a question, or a value of usual size.
const FIRST_ROOM: usize = 2 << 10;

thread_local! {
    static SPARE_BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SPARE_ENDS: Cell<Vec<usize>> = const { Cell::new(Vec::new()) };
}

/// Room for a question, which is this thread's own again once its replies are dropped.
pub(super) fn room() -> Vec<u8> {
    // A thread that is about to end has no such memory any more.
    let mut bytes = SPARE_BYTES.try_with(Cell::take).unwrap_or_default();
    bytes.clear();
    bytes.reserve(FIRST_ROOM);
    bytes
}

/// Whole replies, one for each command.
#[derive(Debug, Default)]
pub(super) struct Replies {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Replies {
    /// None of so many yet.
    pub(super) fn expecting(count: usize) -> Self {
        let mut ends = SPARE_ENDS.try_with(Cell::take).unwrap_or_default();
        ends.clear();
        ends.reserve(count);
        Self { bytes: Vec::new(), ends }
    }

    /// Has them put into this room, whatever is in it; to be called while there is none.
    pub(super) fn come_to(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.bytes = bytes;
    }

    pub(super) fn push(&mut self, reply: &[u8]) {
        self.bytes.extend_from_slice(reply);
        self.ends.push(self.bytes.len());
    }

    /// Makes room for so many bytes more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }

    /// The reply, if there is just one.
    pub(super) fn one(&self) -> Option<&[u8]> {
        if self.len() == 1 { self.get(0) } else { None }
    }

    /// All, if they are so many.
    pub(super) fn all<const N: usize>(&self) -> Option<[&[u8]; N]> {
        if self.len() != N {
            return None;
        }
        let mut replies = self.iter();
        Some([(); N].map(|()| replies.next().unwrap_or_default()))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<'a> FromIterator<&'a [u8]> for Replies {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(replies: T) -> Self {
        let mut all = Self::default();
        replies.into_iter().for_each(|reply| all.push(reply));
        all
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if (1..=MOST_KEPT).contains(&self.bytes.capacity()) {
            let bytes = std::mem::take(&mut self.bytes);
            _ = SPARE_BYTES.try_with(|spare| spare.set(bytes));
        }
        if (1..=MOST_ENDS_KEPT).contains(&self.ends.capacity()) {
            let ends = std::mem::take(&mut self.ends);
            _ = SPARE_ENDS.try_with(|spare| spare.set(ends));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_whatever_their_lengths() {
        let all: Replies = [&b"+OK\r\n"[..], b"", b":7\r\n"].into_iter().collect();
        assert_eq!((all.len(), all.one()), (3, None));
        assert_eq!(all.all(), Some([&b"+OK\r\n"[..], b"", b":7\r\n"]));
        assert_eq!(all.all::<2>(), None);
        assert_eq!((all.get(2), all.get(3)), (Some(&b":7\r\n"[..]), None));
        let one: Replies = [&b":1\r\n"[..]].into_iter().collect();
        assert_eq!(one.one(), Some(&b":1\r\n"[..]));
        assert_eq!(Replies::default().iter().len(), 0);
    }

    #[test]
    fn a_thread_uses_its_memory_again_unless_it_is_large() {
        std::thread::spawn(|| {
            let mut bytes = room();
            bytes.extend_from_slice(b"question");
            let place = bytes.as_ptr();
            let mut replies = Replies::expecting(1);
            replies.come_to(bytes);
            replies.push(b"+OK\r\n");
            assert_eq!(replies.one(), Some(&b"+OK\r\n"[..]), "without the question");
            drop(replies);
            let again = room();
            assert_eq!((again.as_ptr(), again.len()), (place, 0));
            let mut large = Replies::expecting(1);
            large.come_to(Vec::with_capacity(MOST_KEPT + 1));
            drop(large);
            assert!(room().capacity() <= MOST_KEPT);
        })
        .join()
        .unwrap();
    }
}
