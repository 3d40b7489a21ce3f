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
at most one. In the JSON file they are `aside`.\n\
\n\
Near-caches (`near...`): two hosts, each one process with one caller, which reads 95 times of a hundred \
and sets else, of 10,000 keys by Zipf's law (0.99) with values of 100 bytes to 1 KiB; both hosts at a \
time, a client after the other. `tierce`: L1 above L3, all else as it is by default. \
`tierce-behind`: the same with `redis.write = behind` and a `write_delay` of 10 ms: its sets do not wait for \
the server, those of all others do. \
`redis-rs-cache-aio`: redis-rs with its client-side cache, all on the thread that calls; \
`redis-rs-cache-aio-workers`: its connection is served by another thread. Its copies live for 5 s, the \
staleness bound of tierce: it loses invalidations that come with an answer, and without an end such \
copies stay for half an hour. `tierce-python` and `redis-py-client-cache` (with the parser of hiredis, \
and without its refusal of servers before 7.4, whose tracking is the same) do the same in Python. All \
caches have room for all keys.\n\
\n\
The clock is read before and after each call, and what a host has done is judged afterwards. Each key \
is set by one of the hosts alone, and its values bear the number of the set: so of each read it is known \
for how long the value had been replaced when it began, counted from the return of the set that did. \
Operations per second count the time within calls, of both hosts. `near-change`: one host sets a key \
each 300 us or so, the other reads all of those keys over and over; a change counts until a read that \
returned it has ended.";
