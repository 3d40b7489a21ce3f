//! What a thread is in the midst of, by address, so that it is told when it begins the same within itself.

use std::{cell::RefCell, mem::ManuallyDrop};

/// So many within each other take no memory: one, and one of what it calls or drops.
const FEW: usize = 2;

/// A value of a thread. None of it is dropped with the thread: a destructor of another of its values may
/// begin something, too. It has no memory of its own once the thread is in the midst of few.
pub(crate) struct Nested(ManuallyDrop<RefCell<Under>>);

struct Under {
    count: usize,
    few: [usize; FEW],
    /// Beyond the few, innermost last.
    more: Vec<usize>,
}

impl Nested {
    pub(crate) const fn new() -> Self {
        let under = Under { count: 0, few: [0; FEW], more: Vec::new() };
        Self(ManuallyDrop::new(RefCell::new(under)))
    }

    /// Begins something; true if the thread is in the midst of it already. To be left in any case.
    pub(crate) fn enter(&self, what: usize) -> bool {
        let under = &mut *self.0.borrow_mut();
        let few = under.count.min(FEW);
        let is_within = under.few[..few].contains(&what) || under.more.contains(&what);
        match under.few.get_mut(under.count) {
            Some(place) => *place = what,
            None => under.more.push(what),
        }
        under.count += 1;
        is_within
    }

    /// Ends what was begun last.
    pub(crate) fn leave(&self) {
        let under = &mut *self.0.borrow_mut();
        under.count -= 1;
        match under.count {
            FEW => under.more = Vec::new(),
            _ => _ = under.more.pop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_the_same_within_itself_is_told_however_deep() {
        let nested = Nested::new();
        for depth in 0..10 {
            assert!(!nested.enter(depth), "{depth}");
        }
        for depth in 0..10 {
            assert!(nested.enter(depth));
            nested.leave();
        }
        for depth in (0..10).rev() {
            nested.leave();
            assert!(!nested.enter(depth), "{depth} was left");
            nested.leave();
        }
        let under = nested.0.borrow();
        assert_eq!((under.count, under.more.capacity()), (0, 0));
    }
}
