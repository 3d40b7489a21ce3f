/*
 * tierce 0.1.0: an embedded cache in three tiers. L1 is the memory of this process, L2 a store
 * that all processes of the host share without a daemon, L3 is Redis or Valkey.
 *
 *     tierce_t *cache;
 *     if (tierce_open_env(&cache) != TIERCE_OK) {
 *         fprintf(stderr, "%s\n", tierce_last_error());
 *         return 1;
 *     }
 *     tierce_view_t value;
 *     if (tierce_get_or_load(cache, "user:7", 6, load_user, &database, NULL, &value) == TIERCE_OK)
 *         fwrite(value.data, 1, value.len, stdout);
 *     tierce_view_release(&value);
 *     tierce_close(cache);
 *
 * Answers.    Nearly every function returns a tierce_status_t: TIERCE_OK is 0, answers that are
 *             no errors are above it, errors below. Numbers are never given another meaning. Any
 *             function may return TIERCE_E_PANIC, where the library has a bug and caught it.
 *             tierce_last_error() has the text of the last error of the calling thread.
 * Ownership.  _open gives, _close and _release take. "Borrowed" pointers are looked at during the
 *             call only. NULL is fine where it says so and TIERCE_E_ARG everywhere else. A result
 *             is written through an out-parameter on the answers that are named, and left alone on
 *             all others; a view alone is always written: it is zeroed where there is no value, so
 *             releasing it is right whatever the call answered.
 * Threads.    "Any": from any thread, at any time, with others in the same function on the same
 *             cache. "Own": by one thread at a time. "Once": exactly one time, or harmlessly again
 *             where it says so.
 * Callbacks.  Run on the thread that made the call, with no lock held. They must return: no
 *             longjmp() and no C++ exception may leave them (tierce.hpp sees to the latter).
 * Growth.     A struct with struct_size is set to zero by the caller, and struct_size to its
 *             sizeof: programs compiled with an older or newer header go on working.
 *
 * Made from the Rust sources by `make header`; changes here are lost.
 */


#ifndef TIERCE_H
#define TIERCE_H

#include <stddef.h>
#include <stdint.h>

/** The version that this header was made for, as tierce_version() tells it. */
#define TIERCE_VERSION "0.1.0"
#define TIERCE_VERSION_MAJOR 0
#define TIERCE_VERSION_MINOR 1
#define TIERCE_VERSION_PATCH 0

/** What tierce_abi_version() of a library that fits this header returns: the number in its soname. */
#define TIERCE_ABI_VERSION 0


/**
 * The value came from no cache: a text made for the caller.
 */
#define TIERCE_FROM_NOWHERE 0

/**
 * The value came from L1, the memory of this process.
 */
#define TIERCE_FROM_L1 1

/**
 * The value came from L2, the store that all processes of this host share.
 */
#define TIERCE_FROM_L2 2

/**
 * The value came from L3, Redis or Valkey.
 */
#define TIERCE_FROM_L3 3

/**
 * The loader of this call made the value.
 */
#define TIERCE_FROM_LOADER 4

/**
 * The loader of another thread made the value, while this call waited for it.
 */
#define TIERCE_FROM_OTHER_LOADER 5

/**
 * The value's time to live is over: it is served because the call allows that.
 */
#define TIERCE_VIEW_STALE 1

/**
 * A time to live of 0 ms: the cache's own default.
 */
#define TIERCE_TTL_DEFAULT 0

/**
 * The value lives until it is evicted.
 */
#define TIERCE_TTL_FOREVER (-1)

/**
 * The value goes to those who wait for it and is kept nowhere; a set with it acts as a delete.
 */
#define TIERCE_TTL_KEEP_NOTHING (-2)

/**
 * A span of 0 ms: what the cache says.
 */
#define TIERCE_SPAN_DEFAULT 0

/**
 * No span, whatever the cache says; as the age of a read: nothing is young enough.
 */
#define TIERCE_SPAN_NONE (-1)

/**
 * Where a loader writes: valid during its call, on its thread.
 */
typedef struct tierce_sink_t tierce_sink_t;

/**
 * A cache. Opened by one of the tierce_open functions, closed by tierce_close().
 *
 * Not a pointer to anything: the library recognises its handles, and answers a closed or foreign
 * one with a code.
 */
typedef struct tierce_t tierce_t;

/**
 * What a call answers: 0 done, above 0 an answer that is not an error, below 0 an error.
 */
typedef int32_t tierce_status_t;

/**
 * A value, read in place. Owned by the caller; the functions that fill it in overwrite what it
 * held, so release a view before its next use.
 */
typedef struct {
    /**
     * The bytes; nobody writes to them before the release. NULL where `len` is 0.
     */
    const void *data;
    /**
     * How many.
     */
    size_t len;
    /**
     * Keeps the bytes alive. Not to be touched; a copy of the struct is not a second pin.
     */
    const void *pin[4];
    /**
     * One of the TIERCE_FROM_ numbers.
     */
    uint32_t origin;
    /**
     * TIERCE_VIEW_STALE or zero. Other bits may come to mean something.
     */
    uint32_t flags;
    /**
     * Milliseconds since the value was set or its load began; below zero where that is not known.
     */
    int64_t age_ms;
} tierce_view_t;

/**
 * Options of tierce_get_with(). Set all to zero and `struct_size` to the sizeof: the defaults.
 */
typedef struct {
    /**
     * sizeof(tierce_read_opts_t).
     */
    size_t struct_size;
    /**
     * How many milliseconds ago the value may have been set, or its load begun, at most; one whose
     * age is not known is too old. 0 for no bound; TIERCE_SPAN_NONE is satisfied by no tier.
     */
    int64_t max_age_ms;
    /**
     * Not zero: a value may be served in its stale window, where no tier has a fresh one.
     */
    int64_t allow_stale;
} tierce_read_opts_t;

/**
 * Options of tierce_set(). Set all to zero and `struct_size` to the sizeof: the defaults.
 */
typedef struct {
    /**
     * sizeof(tierce_set_opts_t).
     */
    size_t struct_size;
    /**
     * Time to live in milliseconds, or one of the TIERCE_TTL_ numbers.
     */
    int64_t ttl_ms;
    /**
     * How many milliseconds after its time to live the value may be served where loading it anew
     * fails, or one of the TIERCE_SPAN_ numbers.
     */
    int64_t stale_if_error_ms;
    /**
     * The same for while it is loaded anew.
     */
    int64_t stale_while_revalidate_ms;
    /**
     * By how many percent the time to live is shortened at most, each by another part; 0 for the
     * cache's default, TIERCE_SPAN_NONE for not at all.
     */
    int64_t ttl_jitter_percent;
} tierce_set_opts_t;

/**
 * Makes the value of `key`: writes it to `sink` and returns 0.
 *
 * Any other result means that there is no value; below zero it is the loader's own code, above
 * zero is reserved. Called on the thread of tierce_get_or_load(), with no lock held; may call any
 * function of this library, tierce_close() included. Must return: no longjmp() and no C++
 * exception may leave it.
 *
 * \param user     as given to tierce_get_or_load().
 * \param key      borrowed for the call; `key_len` bytes, not NULL.
 * \param key_len  bytes of `key`.
 * \param sink     borrowed for the call.
 */
typedef int32_t (*tierce_load_fn)(void *user, const void *key, size_t key_len, tierce_sink_t *sink);

/**
 * Options of tierce_get_or_load(). Set all to zero and `struct_size` to the sizeof: the
 * defaults.
 */
typedef struct {
    /**
     * sizeof(tierce_load_opts_t).
     */
    size_t struct_size;
    /**
     * Time to live of a loaded value in milliseconds, or one of the TIERCE_TTL_ numbers. What
     * the loader says by tierce_sink_ttl() goes first.
     */
    int64_t ttl_ms;
    /**
     * How many milliseconds to wait for a load that another thread began; 0 for the cache's
     * default.
     */
    int64_t wait_ms;
    /**
     * How many milliseconds after its time to live a value may be served where loading it anew
     * fails, or one of the TIERCE_SPAN_ numbers.
     */
    int64_t stale_if_error_ms;
    /**
     * The same for while another thread loads it anew.
     */
    int64_t stale_while_revalidate_ms;
    /**
     * By how many percent the time to live is shortened at most, each by another part; 0 for the
     * cache's default, TIERCE_SPAN_NONE for not at all.
     */
    int64_t ttl_jitter_percent;
    /**
     * How many milliseconds it is remembered that there is no value (tierce_sink_absent()), or
     * one of the TIERCE_SPAN_ numbers.
     */
    int64_t negative_ttl_ms;
    /**
     * How many milliseconds ago the value may have been set, or its load begun, at most: what is
     * older is loaded anew. 0 for no bound; TIERCE_SPAN_NONE always loads.
     */
    int64_t max_age_ms;
    /**
     * How many milliseconds to wait for another thread's load before a stale value is taken, where
     * one may be; 0 for the cache's default.
     */
    int64_t soft_timeout_ms;
    /**
     * How many milliseconds a load may take before those who wait for it leave; 0 for the cache's
     * default. The loader itself runs on its caller's thread, which it keeps until it returns.
     */
    int64_t hard_timeout_ms;
    /**
     * For how many milliseconds a key is not loaded after its loader failed, at first, or one of
     * the TIERCE_SPAN_ numbers. It doubles with each failure.
     */
    int64_t failure_backoff_ms;
    /**
     * The longest such pause in milliseconds; 0 for 30 times the first.
     */
    int64_t failure_backoff_most_ms;
} tierce_load_opts_t;

/**
 * What a cache did since it was opened. Numbers that this library does not count are 0.
 */
typedef struct {
    /**
     * sizeof(tierce_stats_t), set by the caller.
     */
    size_t struct_size;
    /**
     * Reads that a tier answered.
     */
    uint64_t hits;
    /**
     * Reads that no tier answered.
     */
    uint64_t misses;
    /**
     * Loaders that were run.
     */
    uint64_t loads;
    /**
     * Loaders that failed.
     */
    uint64_t load_failures;
    /**
     * Calls that waited for another thread's load of the same key.
     */
    uint64_t load_waits;
    /**
     * The tier of the latest hit, TIERCE_FROM_L1 and so on; TIERCE_FROM_NOWHERE before the first.
     */
    uint64_t last_hit;
    /**
     * Those of `hits` that found word that the key has no value.
     */
    uint64_t negative_hits;
    /**
     * Reads that were given a stale value: neither hits nor misses.
     */
    uint64_t stale_served;
} tierce_stats_t;

/**
 * What one tier did since the cache was opened, and how full it is.
 */
typedef struct {
    /**
     * sizeof(tierce_tier_stats_t), set by the caller.
     */
    size_t struct_size;
    /**
     * Requests that it answered.
     */
    uint64_t hits;
    /**
     * Requests that it was asked and did not answer.
     */
    uint64_t misses;
    /**
     * Its failures, all kinds together.
     */
    uint64_t errors;
    /**
     * Values that were brought up into it from a tier below.
     */
    uint64_t backfills;
    /**
     * Entries that left it to keep its bounds.
     */
    uint64_t evictions;
    /**
     * Entries that left it because their time to live had passed.
     */
    uint64_t expirations;
    /**
     * Entries in it; 0 where it cannot tell.
     */
    uint64_t entries;
    /**
     * Bytes that it holds, overhead included; 0 where it cannot tell.
     */
    uint64_t bytes;
    /**
     * Half of its reads took at most so many nanoseconds.
     */
    uint64_t latency_p50_ns;
    /**
     * 95 % of its reads took at most so many nanoseconds.
     */
    uint64_t latency_p95_ns;
    /**
     * 99 % of its reads took at most so many nanoseconds.
     */
    uint64_t latency_p99_ns;
    /**
     * 1 while it answers, 0 while it does not: then tierce_health_json() says why.
     */
    uint64_t answers;
} tierce_tier_stats_t;

/**
 * Done.
 */
#define TIERCE_OK 0

/**
 * No tier has the key, or what was asked for does not exist. Not an error.
 */
#define TIERCE_MISS 1

/**
 * The buffer was too small: it holds the beginning, the length tells the whole. Not an error.
 */
#define TIERCE_TRUNCATED 3

/**
 * The loader says that the key has no value. Not an error.
 */
#define TIERCE_ABSENT 4

/**
 * An argument is NULL, out of its range, or no handle of this library.
 */
#define TIERCE_E_ARG (-1)

/**
 * A key of the configuration is unknown or its value breaks a rule.
 */
#define TIERCE_E_CONFIG (-2)

/**
 * The operating system refused a file operation.
 */
#define TIERCE_E_IO (-3)

/**
 * Bytes read from a tier are not what was written there.
 */
#define TIERCE_E_CORRUPT (-4)

/**
 * A deadline passed.
 */
#define TIERCE_E_TIMEOUT (-5)

/**
 * A connection could not be made or broke.
 */
#define TIERCE_E_NETWORK (-6)

/**
 * A server refused the credentials.
 */
#define TIERCE_E_AUTH (-7)

/**
 * A key or value is above a stated bound.
 */
#define TIERCE_E_TOO_LARGE (-8)

/**
 * There is no room and none can be made.
 */
#define TIERCE_E_FULL (-9)

/**
 * The loader did not return 0; see tierce_last_loader_code().
 */
#define TIERCE_E_LOADER (-10)

/**
 * A loader asked for the key that it is loading.
 */
#define TIERCE_E_REENTRANT (-11)

/**
 * The cache was closed.
 */
#define TIERCE_E_CLOSED (-12)

/**
 * A lock or a queue was not free in time.
 */
#define TIERCE_E_BUSY (-14)

/**
 * A feature is not built in, or the platform lacks it.
 */
#define TIERCE_E_UNSUPPORTED (-15)

/**
 * A store file, or a struct of the caller, is of a version that this library does not know.
 */
#define TIERCE_E_VERSION (-16)

/**
 * Memory ran out.
 */
#define TIERCE_E_NOMEM (-17)

/**
 * The library has a bug and caught it; the message says where.
 */
#define TIERCE_E_PANIC (-18)

/**
 * A path or server refused access.
 */
#define TIERCE_E_DENIED (-19)

/**
 * Bytes could not be turned into a value.
 */
#define TIERCE_E_CODEC (-20)

/**
 * An error that none of the other codes fits.
 */
#define TIERCE_E_OTHER (-21)

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Tells the ABI version of the library: equal to TIERCE_ABI_VERSION of every header that fits it.
 *
 * \return the number in the soname. Never fails. Threads: any.
 * \since 0.1
 */
uint32_t tierce_abi_version(void);

/**
 * Tells the version of the library, such as "0.1.0".
 *
 * \return static text, never NULL. Threads: any.
 * \since 0.1
 */
const char *tierce_version(void);

/**
 * Tells what is built in beside L1: words of "shared" (L2), "redis" (L3) and "tls" (to L3), with
 * commas between.
 *
 * \return static text, never NULL. Threads: any.
 * \since 0.1
 */
const char *tierce_features(void);

/**
 * Tells what the last failing call of this thread complained about; "" before the first.
 *
 * \return this thread's text, never NULL. The pointer stays the same for the life of the thread;
 *         the text changes with the next call that fails in it, and not with one that does not.
 *         Threads: any, each its own.
 * \since 0.1
 */
const char *tierce_last_error(void);

/**
 * Copies the text of tierce_last_error(), as much as fits, always ended by a NUL.
 *
 * \param buffer    owned by the caller; NULL only when `capacity` is 0.
 * \param capacity  bytes that fit into `buffer`, the NUL counted.
 * \return the length of the whole text without its NUL: at or above `capacity` where it was cut.
 *         0 for a bad argument. Threads: any, each its own.
 * \since 0.1
 */
size_t tierce_error_copy(char *buffer, size_t capacity);

/**
 * Tells what the loader returned in the last call of this thread that ended with
 * TIERCE_E_LOADER; 0 before the first.
 *
 * The loader may have run in another thread, whose load this one waited for. Where a sink
 * function failed and the loader returned 0 all the same, it is the code of the sink function.
 *
 * \return the loader's own code. Threads: any, each its own.
 * \since 0.1
 */
int32_t tierce_last_loader_code(void);

/**
 * Tells the name of a code, such as "TIERCE_E_CONFIG".
 *
 * \param status  any number.
 * \return static text, never NULL: "unknown status" for a number that is no code. Threads: any.
 * \since 0.1
 */
const char *tierce_status_name(tierce_status_t status);

/**
 * Opens a cache with the settings of a text; the environment is not looked at.
 *
 * A tier that does not answer now (no server, no room for the store) is no error: the cache
 * serves from the others and says so in tierce_health_json().
 *
 * \param text  borrowed for the call: YAML, TOML or JSON in UTF-8; no NUL at its end is needed.
 *              NULL only when `len` is 0, which opens a cache of all defaults: L1, 64 MiB.
 * \param len   bytes of `text`.
 * \param out   receives a handle on TIERCE_OK; give it to tierce_close().
 * \return TIERCE_OK; TIERCE_E_CONFIG for an unknown key or a bad value, which the message names;
 *         TIERCE_E_UNSUPPORTED; TIERCE_E_FULL where 4096 caches are open; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_open(const char *text, size_t len, tierce_t **out);

/**
 * Opens a cache with the settings of a file, and those of the environment over them.
 *
 * \param path  borrowed for the call, ended by a NUL, not NULL: a YAML, TOML or JSON file.
 * \param out   receives a handle on TIERCE_OK; give it to tierce_close().
 * \return as tierce_open() and tierce_open_env(); TIERCE_E_IO or TIERCE_E_DENIED where the file
 *         cannot be read. Threads: any, while no other changes the environment.
 * \since 0.1
 */
tierce_status_t tierce_open_file(const char *path, tierce_t **out);

/**
 * Opens a cache with the settings of the environment: CACHE_TIERING, CACHE_MEMORY_MAX_ENTRIES,
 * REDIS_HOST and the others.
 *
 * \param out  receives a handle on TIERCE_OK; give it to tierce_close().
 * \return as tierce_open(); an unknown CACHE_ variable is TIERCE_E_CONFIG. Threads: any, while no
 *         other changes the environment.
 * \since 0.1
 */
tierce_status_t tierce_open_env(tierce_t **out);

/**
 * Closes a cache: gives back its threads, connections and memory. Views stay valid.
 *
 * Calls of other threads that are under way end, and may find the cache empty or closed; the last
 * of them frees it. May be called by a loader of this cache. A call after it is
 * TIERCE_E_CLOSED, which makes a second close harmless.
 *
 * \param cache  taken; NULL is fine.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any, once.
 * \since 0.1
 */
tierce_status_t tierce_close(tierce_t *cache);

/**
 * Gives back what keeps a view's bytes alive, and zeroes the struct.
 *
 * \param view  owned by the caller; NULL and a view of zeros are fine, so a second release of the
 *              same struct is harmless. Also fine after tierce_close(). A copy of a released
 *              struct must not be released.
 *              Threads: any, also another than the one that got it; once.
 * \since 0.1
 */
void tierce_view_release(tierce_view_t *view);

/**
 * Looks `key` up in every tier, fastest first, and pins the value.
 *
 * A tier that fails is a miss there, counted in the statistics: this call never fails because a
 * tier does.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`. A key above 64 KiB is never found.
 * \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                 every other answer.
 * \return TIERCE_OK, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get(const tierce_t *cache,
                           const void *key,
                           size_t key_len,
                           tierce_view_t *out);

/**
 * Looks `key` up as tierce_get() does, for callers that accept stale values, or only young ones.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`. A key above 64 KiB is never found.
 * \param opts     borrowed for the call; NULL for the defaults.
 * \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                 every other answer. Its `flags` and `age_ms` say what it is.
 * \return TIERCE_OK, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_VERSION for options that this library
 *         does not know, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_with(const tierce_t *cache,
                                const void *key,
                                size_t key_len,
                                const tierce_read_opts_t *opts,
                                tierce_view_t *out);

/**
 * Looks many keys up at once, each as tierce_get() does, and pins the values.
 *
 * L1 is asked for all keys together, and what L1 and L2 lack is fetched from L3 in one round trip;
 * large values may take several. The values are not those of one moment.
 *
 * \param cache     borrowed, not NULL.
 * \param keys      borrowed for the call: `count` pointers to keys, each NULL only when its length
 *                  is 0. NULL only when `count` is 0. A key may be there more than once.
 * \param key_lens  borrowed for the call: the bytes of each key. NULL only when `count` is 0.
 * \param count     how many keys.
 * \param out       `count` views, NULL only when `count` is 0. Each receives the value of its key,
 *                  give it to tierce_view_release(); or zeros, with the origin TIERCE_FROM_NOWHERE,
 *                  where no tier has the key, and all of them on TIERCE_E_CLOSED.
 * \param found     receives how many keys have a value on TIERCE_OK; may be NULL.
 * \return TIERCE_OK also where no key has a value, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_many(const tierce_t *cache,
                                const void *const *keys,
                                const size_t *key_lens,
                                size_t count,
                                tierce_view_t *out,
                                size_t *found);

/**
 * Looks `key` up as tierce_get() does and copies the value, as much as fits.
 *
 * \param cache     borrowed, not NULL.
 * \param key       borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len   bytes of `key`.
 * \param buffer    owned by the caller; NULL only when `capacity` is 0.
 * \param capacity  bytes that fit into `buffer`.
 * \param len       receives the length of the whole value on TIERCE_OK and TIERCE_TRUNCATED, 0 on
 *                  TIERCE_MISS; not NULL.
 * \return TIERCE_OK, TIERCE_TRUNCATED, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_copy(const tierce_t *cache,
                                const void *key,
                                size_t key_len,
                                void *buffer,
                                size_t capacity,
                                size_t *len);

/**
 * Puts a copy of `value` under `key` into all tiers.
 *
 * When it returns, no read in any process of this host finds an older value. A tier that cannot
 * take the change is not asked for this key again until it could.
 *
 * \param cache      borrowed, not NULL.
 * \param key        borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len    bytes of `key`, at most 64 KiB.
 * \param value      borrowed for the call; NULL only when `value_len` is 0.
 * \param value_len  bytes of `value`.
 * \param opts       borrowed for the call; NULL for the defaults.
 * \return TIERCE_OK, TIERCE_E_TOO_LARGE for the key, TIERCE_E_CLOSED, TIERCE_E_NOMEM,
 *         TIERCE_E_VERSION for options that this library does not know, TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_set(const tierce_t *cache,
                           const void *key,
                           size_t key_len,
                           const void *value,
                           size_t value_len,
                           const tierce_set_opts_t *opts);

/**
 * Removes `key` from all tiers. A load under way does not bring it back.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`.
 * \return TIERCE_OK whether the key was there or not, TIERCE_E_CLOSED, TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_delete(const tierce_t *cache, const void *key, size_t key_len);

/**
 * Removes many keys from all tiers, each as tierce_delete() does.
 *
 * \param cache     borrowed, not NULL.
 * \param keys      borrowed for the call: `count` pointers to keys, each NULL only when its length
 *                  is 0. NULL only when `count` is 0.
 * \param key_lens  borrowed for the call: the bytes of each key. NULL only when `count` is 0.
 * \param count     how many keys.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_delete_many(const tierce_t *cache,
                                   const void *const *keys,
                                   const size_t *key_lens,
                                   size_t count);

/**
 * Ends the time to live of what `key` has, in all tiers: from now on it is stale.
 *
 * It is served where its stale window allows, and replaced by the next load; where it has none it
 * is gone. A load under way does not make the key fresh: it began before.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`.
 * \return TIERCE_OK whether the key was there or not, TIERCE_E_CLOSED, TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_expire(const tierce_t *cache, const void *key, size_t key_len);

/**
 * Removes all entries of this cache from all tiers, for all processes and hosts that share them.
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_clear(const tierce_t *cache);

/**
 * Adds a copy of `data` to the end of the value that a loader makes.
 *
 * \param sink  the loader's, not NULL.
 * \param data  borrowed for the call; NULL only when `len` is 0.
 * \param len   bytes of `data`.
 * \return TIERCE_OK, TIERCE_E_NOMEM, TIERCE_E_ARG. Any but the first makes the load fail,
 *         whatever the loader returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_write(tierce_sink_t *sink, const void *data, size_t len);

/**
 * Adds `len` bytes of zero to the end of the value, for the loader to write to: a read() straight
 * into the cache. What was not needed is cut off by tierce_sink_truncate().
 *
 * \param sink  the loader's, not NULL.
 * \param len   how many bytes.
 * \param out   receives a pointer to them on TIERCE_OK; it is good until the next call with this
 *              sink, and no part of what it points to may be passed to tierce_sink_write().
 * \return TIERCE_OK, TIERCE_E_NOMEM, TIERCE_E_ARG. Any but the first makes the load fail,
 *         whatever the loader returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_reserve(tierce_sink_t *sink, size_t len, void **out);

/**
 * Cuts the value off after its first `len` bytes.
 *
 * \param sink  the loader's, not NULL.
 * \param len   how many bytes stay: at most as many as there are.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_truncate(tierce_sink_t *sink, size_t len);

/**
 * Sets how long the value may be kept, over what the call and the cache say.
 *
 * \param sink    the loader's, not NULL.
 * \param ttl_ms  milliseconds, or one of the TIERCE_TTL_ numbers.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_ttl(tierce_sink_t *sink, int64_t ttl_ms);

/**
 * Sets the bytes that the value counts for in L1, in place of its length.
 *
 * \param sink    the loader's, not NULL.
 * \param weight  bytes.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_weight(tierce_sink_t *sink, size_t weight);

/**
 * Says that the key has no value: what was written does not count, and the call of
 * tierce_get_or_load() answers TIERCE_ABSENT. That is remembered for `negative_ttl_ms`, or for what
 * tierce_sink_ttl() says; a stale value is not served any more.
 *
 * \param sink  the loader's, not NULL.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_absent(tierce_sink_t *sink);

/**
 * Looks `key` up; on a miss calls `load`, once for all threads of this process that ask for it.
 *
 * A stale value is served where the options allow it: `flags` of the view says so. Where the load
 * fails, to all for whom `stale_if_error_ms` lasts; while another thread loads, to those for whom
 * `stale_while_revalidate_ms` does.
 *
 * If the key is set or deleted while the loader runs, its value goes to those who wait for it and
 * is not kept.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`, at most 64 KiB.
 * \param load     makes the value; not NULL. Not called where a tier has the value or another
 *                 thread loads it.
 * \param user     handed to `load`, not looked at.
 * \param opts     borrowed for the call; NULL for the defaults.
 * \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                 every other answer.
 * \return TIERCE_OK; TIERCE_ABSENT where the loader says that there is no value, now or within the
 *         time that this is remembered; TIERCE_E_LOADER where the loader did not return 0, for all who waited for
 *         it, and until the time of a back-off is over, see tierce_last_loader_code(); TIERCE_E_TIMEOUT after waiting too long for another
 *         thread's load; TIERCE_E_REENTRANT where a loader asks for the key that it is loading;
 *         TIERCE_E_TOO_LARGE for the key; TIERCE_E_CLOSED; TIERCE_E_CONFIG for options that do not
 *         fit together; TIERCE_E_VERSION for options that
 *         this library does not know; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_or_load(const tierce_t *cache,
                                   const void *key,
                                   size_t key_len,
                                   tierce_load_fn load,
                                   void *user,
                                   const tierce_load_opts_t *opts,
                                   tierce_view_t *out);

/**
 * Reads the numbers of the whole cache.
 *
 * They are read one after the other while the cache goes on, so they may be some operations
 * apart.
 *
 * \param cache  borrowed, not NULL.
 * \param stats  owned by the caller, who has set `struct_size`; filled in on TIERCE_OK.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_stats(const tierce_t *cache, tierce_stats_t *stats);

/**
 * Reads the numbers of one tier.
 *
 * \param cache  borrowed, not NULL.
 * \param tier   TIERCE_FROM_L1, TIERCE_FROM_L2 or TIERCE_FROM_L3.
 * \param stats  owned by the caller, who has set `struct_size`; filled in on TIERCE_OK.
 * \return TIERCE_OK; TIERCE_MISS where the tier is not in force; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_tier_stats(const tierce_t *cache,
                                      uint32_t tier,
                                      tierce_tier_stats_t *stats);

/**
 * Makes the statistics in JSON: those of the whole cache, and of each tier in force. Spans of
 * time are whole nanoseconds, with `_ns` behind their names.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_stats_json(const tierce_t *cache, tierce_view_t *out);

/**
 * Makes the health document in JSON: `service`, `status`, `tierMetrics` and `dependencies`, which
 * has an element for each tier in force. Looks at what is known already and asks no tier.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_health_json(const tierce_t *cache, tierce_view_t *out);

/**
 * Makes the statistics in the text format of Prometheus.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_MISS where metrics are switched off (`metrics_enabled`);
 *         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_metrics_text(const tierce_t *cache, tierce_view_t *out);

/**
 * Puts other tiers in force, under load.
 *
 * Reads under way end on the tiers they began with; changes under way are waited for. A tier that
 * cannot be opened is no error: it shows in tierce_health_json().
 *
 * \param cache    borrowed, not NULL.
 * \param tiering  borrowed for the call, ended by a NUL, not NULL: one of "L1", "L2", "L3",
 *                 "L1L2", "L1L3", "L2L3", "L1L2L3", in any case.
 * \return TIERCE_OK, TIERCE_E_CONFIG for any other text, TIERCE_E_UNSUPPORTED, TIERCE_E_CLOSED,
 *         TIERCE_E_ARG; the tiers stay as they were on any but the first. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_retier(const tierce_t *cache, const char *tiering);

/**
 * Tells the tiers in force.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives static text such as "L1L2" on TIERCE_OK.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_tiering(const tierce_t *cache, const char **out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TIERCE_H */
