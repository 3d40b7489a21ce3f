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
 * An event of a kind that has no number yet; its text says what it is.
 */
#define TIERCE_EVENT_OTHER 0

/**
 * A tier had a fresh value, or word that there is none, and a read was answered by it.
 */
#define TIERCE_EVENT_HIT 1

/**
 * A read was answered by a stale value.
 */
#define TIERCE_EVENT_STALE 2

/**
 * No tier had what a read could be answered by.
 */
#define TIERCE_EVENT_MISS 3

/**
 * A loader returned or failed.
 */
#define TIERCE_EVENT_LOAD 4

/**
 * A caller set the key.
 */
#define TIERCE_EVENT_SET 5

/**
 * A caller removed the key.
 */
#define TIERCE_EVENT_DELETE 6

/**
 * A caller made the key's value stale.
 */
#define TIERCE_EVENT_EXPIRE 7

/**
 * A caller removed all keys.
 */
#define TIERCE_EVENT_CLEAR 8

/**
 * An entry left L1 for room or age.
 */
#define TIERCE_EVENT_EVICT 9

/**
 * Other tiers are in force.
 */
#define TIERCE_EVENT_RETIER 10

/**
 * A caller gave the key's value another time to live.
 */
#define TIERCE_EVENT_TOUCH 11

/**
 * Entries left L2, `count` of them since this was told last.
 */
#define TIERCE_EVENT_EVICT_SHARED 12

/**
 * Another host, or another client of the server, changed the key in L3.
 */
#define TIERCE_EVENT_INVALIDATE 13

/**
 * The same of many keys: of a group of them, or of all.
 */
#define TIERCE_EVENT_INVALIDATE_MANY 14

/**
 * A caller removed all that bears some tags, which the text names.
 */
#define TIERCE_EVENT_REMOVE_TAGS 15

/**
 * A caller made all that bears some tags stale, which the text names.
 */
#define TIERCE_EVENT_EXPIRE_TAGS 16

/**
 * The breaker before a tier changed its state, which is the reason.
 */
#define TIERCE_EVENT_BREAKER 17

/**
 * A caller removed all whose keys begin with some prefixes, which the text names.
 */
#define TIERCE_EVENT_REMOVE_PREFIXES 18

/**
 * A caller made all stale whose keys begin with some prefixes, which the text names.
 */
#define TIERCE_EVENT_EXPIRE_PREFIXES 19

/**
 * Another share of calls passes than before, or none (tierce_guard_shed(), tierce_guard_block()), in
 * the words of the text.
 */
#define TIERCE_EVENT_GATE 20

/**
 * The connections to a tier were dropped, to be made anew.
 */
#define TIERCE_EVENT_RESET 21

/**
 * Every tier of the tiering answers.
 */
#define TIERCE_HEALTHY 0

/**
 * A tier does not answer; the others serve.
 */
#define TIERCE_DEGRADED 1

/**
 * Nothing can be served.
 */
#define TIERCE_UNHEALTHY 2

/**
 * A guard of a cache. Opened by tierce_guard_open(), closed by tierce_guard_close(). Not a pointer to
 * anything.
 */
typedef struct tierce_guard_t tierce_guard_t;

/**
 * A cache with the loader of its values. Opened by tierce_loading_open(), closed by
 * tierce_loading_close(). Not a pointer to anything, as tierce_t.
 */
typedef struct tierce_loading_t tierce_loading_t;

/**
 * What a key had when it was looked at. Made by tierce_get_versioned(), given back by
 * tierce_revision_release().
 *
 * Not a pointer to anything: the library recognises its handles, and answers one that was given
 * back with a code.
 */
typedef struct tierce_revision_t tierce_revision_t;

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
    /**
     * Borrowed for the call, ended by a NUL: the tiers that the call looks in, such as "L1L2", as far as
     * they are in force; NULL for all.
     */
    const char *tiers;
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
    /**
     * Borrowed for the call: `tag_count` pointers to tags, names by which the value can be removed
     * or made stale (tierce_remove_tags()) beside its key. At most 128.
     */
    const void *const *tags;
    /**
     * Borrowed for the call: the bytes of each tag.
     */
    const size_t *tag_lens;
    /**
     * How many tags.
     */
    size_t tag_count;
    /**
     * Borrowed for the call, ended by a NUL: the tiers that the call keeps the value in, such as "L1L2", as far as
     * they are in force; NULL for all. From the others the key is removed.
     */
    const char *tiers;
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
    /**
     * Borrowed for the call: `tag_count` pointers to tags, names by which the value can be removed
     * or made stale (tierce_remove_tags()) beside its key. At most 128.
     */
    const void *const *tags;
    /**
     * Borrowed for the call: the bytes of each tag.
     */
    const size_t *tag_lens;
    /**
     * How many tags.
     */
    size_t tag_count;
    /**
     * Borrowed for the call, ended by a NUL: the tiers that the call looks in and keeps what is loaded in, such as "L1L2", as far as
     * they are in force; NULL for all.
     */
    const char *tiers;
} tierce_load_opts_t;

/**
 * What a loader is told about the load that it is called for: borrowed for the call, as all that
 * it points to. Later versions may add fields at the end.
 */
typedef struct {
    /**
     * The bytes of this struct that the library filled in.
     */
    size_t struct_size;
    /**
     * The key that is asked for; not NULL.
     */
    const void *key;
    /**
     * Bytes of `key`.
     */
    size_t key_len;
    /**
     * The value that is to be replaced: stale, or fresh where the load is ahead of time or asked
     * for. NULL where there is none, and where it is empty.
     */
    const void *stale;
    /**
     * Bytes of `stale`.
     */
    size_t stale_len;
    /**
     * 1 where there is a value to be replaced, else 0.
     */
    int64_t has_stale;
    /**
     * What the load of `stale` gave to tierce_sink_validator(); not NULL, empty if nothing.
     */
    const void *validator;
    /**
     * Bytes of `validator`.
     */
    size_t validator_len;
    /**
     * How many milliseconds the load may take from now on; below zero where it may take any.
     */
    int64_t left_ms;
    /**
     * Why the loader is called: "miss", "stale", "ahead" (of the end of the time to live),
     * "max_age" or "asked". Static text.
     */
    const char *reason;
    /**
     * For tierce_load_is_cancelled(); not to be touched.
     */
    const void *token;
} tierce_load_context_t;

/**
 * Makes the value of `context->key`: writes it to `sink` and returns 0.
 *
 * As a tierce_load_fn, but it may be called on any thread of the cache, for several keys at once,
 * and as long as the tierce_loading_t is open. May call any function of this library. Must
 * return: no longjmp() and no C++ exception may leave it.
 *
 * \param user     as given to tierce_loading_open().
 * \param context  borrowed for the call, not NULL.
 * \param sink     borrowed for the call.
 */
typedef int32_t (*tierce_context_load_fn)(void *user,
                                          const tierce_load_context_t *context,
                                          tierce_sink_t *sink);

/**
 * Lets go what `user` points to: called once, when no function will get it any more, on whatever
 * thread that turns out. NULL where there is nothing to let go.
 *
 * \param user  as given with this function.
 */
typedef void (*tierce_drop_fn)(void *user);

/**
 * Something that happened in a cache: borrowed for the call, as all that it points to. Later
 * versions may add fields at the end.
 */
typedef struct {
    /**
     * The bytes of this struct that the library filled in.
     */
    size_t struct_size;
    /**
     * One of the TIERCE_EVENT_ numbers; there may be more in later versions.
     */
    uint32_t kind;
    /**
     * The tier that had the value, as one of the TIERCE_FROM_ numbers.
     */
    uint32_t tier;
    /**
     * The key; NULL for what concerns all of them.
     */
    const void *key;
    /**
     * Bytes of `key`.
     */
    size_t key_len;
    /**
     * Of a load why it was made, as `reason` of tierce_load_context_t; of an eviction "size",
     * "bytes" or "expired"; of a breaker "closed", "open" or "half_open"; of
     * TIERCE_EVENT_INVALIDATE_MANY "all" or "group"; else NULL. Static text.
     */
    const char *reason;
    /**
     * Of a load how many nanoseconds the loader took; else below zero.
     */
    int64_t took_ns;
    /**
     * Of a load that failed its code, else TIERCE_OK.
     */
    int64_t status;
    /**
     * Of TIERCE_EVENT_EVICT_SHARED how many entries, else 0.
     */
    uint64_t count;
    /**
     * All that is known of it, for people to read; ended by a NUL.
     */
    const char *text;
} tierce_event_t;

/**
 * Is told of an event. Called on a thread of the cache, one event after another, with no lock
 * held; may call any function of this library. Must return: no longjmp() and no C++ exception may
 * leave it.
 *
 * \param user   as given to tierce_on_event().
 * \param event  borrowed for the call, not NULL.
 */
typedef void (*tierce_event_fn)(void *user, const tierce_event_t *event);

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
 * Is told that an alert fires or is over. Called on a thread of the library that is there for these
 * calls alone, one after another, with no lock held. Nobody waits for it: it may take its time, and
 * may call any function of this library, asking the guard that tells it for a rollback included. What
 * waits for its turn is told as it is by then. Must return: no longjmp() and no C++ exception may
 * leave it.
 *
 * \param user    as given to tierce_alerts_start() or tierce_guard_open().
 * \param notice  borrowed for the call, ended by a NUL: JSON with `alert`, `status` ("firing" or
 *                "resolved"), `severity`, `condition`, `value` and `cache`.
 */
typedef void (*tierce_notice_fn)(void *user, const char *notice);

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
 * What the key has is not what was expected: nothing was changed. Not an error.
 */
#define TIERCE_OTHERWISE 5

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
 * Closes a cache: ends its guards, and gives back its threads, connections and memory. Views stay
 * valid.
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
 *         TIERCE_E_CONFIG for more than 128 tags, TIERCE_E_VERSION for options that this library does not know, TIERCE_E_ARG.
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
 * Has what `key` has be fresh for `ttl_ms` from now on, in all tiers and without sending it.
 *
 * How long it may be served as stale after that stays, and so does its age. When it returns, no
 * process of this host serves the value for longer.
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`.
 * \param ttl_ms   milliseconds above zero, or TIERCE_TTL_FOREVER.
 * \return TIERCE_OK; TIERCE_MISS where there was no fresh value; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_touch(const tierce_t *cache,
                             const void *key,
                             size_t key_len,
                             int64_t ttl_ms);

/**
 * Removes all entries of this cache from all tiers, for all processes and hosts that share them.
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_clear(const tierce_t *cache);

/**
 * Sends L3 what was set behind it until now (`redis.write` is `behind`), for `redis.flush_timeout` at
 * most; at once where nothing waits. tierce_close() does the same.
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK; TIERCE_OTHERWISE where some of it goes on waiting; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_flush(const tierce_t *cache);

/**
 * Removes all that bears one of these tags from all tiers, as tierce_delete() of each key would.
 *
 * Costs as much as one tierce_delete(), however much bears them. What was looked for or loaded
 * before is not served any more, also where a loader names the tag later.
 *
 * \param cache     borrowed, not NULL.
 * \param tags      borrowed for the call: `count` pointers to tags, each NULL only when its length
 *                  is 0. NULL only when `count` is 0.
 * \param tag_lens  borrowed for the call: the bytes of each tag. NULL only when `count` is 0.
 * \param count     how many tags.
 * \return TIERCE_OK whether anything bore them or not; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_remove_tags(const tierce_t *cache,
                                   const void *const *tags,
                                   const size_t *tag_lens,
                                   size_t count);

/**
 * Makes all that bears one of these tags stale, as tierce_expire() of each key would; what has no
 * stale window is gone. A window counts from the first look at the entry.
 *
 * \param cache     borrowed, not NULL.
 * \param tags      borrowed for the call, as for tierce_remove_tags().
 * \param tag_lens  borrowed for the call, as there.
 * \param count     how many tags.
 * \return as tierce_remove_tags(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_expire_tags(const tierce_t *cache,
                                   const void *const *tags,
                                   const size_t *tag_lens,
                                   size_t count);

/**
 * Removes all whose keys begin with one of these prefixes from all tiers, as tierce_delete() of
 * each key would.
 *
 * Costs as much as one tierce_delete(), however many they are. What was looked for or loaded before
 * is not served any more. The cache must have been opened with "invalidation.prefix_delimiter";
 * each prefix ends in that, and has eight of them at most.
 *
 * \param cache        borrowed, not NULL.
 * \param prefixes     borrowed for the call: `count` pointers to prefixes. NULL only when `count`
 *                     is 0.
 * \param prefix_lens  borrowed for the call: the bytes of each prefix. NULL only when `count` is 0.
 * \param count        how many prefixes.
 * \return TIERCE_OK whether there were such keys or not; TIERCE_E_CONFIG for a prefix that cannot be
 *         removed so, and nothing is then; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_remove_prefixes(const tierce_t *cache,
                                       const void *const *prefixes,
                                       const size_t *prefix_lens,
                                       size_t count);

/**
 * Makes all stale whose keys begin with one of these prefixes, as tierce_expire() of each key would;
 * what has no stale window is gone. A window counts from the first look at the entry.
 *
 * \param cache        borrowed, not NULL.
 * \param prefixes     borrowed for the call, as for tierce_remove_prefixes().
 * \param prefix_lens  borrowed for the call, as there.
 * \param count        how many prefixes.
 * \return as tierce_remove_prefixes(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_expire_prefixes(const tierce_t *cache,
                                       const void *const *prefixes,
                                       const size_t *prefix_lens,
                                       size_t count);

/**
 * Looks `key` up in the tier that decides about it, for tierce_compare_and_set().
 *
 * That is the lowest tier in force, which all who use the key share: a round trip where it is L3,
 * a look into the store where it is L2.
 *
 * \param cache     borrowed, not NULL.
 * \param key       borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len   bytes of `key`, at most 64 KiB.
 * \param out       receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                  every other answer.
 * \param revision  receives a handle on TIERCE_OK and TIERCE_MISS, give it to
 *                  tierce_revision_release(); NULL on every other answer.
 * \return TIERCE_OK; TIERCE_MISS where there is no value or a stale one; TIERCE_E_NETWORK (L3) or
 *         TIERCE_E_IO (L2) where that tier does not answer; TIERCE_E_TOO_LARGE; TIERCE_E_CLOSED;
 *         TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_get_versioned(const tierce_t *cache,
                                     const void *key,
                                     size_t key_len,
                                     tierce_view_t *out,
                                     tierce_revision_t **revision);

/**
 * Gives back what tierce_get_versioned() made.
 *
 * \param revision  a handle; NULL is fine.
 * \return TIERCE_OK, TIERCE_E_ARG for what is no handle or was given back. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_revision_release(tierce_revision_t *revision);

/**
 * Sets `key` as tierce_set() does, if what it had when `revision` was made is still there.
 *
 * One step for all threads, processes and hosts that share the key; the revision stays good for
 * another call. Costs as tierce_get_versioned().
 *
 * \param cache      borrowed, not NULL.
 * \param key        borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len    bytes of `key`, at most 64 KiB.
 * \param revision   borrowed: of this key.
 * \param value      borrowed for the call; NULL only when `value_len` is 0.
 * \param value_len  bytes of `value`.
 * \param opts       borrowed for the call; NULL for the defaults.
 * \return TIERCE_OK; TIERCE_OTHERWISE where somebody changed the key: nothing was set;
 *         TIERCE_E_BUSY where a lock of L2 was not free in time; TIERCE_E_NETWORK or TIERCE_E_IO
 *         where the tier that decides does not answer: then the value may have been set or not,
 *         and nobody is served what was there before; else as tierce_set(), and TIERCE_E_CONFIG
 *         for TIERCE_TTL_KEEP_NOTHING. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_compare_and_set(const tierce_t *cache,
                                       const void *key,
                                       size_t key_len,
                                       const tierce_revision_t *revision,
                                       const void *value,
                                       size_t value_len,
                                       const tierce_set_opts_t *opts);

/**
 * Sets `key` as tierce_set() does, if it has no value or a stale one.
 *
 * One step for all threads, processes and hosts that share the key. Costs as
 * tierce_get_versioned().
 *
 * \param cache      borrowed, not NULL.
 * \param key        borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len    bytes of `key`, at most 64 KiB.
 * \param value      borrowed for the call; NULL only when `value_len` is 0.
 * \param value_len  bytes of `value`.
 * \param opts       borrowed for the call; NULL for the defaults.
 * \return TIERCE_OK; TIERCE_OTHERWISE where it has a value: nothing was set; else as
 *         tierce_compare_and_set(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_set_if_absent(const tierce_t *cache,
                                     const void *key,
                                     size_t key_len,
                                     const void *value,
                                     size_t value_len,
                                     const tierce_set_opts_t *opts);

/**
 * Adds `delta` to the number that `key` has, written in decimal digits, and tells the sum.
 *
 * One step for all threads, processes and hosts that share the key. A key without a value counts
 * as 0; a number keeps what remains of its time to live. Costs as tierce_get_versioned().
 *
 * \param cache    borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`, at most 64 KiB.
 * \param delta    what is added; below zero subtracts.
 * \param sum      receives the sum on TIERCE_OK; NULL where it is not wanted.
 * \return TIERCE_OK; TIERCE_E_CODEC where the value is no whole number of 64 bits or the sum is
 *         none: the value stays as it was; else as tierce_compare_and_set(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_increment(const tierce_t *cache,
                                 const void *key,
                                 size_t key_len,
                                 int64_t delta,
                                 int64_t *sum);

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
 * Says that the value is the one that the loader was told of (`stale` of tierce_load_context_t):
 * it is fresh again, and what was written does not count. Where there is none, the load fails.
 *
 * \param sink  the loader's, not NULL.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_not_modified(tierce_sink_t *sink);

/**
 * Sets what the next load of the key is told to know this value by (`validator` of
 * tierce_load_context_t): an ETag, a version.
 *
 * \param sink  the loader's, not NULL.
 * \param data  borrowed for the call; NULL only when `len` is 0.
 * \param len   bytes of `data`, at most 1,024; more make the load fail.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_validator(tierce_sink_t *sink, const void *data, size_t len);

/**
 * Adds a tag to those of the value (see tierce_remove_tags()), beside those of the call. Removing
 * it while the loader runs counts, though the loader has not yet named it.
 *
 * \param sink     the loader's, not NULL.
 * \param tag      borrowed for the call; NULL only when `tag_len` is 0.
 * \param tag_len  bytes of `tag`.
 * \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
 *         returns. Threads: own, that of the loader.
 * \since 0.1
 */
tierce_status_t tierce_sink_tag(tierce_sink_t *sink, const void *tag, size_t tag_len);

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
 * Binds a loader to a cache, for many keys and calls.
 *
 * With it, stale values are refreshed by threads of the cache where the options say so
 * (`stale_while_revalidate_ms`, `soft_timeout_ms`), and a loader is told of the value that there
 * is, so that it can ask its origin whether that has changed.
 *
 * \param cache    borrowed, not NULL.
 * \param load     makes the values; not NULL.
 * \param user     handed to `load`, not looked at; it must be fit for several threads at once.
 * \param let_go   called with `user` once `load` will not be called any more, which may be after
 *                 tierce_loading_close() where a load is under way; NULL for nothing. Also called
 *                 where this function answers anything but TIERCE_OK.
 * \param opts     borrowed for the call; NULL for the defaults.
 * \param out      receives a handle on TIERCE_OK; give it to tierce_loading_close().
 * \return TIERCE_OK; TIERCE_E_CONFIG for options that do not fit together; TIERCE_E_VERSION for
 *         options that this library does not know; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_loading_open(const tierce_t *cache,
                                    tierce_context_load_fn load,
                                    void *user,
                                    tierce_drop_fn let_go,
                                    const tierce_load_opts_t *opts,
                                    tierce_loading_t **out);

/**
 * Lets a loader go. The cache stays open.
 *
 * \param loading  a handle; NULL is fine.
 * \return TIERCE_OK, TIERCE_E_ARG for what is no handle or was closed. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_loading_close(tierce_loading_t *loading);

/**
 * Looks `key` up, loaded if need be: as tierce_get_or_load() with the loader and options of
 * `loading`.
 *
 * \param loading  borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`, at most 64 KiB.
 * \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                 every other answer.
 * \return as tierce_get_or_load(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_loading_get(const tierce_loading_t *loading,
                                   const void *key,
                                   size_t key_len,
                                   tierce_view_t *out);

/**
 * Calls the loader of `loading` whatever the tiers have, and puts what it makes in the place of
 * that. Nothing stale is served where it fails.
 *
 * \param loading  borrowed, not NULL.
 * \param key      borrowed for the call; NULL only when `key_len` is 0.
 * \param key_len  bytes of `key`, at most 64 KiB.
 * \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                 every other answer.
 * \return as tierce_get_or_load(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_loading_refresh(const tierce_loading_t *loading,
                                       const void *key,
                                       size_t key_len,
                                       tierce_view_t *out);

/**
 * Tells whether what a loader makes is of no use any more: its time is over, somebody overtook
 * the load, or the cache was closed. A load that takes long should ask from time to time.
 *
 * \param context  the one that the loader was called with, borrowed, not NULL.
 * \return 1 if it is of no use; else 0, also for NULL. Threads: any, during the loader's call.
 * \since 0.1
 */
int32_t tierce_load_is_cancelled(const tierce_load_context_t *context);

/**
 * Has `listener` told of what happens in a cache, until that is closed.
 *
 * Nobody waits for it: events that come faster than it takes them are dropped, see
 * tierce_events_dropped(). While anybody listens, a hit costs about a microsecond more.
 *
 * \param cache     borrowed, not NULL.
 * \param listener  not NULL.
 * \param user      handed to `listener`, not looked at.
 * \param let_go    called with `user` once `listener` will not be called any more; NULL for
 *                  nothing. Also called where this function answers anything but TIERCE_OK.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_on_event(const tierce_t *cache,
                                tierce_event_fn listener,
                                void *user,
                                tierce_drop_fn let_go);

/**
 * Tells how many events listeners were not told of, because too many waited.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives the number on TIERCE_OK.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_events_dropped(const tierce_t *cache, uint64_t *out);

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
 * \return TIERCE_OK; TIERCE_MISS where metrics are not shown (`metrics_enabled`);
 *         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_metrics_text(const tierce_t *cache, tierce_view_t *out);

/**
 * Makes a report in JSON of how the cache met objectives in the last time: for each what it is,
 * whether it is met, what is left of its error budget and how fast that is spent. Spans are
 * seconds, with `_s` behind their names.
 *
 * What is known of a window begins with the first call of this function or of
 * tierce_alerts_start(): nothing is kept before.
 *
 * \param cache       borrowed, not NULL.
 * \param objectives  borrowed for the call, ended by a NUL: "staging", "production",
 *                    "staging-canary" or "phase-1" to "phase-4"; NULL for those of the environment
 *                    that TIERCE_ENV, CACHE_ENVIRONMENT or NODE_ENV names.
 * \param window_ms   how many milliseconds are judged, from a second to an hour.
 * \param out         receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                    every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_E_CONFIG where there are no such objectives, or no environment is
 *         named; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_slo_json(const tierce_t *cache,
                                const char *objectives,
                                int64_t window_ms,
                                tierce_view_t *out);

/**
 * Begins to judge alerts once a second, on a thread of the cache, until tierce_alerts_stop() or
 * tierce_close(). Those that were judged before are stopped. tierce_guard_open() does this and all
 * else that a configuration says.
 *
 * \param cache   borrowed, not NULL.
 * \param text    borrowed for the call: YAML in UTF-8, a list `alerts` of `name`, `condition`
 *                (such as "latency_p95 > 100ms"), `duration`, `severity` and `keep_firing_for`; no
 *                NUL at its end is needed. NULL only when `len` is 0.
 * \param len     bytes of `text`.
 * \param notify  is told of alerts; NULL for nobody.
 * \param user    handed to `notify`, not looked at.
 * \param let_go  called with `user` once `notify` will not be called any more; NULL for nothing.
 *                Also called where this function answers anything but TIERCE_OK.
 * \return TIERCE_OK; TIERCE_E_CONFIG for what are no alerts, which the message names;
 *         TIERCE_E_CLOSED; TIERCE_E_IO where there is no thread to be had; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_alerts_start(const tierce_t *cache,
                                    const char *text,
                                    size_t len,
                                    tierce_notice_fn notify,
                                    void *user,
                                    tierce_drop_fn let_go);

/**
 * Makes a list in JSON of the alerts that are judged: `name`, `condition`, `severity`,
 * `duration_s` and `state` ("inactive", "pending" or "firing") of each, as of the latest look.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on every
 *               other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_MISS where none are judged; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_alerts_json(const tierce_t *cache, tierce_view_t *out);

/**
 * Ends what tierce_alerts_start() began; nothing to end is fine.
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_alerts_stop(const tierce_t *cache);

/**
 * Tells how a cache is: the `status` of tierce_health_json(), as a number. Looks at what is known
 * already and asks no tier.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives TIERCE_HEALTHY, TIERCE_DEGRADED or TIERCE_UNHEALTHY on TIERCE_OK.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_health(const tierce_t *cache, uint32_t *out);

/**
 * Starts all that the configuration of a cache says beside its tiers: `alerts`, `notify`, `slo`,
 * `serve`, `rollout`, `automatic_rollback`, `traffic_split` and `actions_journal`. A thread looks once a second until
 * tierce_guard_close() or tierce_close().
 *
 * A forked child has no guard, and no listener either: open one there.
 *
 * \param cache   borrowed, not NULL.
 * \param text    borrowed for the call: YAML, TOML or JSON in UTF-8, of these keys and `environment`, that
 *                is read over the settings with which the cache was opened; no NUL at its end is needed.
 *                NULL only when `len` is 0, which leaves those as they are.
 * \param len     bytes of `text`.
 * \param notify  is told of alerts beside the sinks of `notify`; NULL for nobody more.
 * \param user    handed to `notify`, not looked at.
 * \param let_go  called with `user` once `notify` will not be called any more; NULL for nothing.
 *                Also called where this function answers anything but TIERCE_OK.
 * \param out     receives a handle on TIERCE_OK; give it to tierce_guard_close().
 * \return TIERCE_OK; TIERCE_E_CONFIG for an unknown key, a bad value or a bad plan, which the message
 *         names; TIERCE_E_IO or TIERCE_E_DENIED where a file cannot be read, the address not be
 *         listened at, or there is no thread to be had; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_open(const tierce_t *cache,
                                  const char *text,
                                  size_t len,
                                  tierce_notice_fn notify,
                                  void *user,
                                  tierce_drop_fn let_go,
                                  tierce_guard_t **out);

/**
 * Ends a guard and its listener. What `notify` of tierce_guard_open() is being told ends first, and
 * nobody waits for it: `let_go` says when it is over. Shares, tiers and what
 * tierce_guard_shed() and tierce_guard_block() did stay as they are.
 *
 * \param guard  taken; NULL is fine.
 * \return TIERCE_OK, TIERCE_E_ARG. Threads: any, once; also from `notify`.
 * \since 0.1
 */
tierce_status_t tierce_guard_close(tierce_guard_t *guard);

/**
 * Makes a report in JSON of how the cache met the objectives of the configuration, as
 * tierce_slo_json().
 *
 * \param guard      borrowed, not NULL.
 * \param window_ms  how many milliseconds are judged, from a second to an hour.
 * \param out        receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                   every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_MISS where there are no objectives; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_slo_json(const tierce_guard_t *guard,
                                      int64_t window_ms,
                                      tierce_view_t *out);

/**
 * Makes a document in JSON of the alerts, as of the latest look: `alerts`, each with `name`,
 * `condition`, `severity`, `duration_s` and `state`, and `sinks`, what became of their notices.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_alerts_json(const tierce_guard_t *guard, tierce_view_t *out);

/**
 * Makes the statistics in the text format of Prometheus, as tierce_metrics_text(), with those of
 * alerts and of the process.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_MISS where metrics are not shown (`metrics_enabled`);
 *         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_metrics_text(const tierce_guard_t *guard, tierce_view_t *out);

/**
 * Answers over HTTP from now on, in place of where the guard did before: health, metrics, objectives,
 * alerts, rollout and actions.
 *
 * \param guard     borrowed, not NULL.
 * \param address   borrowed for the call, ended by a NUL: host and port, port 0 for a free one; NULL
 *                  for "127.0.0.1:9464".
 * \param token     borrowed for the call, ended by a NUL: what requests that change state must bear;
 *                  NULL refuses them all.
 * \param out_port  receives the port on TIERCE_OK; NULL is fine.
 * \return TIERCE_OK; TIERCE_E_IO or TIERCE_E_DENIED where the address cannot be listened at;
 *         TIERCE_E_CONFIG for an empty token; TIERCE_E_CLOSED; TIERCE_E_ARG. The guard listens where it
 *         did before on any but the first. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_serve(const tierce_guard_t *guard,
                                   const char *address,
                                   const char *token,
                                   uint16_t *out_port);

/**
 * Tells at which port a guard listens.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives the port on TIERCE_OK.
 * \return TIERCE_OK; TIERCE_MISS where it listens nowhere; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_port(const tierce_guard_t *guard,
                                  uint16_t *out);

/**
 * Ends what tierce_guard_serve() or the configuration began; nothing to end is fine.
 *
 * \param guard  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_serve_stop(const tierce_guard_t *guard);

/**
 * Begins a rollout: with the plan that the guard was given (`rollout.plan`) or that its store had
 * before, or with another one.
 *
 * With another plan it begins in all processes of the host that take part in the rollouts of the store
 * (`rollout.of_store`), or, with L3, on all hosts. The decision is written down when this returns; the
 * first step is taken by the next look of who leads, within a second, if what it requires holds.
 *
 * \param guard  borrowed, not NULL.
 * \param by     borrowed for the call, ended by a NUL, not NULL: who asks, for the journal.
 * \param plan   borrowed for the call: YAML in UTF-8; no NUL at its end is needed. NULL only when
 *               `len` is 0, for the plan that there is.
 * \param len    bytes of `plan`.
 * \return TIERCE_OK; TIERCE_E_CONFIG for a plan that cannot be carried out, while a rollout is under
 *         way, and where there is none to take part in; TIERCE_E_IO and the like for the journal;
 *         TIERCE_E_NETWORK and the like for L3; TIERCE_E_UNSUPPORTED in a forked child;
 *         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_rollout_start(const tierce_guard_t *guard,
                                     const char *by,
                                     const char *plan,
                                     size_t len);

/**
 * Asks for something else of the rollout. The decision is written down, and in force in this process,
 * when this returns; a rollback is in force even where it cannot be written.
 *
 * \param guard    borrowed, not NULL.
 * \param by       borrowed for the call, ended by a NUL, not NULL: who asks, for the journal.
 * \param command  borrowed for the call, ended by a NUL, not NULL: "advance" to the next step if its
 *                 gate is passed, "force" it, "pause", "resume", "rollback" at once,
 *                 "gradual_rollback" by the steps of the plan, or "start".
 * \return TIERCE_OK; TIERCE_E_CONFIG for another word, for what cannot be done now, and where there is
 *         no rollout; TIERCE_E_IO, TIERCE_E_NETWORK and the like for the journal and L3;
 *         TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any, also
 *         from `notify` of tierce_guard_open().
 * \since 0.1
 */
tierce_status_t tierce_rollout_ask(const tierce_guard_t *guard,
                                   const char *by,
                                   const char *command);

/**
 * Tells a rollout a number or a truth (1 or 0) that only the outside knows: what its plan calls
 * `input.NAME`.
 *
 * \param guard  borrowed, not NULL.
 * \param input  borrowed for the call, ended by a NUL, not NULL: the name.
 * \param value  a number.
 * \return TIERCE_OK; TIERCE_E_CONFIG for what is no number, and where there is no rollout;
 *         TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_rollout_push(const tierce_guard_t *guard, const char *input, double value);

/**
 * Makes a document in JSON of where the rollout is, as of the latest look: `plan`, `stage`, `phase`,
 * `step`, `percent`, `baseline`, `target`, `green_ms` of `needed_ms`, and `red`, why the gate is shut;
 * while keys are split also `sides`, and with other hosts `hosts`.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_MISS where there is no rollout; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_rollout_json(const tierce_guard_t *guard,
                                    tierce_view_t *out);

/**
 * Makes a list in JSON of every decision of the rollout, the oldest first: `at_ms`, `kind`, `rule`,
 * `value`, `by`, `stage`, `phase`, `step` and `percent` of each. Reads the journal.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK; TIERCE_E_CONFIG where there is no rollout; TIERCE_E_CORRUPT, TIERCE_E_IO and the
 *         like for the journal; TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_rollout_history_json(const tierce_guard_t *guard,
                                            tierce_view_t *out);

/**
 * Lets a share of calls pass. The others are answered by L1, by a stale value there, or by an error:
 * nothing is asked below L1 and nothing loaded. Changes are never shed. In force with the next call
 * of any thread of this process, until tierce_guard_lift().
 *
 * \param guard    borrowed, not NULL.
 * \param by       borrowed for the call, ended by a NUL, not NULL: who asks, for the journal of
 *                 actions (`actions_journal`).
 * \param percent  how many of 100 calls pass: 0 to 100.
 * \param answer   borrowed for the call, ended by a NUL: what the others get, "stale" or "error"
 *                 (TIERCE_E_BUSY); NULL for "stale".
 * \return TIERCE_OK; TIERCE_E_CONFIG for another word; TIERCE_E_IO and the like where the journal
 *         cannot be written: then it is in force all the same; TIERCE_E_CLOSED; TIERCE_E_ARG.
 *         Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_shed(const tierce_guard_t *guard,
                                  const char *by,
                                  double percent,
                                  const char *answer);

/**
 * Serves nothing and takes no new value, until tierce_guard_lift(): reads find nothing, loads and sets
 * are TIERCE_E_DENIED. Removals are made.
 *
 * \param guard  borrowed, not NULL.
 * \param by     as for tierce_guard_shed().
 * \return as tierce_guard_shed(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_block(const tierce_guard_t *guard,
                                   const char *by);

/**
 * Makes all that L1 of this process has stale, in all tiers, on a thread of the library; another
 * refresh takes the place of one that is under way. It has begun when this returns.
 *
 * \param guard       borrowed, not NULL.
 * \param by          as for tierce_guard_shed().
 * \param per_second  keys a second; 0 for 100.
 * \return as tierce_guard_shed(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_refresh(const tierce_guard_t *guard,
                                     const char *by,
                                     uint32_t per_second);

/**
 * Drops the connections to L3 and has them made anew. Calls that wait on them are misses there.
 *
 * \param guard  borrowed, not NULL.
 * \param by     as for tierce_guard_shed().
 * \return as tierce_guard_shed(); TIERCE_E_UNSUPPORTED where there is no connection. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_reset(const tierce_guard_t *guard, const char *by);

/**
 * Ends what tierce_guard_shed(), tierce_guard_block() and tierce_guard_refresh() began.
 *
 * \param guard  borrowed, not NULL.
 * \param by     as for tierce_guard_shed().
 * \return as tierce_guard_shed(). Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_lift(const tierce_guard_t *guard, const char *by);

/**
 * Makes a document in JSON of what is in force of these actions: `gate` with `passes` (the share, 0 to
 * 1), `shedding`, `is_blocked` and `turned_away`, and `refreshed`, keys of the refresh under way, or
 * null.
 *
 * \param guard  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_guard_actions_json(const tierce_guard_t *guard,
                                          tierce_view_t *out);

/**
 * Makes a document in JSON of what the numbers of a cache show to be unwise: `advice`, a list of `code`
 * and `message`, and `survey`, what the survey under way has seen, or null.
 *
 * \param cache  borrowed, not NULL.
 * \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *               every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_advise_json(const tierce_t *cache,
                                   tierce_view_t *out);

/**
 * Begins to observe which keys are asked for and how long entries of L1 are of use, for
 * tierce_advise_json(); a survey that is under way begins anew. A read costs some tens of nanoseconds
 * more until tierce_survey_end().
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_survey_begin(const tierce_t *cache);

/**
 * Ends the survey, and what it saw is gone; nothing to end is fine.
 *
 * \param cache  borrowed, not NULL.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_survey_end(const tierce_t *cache);

/**
 * Makes a document in JSON of the counts and latencies of the last time. What is known of a window
 * begins with the first look at one, by this function or a guard.
 *
 * \param cache      borrowed, not NULL.
 * \param window_ms  how many milliseconds, from a second to an hour.
 * \param out        receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
 *                   every other answer. A NUL, which `len` does not count, ends the text.
 * \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
 * \since 0.1
 */
tierce_status_t tierce_window_json(const tierce_t *cache, int64_t window_ms, tierce_view_t *out);

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
