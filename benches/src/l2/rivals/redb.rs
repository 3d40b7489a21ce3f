//! redb, one transaction per operation, commits without durability: they are lost with the
//! process, which those of the other rivals are not. One process only in this mode.

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{Fault, Request, Rival, Seen, Setup, Value};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("cache");

/// Entries of a transaction while a store is filled.
const FILL_BATCH: usize = 1_000;

pub(super) struct Redb {
    database: Database,
}

impl Redb {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let database = Database::builder()
            // All of it: the others have the page cache.
            .set_cache_size((2 * setup.data_bytes()).max(64 << 20))
            .create(setup.folder.join("redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Self { database })
    }

    fn write(&self, durability: Durability, put: impl FnOnce(&WriteTransaction)) {
        let mut transaction = self.database.begin_write().expect("the database is sound");
        transaction.set_durability(durability).expect("there are no savepoints");
        put(&transaction);
        transaction.commit().expect("there is room");
    }
}

impl Rival for Redb {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        let transaction = self.database.begin_read().expect("the database is sound");
        let table = transaction.open_table(TABLE).expect("the table is there");
        let found = table.get(request.key.as_slice()).expect("the file is sound");
        found.map(|value| Seen::of(&Bytes::copy_from_slice(value.value())))
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        self.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(TABLE).expect("the table is there");
            table.insert(request.key.as_slice(), value).expect("there is room");
        });
        true
    }

    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() {
            self.write(Durability::Immediate, |transaction| {
                let mut table = transaction.open_table(TABLE).expect("the table is there");
                for (number, bytes) in numbers.by_ref().take(FILL_BATCH) {
                    let key = Request::new(number).key;
                    table.insert(key.as_slice(), values.of(number, bytes)).expect("there is room");
                }
            });
        }
    }
}
