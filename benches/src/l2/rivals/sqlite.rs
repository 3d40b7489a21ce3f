//! SQLite, WAL, `synchronous = OFF`, prepared statements, the file mapped for reads; each operation
//! a transaction of its own.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{Fault, Request, Rival, Seen, Setup, Value, kept::Kept};

/// Entries of a transaction while a store is filled.
const FILL_BATCH: usize = 1_000;

/// Rows up to here are kept in the tree of their keys, as its authors advise for rows of less than
/// a twentieth of a page; above, behind a row number.
const LARGEST_IN_TREE: usize = 200;

pub(super) struct Sqlite {
    // Borrow `connection`, which is dropped with the same value and after them.
    get: Statement<'static>,
    put: Statement<'static>,
    connection: Kept<Connection>,
}

impl Sqlite {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let connection = Connection::open(setup.folder.join("sqlite"))?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        let page_bytes = if setup.value_bytes < 16 << 10 { 4 << 10 } else { 32 << 10 };
        connection.pragma_update(None, "page_size", page_bytes)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        // In KiB where negative: enough for all pages.
        let cache = -((2 * setup.data_bytes() as i64 / 1_024).max(64 << 10));
        connection.pragma_update(None, "cache_size", cache)?;
        connection.pragma_update_and_check(None, "mmap_size", i64::from(i32::MAX), |_| Ok(()))?;
        let in_tree = if setup.value_bytes <= LARGEST_IN_TREE { "WITHOUT ROWID" } else { "" };
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS cache(key BLOB PRIMARY KEY, value BLOB NOT NULL) {in_tree}"
        ))?;
        let connection = Kept::new(connection);
        // SAFETY: the statements are fields of the value whose last field is the keeper, so they
        // are dropped before it, and nobody takes them out.
        let shared: &'static Connection = unsafe { connection.borrow() };
        Ok(Self {
            get: shared.prepare("SELECT value FROM cache WHERE key = ?1")?,
            put: shared.prepare("INSERT OR REPLACE INTO cache(key, value) VALUES(?1, ?2)")?,
            connection,
        })
    }

    fn run(&self, text: &str) {
        // SAFETY: the reference ends with this call, and the keeper lives longer.
        let connection = unsafe { self.connection.borrow() };
        connection.execute_batch(text).expect("the database is sound");
    }
}

impl Rival for Sqlite {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        let found = self.get.query_row(params![request.key], |row| {
            Ok(Seen::of(&Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
        });
        found.optional().expect("the database is sound")
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        let stored = self.put.execute(params![request.key, value]);
        stored.expect("there is room");
        true
    }

    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() {
            self.run("BEGIN IMMEDIATE");
            for (number, bytes) in numbers.by_ref().take(FILL_BATCH) {
                self.put(&Request::new(number), values.of(number, bytes));
            }
            self.run("COMMIT");
        }
    }
}
