//! What the report says about how it was measured.

pub(super) const HOW: &str = "\
L3 beside the client libraries for Redis, all against one real redis-server on this machine, \
interleaved rounds, medians.\n\
\n\
Rows: `tierce`: `Cache::get` and `Cache::set` with L3 alone, so with the token against late fills, \
the epoch of `clear`, the checksum and the time to live that its reads and writes carry; the \
others send a plain GET, SET or MGET. `get-many/100`: `Cache::get_many` of 100 keys, which asks \
for the epochs of their stripes in the same MGET. `redis-rs-multiplexed`: one MultiplexedConnection for all, each \
caller a thread that blocks on its future. `redis-rs-multiplexed-tasks`: the same connection, each \
caller a task on a runtime with as many threads as cores: no thread waits, which no synchronous \
caller can have. `redis-rs-connections`: a blocking connection for each caller. `fred`: one client \
for all, each caller a thread that blocks on its future. `hiredis-connections`: C, a connection for \
each caller.\n\
\n\
The server's reads are its `total_reads_processed`: every write system call of a client leads to \
at most one. In the JSON file they are `aside`.";
