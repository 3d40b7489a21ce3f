//! What the report says about how it was measured.

pub(super) const HOW: &str = "\
L1 beside its rivals, all with foldhash, interleaved rounds, medians.\n\
\n\
Rows: `tierce`: weigher, max_entries and max_bytes that bind at the same number of entries, and a \
time to live of an hour, all checked on each operation; values cloned. `tierce-get_with`: the \
same, values read in place. `tierce-bare`: max_entries alone. `quick_cache`: default options, unit \
weight. `quick_cache+weight`: a weigher that adds up the bytes, the capacity that many times \
larger. `moka`: sync, initial capacity set. `moka+weight+ttl`: with such a weigher and \
time_to_live of an hour. `foyer-s3fifo`, `foyer-lru`: 16 shards, values read through the entry \
that it returns, so without a clone. `scc`: HashCache by get_sync, which counts reads; its \
maximum is rounded up to a power of two (16,384 for 10k, which flatters its hits there). \
`scc-read`: by read_sync, which takes a shared lock and does not count reads.\n\
\n\
Loads: `get-uniform`, `get-zipf`: resident keys alone, 80 % of the capacity, uniform or Zipf 0.99. \
`mixed-95-5`, `mixed-75-25`: Zipf 0.99 over 2 x capacity keys, every 20th or 4th operation a put. \
`read-through`: Zipf 0.99 over 4 x capacity keys, by the cache's own get-or-insert or by get and \
insert, whichever was faster. `all-miss`: inserts of never seen keys into a full cache. `1t`, `2t`: \
threads; with two, the figure is the time of an operation as each sees it. Keys and values to put \
are made while the clock runs, four puts before they are put, by all alike: what a cache frees is \
what its caller allocates next. (Until 2026-11-23 they were made before, many thousands at once, \
and a put of text took as long as the allocator needed to join pieces that nobody asked for again, \
which depended on what other rivals had left: 0.56 to 1.05 for one and the same program.)\n\
\n\
A run's figure is the median of its batches of 512 operations, so that time slices of other \
processes do not count; of two threads only batches count during which the other was at work. \
Means of batches are in the JSON file, and the geometric means are given by means too: a rival \
that put its work off to a few batches would show there.";
