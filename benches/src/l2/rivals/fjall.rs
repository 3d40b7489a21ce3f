//! fjall, the LSM tree of the field: no compression, all blocks cached, values of 16 KiB and more
//! beside the tree, the journal handed to the system with each put. One process only.

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    config::CompressionPolicy,
};

use super::{Fault, Request, Rival, Seen, Setup, Value};

/// Values from here on are kept beside the tree.
const SEPARATED_BYTES: usize = 16 << 10;

pub(super) struct Fjall {
    keyspace: Keyspace,
    _database: Database,
}

impl Fjall {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let database = Database::builder(setup.folder.join("fjall"))
            .cache_size((2 * setup.data_bytes() as u64).max(64 << 20))
            .journal_compression(CompressionType::None)
            .open()?;
        let options = || {
            let options = KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .expect_point_read_hits(true);
            let separation = KvSeparationOptions::default().compression(CompressionType::None);
            let is_separated = setup.value_bytes >= SEPARATED_BYTES;
            options.with_kv_separation(is_separated.then_some(separation))
        };
        Ok(Self { keyspace: database.keyspace("cache", options)?, _database: database })
    }
}

impl Rival for Fjall {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        // What it returns is counted and outlives the call, so it is not copied again.
        let found = self.keyspace.get(request.key).expect("the database is sound");
        found.map(|value| Seen::of(&value))
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        self.keyspace.insert(request.key, value).expect("there is room");
        true
    }

    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        for (number, bytes) in numbers {
            self.put(&Request::new(number), values.of(number, bytes));
        }
        // Its reads are best in one level, which it would come to by itself with time.
        self.keyspace.rotate_memtable_and_wait().expect("there is room");
        self.keyspace.major_compact().expect("there is room");
    }
}
