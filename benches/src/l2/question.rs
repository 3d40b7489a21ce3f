//! What the report says about how it was measured.

pub(super) const HOW: &str = "\
L2 beside its rivals: interleaved rounds, medians. Keys of 32 bytes, values that begin with the \
number of their key, checked on each get; every store hands out values that outlive the call.\n\
\n\
Rivals: `tierce`: default options but for its sizes. `tierce mapped reads`: the same with the \
option `mapped_reads`, on a disk. `array`: a mapped array, memcpy and XXH3 of a \
value whose place is known: a physical limit, not a store. `LMDB nosync`, `LMDB writemap`: by heed, \
NOSYNC without and with WRITEMAP. `redb`: commits without durability (lost with the process). \
`fjall`: no compression, all cached in the process (values from 16 KiB on are handed out of that \
cache without a copy), the journal handed to the system with each put; it stands for \
the LSM trees, RocksDB takes longer to build than all others together. `SQLite`: WAL, \
synchronous = OFF, prepared statements, the file mapped. `foyer`: the block engine behind a memory \
tier of nothing; it gathers puts, and each batch includes the wait for its writer. Each operation \
is a transaction of its own.\n\
\n\
Loads: `get`: resident keys, uniform. `miss`: keys that were never stored \
(`array`: the hash of the key, and two cache lines of a mapped table of 16 bytes an entry). `put`: `tierce` puts a \
new key into a full store, so that each put evicts; the rivals evict nothing and overwrite resident \
keys, which spares them the delete of a victim; `tierce, overwrites` does the same as they, in a \
store that the keys just do not fit.\n\
\n\
A run's figure is the median of its batches for gets, so that time slices of other processes do not \
count, and the mean of its batches for puts, as eviction and checkpoints come in bursts (a batch \
that lost its core counts with the time that it had one); the other of the two is in the JSON file \
as `aside`.\n\
\n\
`two-`: workers in processes of their own, puts of `tierce` as above; dropped are puts for which \
another process held a lock for more than 5 ms. `near-hit`: `Cache::get` of keys that are all in L1, \
values of 100 bytes, with L1 and L2 in force and with L1 alone. `file-by-live`: allocated bytes of \
all files by the keys and values that can be read; sizes with evenly spread logarithms; `tierce` \
after three times its size was put, rivals half filled and never overwritten. `open-after-kill`: a \
store of values of 1 KiB whose only user is killed while it puts. `hits`: get, and put on a miss, \
stores of 64 MiB with entries of one size, beside policies that hold as many entries as the store \
has room for; `live` is the share of that room which held entries at the end; capacities below \
2,000 entries are left out.";
