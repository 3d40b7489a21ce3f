//! A second thread of the process: that it once read keeps entries waiting for their readers, and
//! now and then it stays inside a read.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use tierce::MemoryCache;

use crate::things::{Hashing, Thing};

enum Command {
    /// Read the key of this number, and stay there until the next command.
    Hold(u64),
    Release,
}

/// Speaks with the thread; ends it when dropped.
pub(crate) struct Guest {
    commands: Option<Sender<Command>>,
    answers: Receiver<Option<u64>>,
    thread: Option<JoinHandle<()>>,
    /// The value that it looks at.
    held: Option<u64>,
}

impl Guest {
    pub(crate) fn new<T: Thing>(
        cache: Arc<MemoryCache<T, T, Hashing>>,
        probes: Arc<Vec<T>>,
    ) -> Self {
        let (commands, inbox) = channel();
        let (outbox, answers) = channel();
        let thread = thread::spawn(move || {
            cache.contains(&probes[0]);
            let answer = |value| _ = outbox.send(value);
            answer(None);
            while let Ok(command) = inbox.recv() {
                let Command::Hold(key) = command else { continue };
                let hold = |value: &T| {
                    answer(Some(value.number()));
                    drop(inbox.recv());
                    value.number()
                };
                answer(cache.get_with(&probes[key as usize], hold));
            }
        });
        let guest = Self { commands: Some(commands), answers, thread: Some(thread), held: None };
        guest.answer();
        guest
    }

    fn answer(&self) -> Option<u64> {
        self.answers.recv().expect("the guest answers each command unless it panicked")
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            commands.send(command).expect("the guest listens unless it panicked");
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Has the guest read a key, and says which value it found. It must not hold one.
    pub(crate) fn hold(&mut self, key: u64) -> Option<u64> {
        self.tell(Command::Hold(key));
        self.held = self.answer();
        self.held
    }

    /// Has the guest let go of what it holds.
    pub(crate) fn release(&mut self) {
        if let Some(value) = self.held.take() {
            self.tell(Command::Release);
            assert_eq!(self.answer(), Some(value), "a value changed under a reader");
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the guest panicked");
        }
    }
}
