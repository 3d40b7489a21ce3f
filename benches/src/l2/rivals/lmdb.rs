//! LMDB through heed, one transaction per operation: a cache that batched puts would lose them to
//! the other processes. It evicts nothing, so its puts are spared what a cache on it would need.

use bytes::Bytes;
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RwTxn, types::Bytes as RawBytes,
};

use super::{Fault, Request, Rival, Seen, Setup, Value, kept::Kept};

/// Entries of a transaction while a store is filled.
const FILL_BATCH: usize = 1_000;

/// How a commit reaches the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// By `pwrite`: safe against stray writes and full disks.
    ByFile,
    /// By the mapping: a full disk kills the process, a stray pointer breaks the store.
    ByMap,
}

pub(super) struct Lmdb {
    // Borrows `env`, which is dropped with the same value and after it.
    database: Database<'static, RawBytes, RawBytes>,
    env: Kept<Env>,
}

impl Lmdb {
    pub(super) fn open(setup: &Setup<'_>, writes: Writes) -> Result<Self, Fault> {
        let mut options = EnvOpenOptions::new();
        // Pages are half empty at worst, and free ones are wanted; the file is sparse.
        let entry_bytes = (setup.data_bytes() / setup.entries).next_multiple_of(256);
        options.map_size((4 * entry_bytes * setup.entries + (256 << 20)).next_multiple_of(1 << 20));
        let mut flags = EnvFlags::NO_SYNC | EnvFlags::NO_MEM_INIT;
        flags.set(EnvFlags::WRITE_MAP, writes == Writes::ByMap);
        // SAFETY: without syncs a crash of the machine may break the file, which is thrown away
        // after this run; nobody opens it twice in a process, and no other program opens it.
        let env = Kept::new(unsafe { options.flags(flags).open(setup.folder)? });
        // SAFETY: the database is a field of the value whose last field is the keeper, so it is
        // dropped before it, and nobody takes it out.
        let shared: &'static Env = unsafe { env.borrow() };
        let created =
            shared.create_databases_and_commit(shared.write_txn()?, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?;
        Ok(Self { database: created.unwrap_commit(), env })
    }

    fn env(&self) -> &Env {
        // SAFETY: the reference ends with the borrow of `self`, which has the keeper.
        unsafe { self.env.borrow() }
    }

    fn write(&self) -> RwTxn<'_> {
        self.env().write_txn().expect("the environment is sound")
    }
}

impl Rival for Lmdb {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        let transaction = self.env().read_txn().expect("there is a reader's slot");
        let found = self.database.get(&transaction, &request.key).expect("the file is sound");
        found.map(|value| Seen::of(&Bytes::copy_from_slice(value)))
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        let mut transaction = self.write();
        self.database.put(&mut transaction, &request.key, value).expect("the map is large enough");
        transaction.commit().expect("the map is large enough");
        true
    }

    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() {
            let mut transaction = self.write();
            for (number, bytes) in numbers.by_ref().take(FILL_BATCH) {
                let key = Request::new(number).key;
                self.database
                    .put(&mut transaction, &key, values.of(number, bytes))
                    .expect("the map is large enough");
            }
            transaction.commit().expect("the map is large enough");
        }
    }
}
