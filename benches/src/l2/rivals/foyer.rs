//! foyer's disk engine: one block engine behind a memory tier of next to nothing. Its puts are
//! queued and written in batches by a thread of its own, so a batch here includes the wait for
//! it; what is queued is served from the queue. One process only.

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, PsyncIoEngineConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::{Fault, Request, Rival, Seen, Setup, Value};

/// Its entries begin at multiples of this.
const PAGE_BYTES: usize = 4 << 10;

/// Bytes that are filled in before its writer is waited for: half of what it queues before it
/// drops entries.
const FILL_BYTES: usize = 8 << 20;

pub(super) struct Foyer {
    cache: HybridCache<Vec<u8>, Vec<u8>>,
    runtime: Runtime,
}

impl Foyer {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entry_bytes = (setup.value_bytes + 128).next_multiple_of(PAGE_BYTES);
        let capacity = (2 * entry_bytes * setup.entries).max(256 << 20);
        let cache = runtime.block_on(async {
            let device = FsDeviceBuilder::new(setup.folder.join("foyer"))
                .with_capacity(capacity.next_multiple_of(16 << 20))
                .build()?;
            HybridCacheBuilder::new()
                .with_policy(HybridCachePolicy::WriteOnInsertion)
                .with_flush_on_close(false)
                .memory(1)
                .with_shards(1)
                .storage()
                .with_io_engine_config(PsyncIoEngineConfig::new())
                .with_engine_config(
                    BlockEngineConfig::new(device)
                        .with_buffer_pool_size(32 << 20)
                        .with_submit_queue_size_threshold(64 << 20),
                )
                .build()
                .await
        })?;
        Ok(Self { cache, runtime })
    }
}

impl Rival for Foyer {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        let key = request.key.to_vec();
        let load = self.runtime.block_on(self.cache.storage().load(&key));
        match load.expect("the device is sound") {
            Load::Entry { value, .. } => Some(Seen::of(&value)),
            Load::Piece { piece, .. } => Some(Seen::of(&piece.value().clone())),
            Load::Miss | Load::Throttled => None,
        }
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        let writer = self.cache.storage_writer(request.key.to_vec());
        writer.force().insert(value.to_vec()).is_some()
    }

    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        let mut queued = 0;
        for (number, bytes) in numbers {
            self.put(&Request::new(number), values.of(number, bytes));
            queued += bytes.next_multiple_of(PAGE_BYTES);
            if queued >= FILL_BYTES {
                self.settle();
                queued = 0;
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.runtime.block_on(self.cache.storage().wait());
    }
}
