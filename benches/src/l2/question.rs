//! What the report says about how it was measured.

pub(super) const HOW: &str = "\
L2 beside its rivals: interleaved rounds, medians. Keys of 32 bytes, values that begin with the \
number of their key, checked on each get; every store hands out values that outlive the call.\n\
\n\
Rivals: `tierce`: default options but for its sizes. `array`: a mapped array, memcpy and XXH3 of a \
value whose place is known: a physical limit, not a store. `LMDB nosync`, `LMDB writemap`: by heed, \
NOSYNC without and with WRITEMAP. `redb`: commits without durability (lost with the process). \
`fjall`: no compression, all cached, the journal handed to the system with each put; it stands for \
the LSM trees, RocksDB takes longer to build than all others together. `SQLite`: WAL, \
synchronous = OFF, prepared statements, the file mapped. `foyer`: the block engine behind a memory \
tier of nothing; it gathers puts, and each batch includes the wait for its writer. Each operation \
is a transaction of its own.\n\
\n\
Loads: `get`: resident keys, uniform. `miss`: keys that were never stored. `put`: `tierce` puts a \
new key into a full store, so that each put evicts; the rivals evict nothing and overwrite resident \
keys, which spares them the delete of a victim; `tierce, overwrites` does the same as they, in a \
store that the keys just do not fit.\n\
\n\
A run's figure is the median of its batches for gets, so that time slices of other processes do not \
count, and the mean of its batches for puts, as eviction and checkpoints come in bursts; the other \
of the two is in the JSON file as `aside`.";
