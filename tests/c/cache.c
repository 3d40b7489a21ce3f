/*
 * Every function of tierce.h as a C program uses it: cache.c TEMPORARY_FOLDER
 *
 * One function for each promise of the header; main() names them all.
 */
#define _POSIX_C_SOURCE 200809L

#include <limits.h>
#include <stdint.h>
#include <time.h>

#include "check.h"

static const char *folder;

/* The layout that this header was made for: C99 has no static_assert. */
typedef char view_has_its_size[sizeof(tierce_view_t) == 6 * sizeof(void *) + 16 ? 1 : -1];
typedef char pin_has_its_place[offsetof(tierce_view_t, pin) == 2 * sizeof(void *) ? 1 : -1];
typedef char set_options_have_their_size[sizeof(tierce_set_opts_t) == 40 + 4 * sizeof(void *) ? 1 : -1];
typedef char load_options_have_their_size[sizeof(tierce_load_opts_t) == 96 + 4 * sizeof(void *) ? 1 : -1];
typedef char age_has_its_place[offsetof(tierce_view_t, age_ms) == 6 * sizeof(void *) + 8 ? 1 : -1];
typedef char status_has_four_bytes[sizeof(tierce_status_t) == 4 ? 1 : -1];

static void sleep_ms(long ms)
{
    struct timespec time;
    time.tv_sec = ms / 1000;
    time.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static void the_library_is_the_one_of_the_header(void)
{
    CHECK(tierce_abi_version() == TIERCE_ABI_VERSION);
    CHECK(strcmp(tierce_version(), TIERCE_VERSION) == 0);
    CHECK(strstr(tierce_features(), "shared") != NULL);
}

static void what_is_set_is_found_until_it_is_deleted(void)
{
    tierce_t *cache = open_text("{\"tiering\": \"L1\"}");
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(set(cache, "key", "one"), TIERCE_OK);
    CHECK(has(cache, "key", "one"));
    CHECK_STATUS(set(cache, "key", "two"), TIERCE_OK);
    CHECK(has(cache, "key", "two"));
    CHECK_STATUS(tierce_delete(cache, "key", 3), TIERCE_OK);
    CHECK_STATUS(tierce_delete(cache, "key", 3), TIERCE_OK);
    CHECK(has(cache, "key", NULL));

    /* Keys and values are bytes: empty ones and those with a NUL too. */
    CHECK_STATUS(tierce_set(cache, NULL, 0, "a\0b", 3, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_set(cache, "k\0k", 3, NULL, 0, NULL), TIERCE_OK);
    tierce_view_t view;
    CHECK_STATUS(tierce_get(cache, "", 0, &view), TIERCE_OK);
    CHECK(view.len == 3 && memcmp(view.data, "a\0b", 3) == 0 && view.origin == TIERCE_FROM_L1);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_get(cache, "k\0k", 3, &view), TIERCE_OK);
    CHECK(view.len == 0 && view.data == NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_get(cache, "k\0l", 3, &view), TIERCE_MISS);

    CHECK_STATUS(tierce_clear(cache), TIERCE_OK);
    CHECK_STATUS(tierce_get(cache, "", 0, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_view_outlives_its_entry_and_its_cache(void)
{
    tierce_t *cache = open_text("tiering: L1");
    CHECK_STATUS(set(cache, "key", "old"), TIERCE_OK);
    tierce_view_t view;
    CHECK_STATUS(get(cache, "key", &view), TIERCE_OK);
    CHECK_STATUS(set(cache, "key", "new"), TIERCE_OK);
    CHECK(view_is(&view, "old"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK(view_is(&view, "old"));
    tierce_view_release(&view);
    CHECK(view_is_zero(&view));
    tierce_view_release(&view);
    tierce_view_release(NULL);
}

static void a_copy_tells_the_whole_length(void)
{
    tierce_t *cache = open_text("tiering: L1");
    char buffer[8];
    size_t len = 99;
    CHECK_STATUS(tierce_get_copy(cache, "key", 3, buffer, sizeof buffer, &len), TIERCE_MISS);
    CHECK(len == 0);
    CHECK_STATUS(set(cache, "key", "12345"), TIERCE_OK);
    memset(buffer, '-', sizeof buffer);
    CHECK_STATUS(tierce_get_copy(cache, "key", 3, buffer, sizeof buffer, &len), TIERCE_OK);
    CHECK(len == 5 && memcmp(buffer, "12345---", 8) == 0);
    memset(buffer, '-', sizeof buffer);
    CHECK_STATUS(tierce_get_copy(cache, "key", 3, buffer, 2, &len), TIERCE_TRUNCATED);
    CHECK(len == 5 && memcmp(buffer, "12------", 8) == 0);
    CHECK_STATUS(tierce_get_copy(cache, "key", 3, NULL, 0, &len), TIERCE_TRUNCATED);
    CHECK(len == 5);
    CHECK_STATUS(tierce_get_copy(cache, "key", 3, buffer, 5, &len), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void many_keys_are_found_at_once(void)
{
    tierce_t *cache = open_text("tiering: L1");
    const void *keys[4] = {"a", "none", NULL, "a"};
    const size_t lens[4] = {1, 4, 0, 1};
    tierce_view_t views[4];
    size_t found = 99;
    CHECK_STATUS(set(cache, "a", "1"), TIERCE_OK);
    CHECK_STATUS(tierce_set(cache, NULL, 0, NULL, 0, NULL), TIERCE_OK);
    memset(views, 0xff, sizeof views);
    CHECK_STATUS(tierce_get_many(cache, keys, lens, 4, views, &found), TIERCE_OK);
    CHECK(found == 3);
    CHECK(views[0].len == 1 && memcmp(views[0].data, "1", 1) == 0);
    CHECK(views[0].origin == TIERCE_FROM_L1);
    CHECK(view_is_zero(&views[1]) && views[1].origin == TIERCE_FROM_NOWHERE);
    CHECK(views[2].len == 0 && views[2].origin == TIERCE_FROM_L1);
    CHECK(views[3].len == 1 && views[3].data == views[0].data);
    for (int i = 0; i < 4; i++) tierce_view_release(&views[i]);
    CHECK_STATUS(tierce_get_many(cache, NULL, NULL, 0, NULL, &found), TIERCE_OK);
    CHECK(found == 0);
    CHECK_STATUS(tierce_get_many(cache, keys + 1, lens + 1, 1, views, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_get_many(cache, NULL, lens, 1, views, &found), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_many(cache, keys, NULL, 1, views, &found), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_many(cache, keys, lens, 1, NULL, &found), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_many(cache, keys, lens, (size_t)-1 / 2, views, &found), TIERCE_E_ARG);
    memset(views, 0xff, sizeof views);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_get_many(cache, keys, lens, 4, views, &found), TIERCE_E_CLOSED);
    for (int i = 0; i < 4; i++) CHECK(view_is_zero(&views[i]));
}

static void entries_end_with_their_time_to_live(void)
{
    tierce_t *cache = open_text("tiering: L1\ndefault_ttl: 80ms\n");
    tierce_set_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    CHECK_STATUS(tierce_set(cache, "default", 7, "v", 1, &options), TIERCE_OK);
    options.ttl_ms = 20;
    CHECK_STATUS(tierce_set(cache, "short", 5, "v", 1, &options), TIERCE_OK);
    options.ttl_ms = TIERCE_TTL_FOREVER;
    CHECK_STATUS(tierce_set(cache, "forever", 7, "v", 1, &options), TIERCE_OK);
    options.ttl_ms = INT64_MAX;
    CHECK_STATUS(tierce_set(cache, "ages", 4, "v", 1, &options), TIERCE_OK);
    CHECK(has(cache, "forever", "v") && has(cache, "ages", "v"));
    options.ttl_ms = TIERCE_TTL_KEEP_NOTHING;
    CHECK_STATUS(tierce_set(cache, "ages", 4, "v", 1, &options), TIERCE_OK);
    CHECK(has(cache, "ages", NULL));
    /* Real time: no clock of the library can be set from C. Late is right, early is not. */
    sleep_ms(120);
    CHECK(has(cache, "short", NULL));
    CHECK(has(cache, "default", NULL));
    CHECK(has(cache, "forever", "v"));
    options.ttl_ms = -3;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &options), TIERCE_E_ARG);
    CHECK(complains("ttl_ms = -3"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void structs_of_older_and_newer_programs_are_understood(void)
{
    tierce_t *cache = open_text("tiering: L1");
    struct {
        tierce_set_opts_t known;
        uint64_t newer;
    } options;
    memset(&options, 0, sizeof options);
    options.known.struct_size = sizeof options;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &options.known), TIERCE_OK);
    options.newer = 1;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &options.known), TIERCE_E_VERSION);
    options.known.struct_size = 0;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &options.known), TIERCE_E_ARG);
    CHECK(complains("struct_size = 0"));
    options.known.struct_size = SIZE_MAX;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &options.known), TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void l2_is_shared_by_caches_and_survives_them(void)
{
    char text[1024];
    CHECK(snprintf(text, sizeof text,
                   "tiering: L1L2\nshared:\n  directory: %s/l2\n  max_bytes: 16MiB\n"
                   "  max_entries: 1000\n",
                   folder) < (int)sizeof text);
    tierce_t *one = open_text(text);
    tierce_t *two = open_text(text);
    tierce_view_t view;
    CHECK_STATUS(set(one, "key", "one"), TIERCE_OK);
    CHECK_STATUS(get(two, "key", &view), TIERCE_OK);
    CHECK(view_is(&view, "one") && view.origin == TIERCE_FROM_L2);
    tierce_view_release(&view);
    CHECK_STATUS(get(two, "key", &view), TIERCE_OK);
    CHECK(view_is(&view, "one") && view.origin == TIERCE_FROM_L1);
    tierce_view_release(&view);
    /* What one overwrites or deletes, two never reads again from its L1. */
    CHECK_STATUS(set(one, "key", "two"), TIERCE_OK);
    CHECK(has(two, "key", "two"));
    CHECK_STATUS(tierce_delete(one, "key", 3), TIERCE_OK);
    CHECK(has(two, "key", NULL));
    CHECK_STATUS(set(two, "kept", "value"), TIERCE_OK);
    CHECK_STATUS(tierce_close(one), TIERCE_OK);
    CHECK_STATUS(tierce_close(two), TIERCE_OK);
    tierce_t *three = open_text(text);
    CHECK(has(three, "kept", "value"));
    CHECK(has(three, "key", NULL));
    CHECK_STATUS(tierce_close(three), TIERCE_OK);
}

static void tiers_change_under_way(void)
{
    char text[1024];
    CHECK(snprintf(text, sizeof text,
                   "tiering: L1\nshared:\n  directory: %s/retier\n  max_bytes: 16MiB\n",
                   folder) < (int)sizeof text);
    tierce_t *cache = open_text(text);
    const char *tiering = NULL;
    CHECK_STATUS(tierce_tiering(cache, &tiering), TIERCE_OK);
    CHECK(strcmp(tiering, "L1") == 0);
    CHECK_STATUS(tierce_retier(cache, "l1l2"), TIERCE_OK);
    CHECK_STATUS(tierce_tiering(cache, &tiering), TIERCE_OK);
    CHECK(strcmp(tiering, "L1L2") == 0);
    CHECK_STATUS(set(cache, "key", "value"), TIERCE_OK);
    CHECK_STATUS(tierce_retier(cache, "L2"), TIERCE_OK);
    tierce_view_t view;
    CHECK_STATUS(get(cache, "key", &view), TIERCE_OK);
    CHECK(view_is(&view, "value") && view.origin == TIERCE_FROM_L2);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_retier(cache, "L4"), TIERCE_E_CONFIG);
    CHECK(complains("L1L2L3"));
    CHECK_STATUS(tierce_retier(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_tiering(cache, &tiering), TIERCE_OK);
    CHECK(strcmp(tiering, "L2") == 0);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void settings_come_from_text_file_and_environment(void)
{
    tierce_t *cache = NULL;
    static const char wrong[] = "tiering: L1\nmemroy:\n  max_entries: 5\n";
    CHECK_STATUS(tierce_open(wrong, sizeof wrong - 1, &cache), TIERCE_E_CONFIG);
    CHECK(cache == NULL && complains("memroy"));
    static const char value[] = "tiering: L9\n";
    CHECK_STATUS(tierce_open(value, sizeof value - 1, &cache), TIERCE_E_CONFIG);
    CHECK(cache == NULL && complains("L9") && complains("L1L2L3"));
    CHECK_STATUS(tierce_open("tiering: \xff", 10, &cache), TIERCE_E_CONFIG);
    CHECK(complains("byte 9 is not UTF-8"));
    CHECK_STATUS(tierce_open(NULL, 0, &cache), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    cache = NULL;

    char path[1024];
    CHECK(snprintf(path, sizeof path, "%s/none.yaml", folder) < (int)sizeof path);
    CHECK_STATUS(tierce_open_file(path, &cache), TIERCE_E_IO);
    CHECK(cache == NULL && complains("none.yaml"));
    CHECK(snprintf(path, sizeof path, "%s/cache.toml", folder) < (int)sizeof path);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs("tiering = \"L1\"\nservice = \"Filed\"\n", file) >= 0 && fclose(file) == 0);
    CHECK_STATUS(tierce_open_file(path, &cache), TIERCE_OK);
    tierce_view_t health;
    CHECK_STATUS(tierce_health_json(cache, &health), TIERCE_OK);
    CHECK(health.len > 0 && health.origin == TIERCE_FROM_NOWHERE);
    CHECK(strncmp(health.data, "{\"service\":\"Filed\",\"status\":\"healthy\"", 37) == 0);
    tierce_view_release(&health);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    cache = NULL;

    CHECK(setenv("CACHE_TIERING", "L1", 1) == 0);
    CHECK_STATUS(tierce_open_env(&cache), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    cache = NULL;
    CHECK(setenv("CACHE_TIERING", "L0", 1) == 0);
    CHECK_STATUS(tierce_open_env(&cache), TIERCE_E_CONFIG);
    CHECK(cache == NULL && complains("CACHE_TIERING") && complains("L0"));
    CHECK(unsetenv("CACHE_TIERING") == 0);
}

struct load {
    const tierce_t *cache;
    int calls;
    int32_t result;
};

static int32_t load_text(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    struct load *load = user;
    load->calls++;
    CHECK_STATUS(tierce_sink_write(sink, "loaded ", 7), TIERCE_OK);
    CHECK_STATUS(tierce_sink_write(sink, key, key_len), TIERCE_OK);
    return load->result;
}

static int32_t load_in_place(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    void *room = NULL;
    (void)key;
    (void)key_len;
    CHECK_STATUS(tierce_sink_write(sink, "ab", 2), TIERCE_OK);
    CHECK_STATUS(tierce_sink_reserve(sink, 1000, &room), TIERCE_OK);
    memset(room, 'c', 2);
    CHECK_STATUS(tierce_sink_truncate(sink, 4), TIERCE_OK);
    CHECK_STATUS(tierce_sink_ttl(sink, *(int64_t *)user), TIERCE_OK);
    return 0;
}

static int32_t load_overlooks(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    (void)user;
    CHECK_STATUS(tierce_sink_write(sink, key, key_len), TIERCE_OK);
    CHECK_STATUS(tierce_sink_write(sink, NULL, 3), TIERCE_E_ARG);
    return 0;
}

static int32_t load_same_key(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    struct load *load = user;
    tierce_view_t view;
    CHECK_STATUS(
        tierce_get_or_load(load->cache, key, key_len, load_same_key, user, NULL, &view),
        TIERCE_E_REENTRANT);
    CHECK(view_is_zero(&view));
    /* Another key may be loaded, set and read. */
    CHECK_STATUS(tierce_get_or_load(load->cache, "other", 5, load_text, user, NULL, &view),
                 TIERCE_OK);
    CHECK(view_is(&view, "loaded other"));
    CHECK_STATUS(tierce_sink_write(sink, view.data, view.len), TIERCE_OK);
    tierce_view_release(&view);
    return 0;
}

static int32_t load_closes(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    tierce_t **cache = user;
    (void)key_len;
    CHECK_STATUS(tierce_close(*cache), TIERCE_OK);
    CHECK_STATUS(set(*cache, "key", "value"), TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_sink_write(sink, key, 1), TIERCE_OK);
    return 0;
}

static tierce_sink_t *kept_sink;

static int32_t load_keeps_its_sink(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    (void)user;
    (void)key;
    (void)key_len;
    kept_sink = sink;
    return 0;
}

static void a_miss_is_loaded_once(void)
{
    tierce_t *cache = open_text("tiering: L1");
    struct load load;
    memset(&load, 0, sizeof load);
    load.cache = cache;
    tierce_view_t view;
    CHECK_STATUS(tierce_get_or_load(cache, "key", 3, load_text, &load, NULL, &view), TIERCE_OK);
    CHECK(view_is(&view, "loaded key") && view.origin == TIERCE_FROM_LOADER && load.calls == 1);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_get_or_load(cache, "key", 3, load_text, &load, NULL, &view), TIERCE_OK);
    CHECK(view_is(&view, "loaded key") && view.origin == TIERCE_FROM_L1 && load.calls == 1);
    tierce_view_release(&view);

    load.result = -77;
    CHECK_STATUS(tierce_get_or_load(cache, "bad", 3, load_text, &load, NULL, &view),
                 TIERCE_E_LOADER);
    CHECK(view_is_zero(&view) && tierce_last_loader_code() == -77 && complains("-77"));
    load.result = 5;
    CHECK_STATUS(tierce_get_or_load(cache, "bad", 3, load_text, &load, NULL, &view),
                 TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == 5);
    CHECK(has(cache, "bad", NULL));
    CHECK_STATUS(tierce_get_or_load(cache, "hole", 4, load_overlooks, NULL, NULL, &view),
                 TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == TIERCE_E_ARG && complains("TIERCE_E_ARG"));
    CHECK(has(cache, "hole", NULL));

    int64_t ttl_ms = TIERCE_TTL_KEEP_NOTHING;
    CHECK_STATUS(tierce_get_or_load(cache, "raw", 3, load_in_place, &ttl_ms, NULL, &view),
                 TIERCE_OK);
    CHECK(view_is(&view, "abcc"));
    tierce_view_release(&view);
    CHECK(has(cache, "raw", NULL));
    ttl_ms = TIERCE_TTL_FOREVER;
    tierce_load_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.ttl_ms = 1;
    options.wait_ms = 1000;
    CHECK_STATUS(tierce_get_or_load(cache, "raw", 3, load_in_place, &ttl_ms, &options, &view),
                 TIERCE_OK);
    tierce_view_release(&view);
    sleep_ms(20);
    CHECK(has(cache, "raw", "abcc"));
    options.wait_ms = -1;
    CHECK_STATUS(tierce_get_or_load(cache, "raw", 3, load_in_place, &ttl_ms, &options, &view),
                 TIERCE_E_ARG);

    load.result = 0;
    CHECK_STATUS(tierce_get_or_load(cache, "self", 4, load_same_key, &load, NULL, &view),
                 TIERCE_OK);
    CHECK(view_is(&view, "loaded other"));
    tierce_view_release(&view);

    CHECK_STATUS(tierce_get_or_load(cache, "sink", 4, load_keeps_its_sink, NULL, NULL, &view),
                 TIERCE_OK);
    CHECK(view.len == 0);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_sink_write(kept_sink, "late", 4), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_truncate(kept_sink, 0), TIERCE_E_ARG);

    CHECK_STATUS(tierce_get_or_load(cache, "end", 3, load_closes, &cache, NULL, &view), TIERCE_OK);
    CHECK(view_is(&view, "e"));
    tierce_view_release(&view);
    CHECK_STATUS(tierce_close(cache), TIERCE_E_CLOSED);
}

static void numbers_and_documents_tell_what_happened(void)
{
    tierce_t *cache = open_text("tiering: L1\nservice: Counted\nmetrics_enabled: true\n");
    tierce_view_t view;
    CHECK_STATUS(set(cache, "key", "value"), TIERCE_OK);
    CHECK(has(cache, "key", "value") && has(cache, "key", "value") && has(cache, "none", NULL));

    tierce_stats_t stats;
    memset(&stats, 0xff, sizeof stats);
    stats.struct_size = sizeof stats;
    CHECK_STATUS(tierce_get_stats(cache, &stats), TIERCE_OK);
    CHECK(stats.struct_size == sizeof stats && stats.hits == 2 && stats.misses == 1);
    tierce_tier_stats_t tier;
    memset(&tier, 0, sizeof tier);
    tier.struct_size = sizeof tier;
    CHECK_STATUS(tierce_get_tier_stats(cache, TIERCE_FROM_L1, &tier), TIERCE_OK);
    CHECK(tier.hits == 2 && tier.misses == 1 && tier.entries == 1 && tier.bytes > 8);
    CHECK_STATUS(tierce_get_tier_stats(cache, TIERCE_FROM_L3, &tier), TIERCE_MISS);
    CHECK_STATUS(tierce_get_tier_stats(cache, 9, &tier), TIERCE_E_ARG);
    tier.struct_size = 1;
    CHECK_STATUS(tierce_get_tier_stats(cache, TIERCE_FROM_L1, &tier), TIERCE_E_ARG);

    CHECK_STATUS(tierce_stats_json(cache, &view), TIERCE_OK);
    CHECK(view.len > 2 && ((const char *)view.data)[0] == '{');
    tierce_view_release(&view);
    CHECK_STATUS(tierce_health_json(cache, &view), TIERCE_OK);
    CHECK(strncmp(view.data, "{\"service\":\"Counted\"", 20) == 0);
    CHECK(strlen(view.data) == view.len);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_metrics_text(cache, &view), TIERCE_OK);
    CHECK(view.len > 2 && strncmp(view.data, "# HELP ", 7) == 0);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);

    cache = open_text("tiering: L1\nmetrics_enabled: false\n");
    CHECK_STATUS(tierce_metrics_text(cache, &view), TIERCE_MISS);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void errors_have_texts_that_stay_in_their_place(void)
{
    const char *text = tierce_last_error();
    tierce_t *cache = NULL;
    CHECK_STATUS(tierce_open("[", 1, &cache), TIERCE_E_CONFIG);
    CHECK(text == tierce_last_error() && strlen(text) > 10);
    char copy[64];
    const size_t len = tierce_error_copy(copy, sizeof copy);
    CHECK(len == strlen(text) && strncmp(copy, text, sizeof copy - 1) == 0);
    CHECK(strlen(copy) == (len < sizeof copy ? len : sizeof copy - 1));
    CHECK(tierce_error_copy(NULL, 0) == len);
    /* A call that ends well leaves the text alone. */
    CHECK_STATUS(tierce_open(NULL, 0, &cache), TIERCE_OK);
    CHECK(tierce_error_copy(NULL, 0) == len);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK(strcmp(tierce_status_name(TIERCE_E_CONFIG), "TIERCE_E_CONFIG") == 0);
    CHECK(strcmp(tierce_status_name(INT_MIN), "unknown status") == 0);
}

/* Every function with this handle, and nothing else wrong: each must answer `wanted`. */
static void each_refuses(tierce_t *cache, tierce_status_t wanted)
{
    tierce_view_t view;
    size_t len = 7;
    char buffer[4];
    const char *tiering = NULL;
    tierce_stats_t stats;
    tierce_tier_stats_t tier;
    memset(&stats, 0, sizeof stats);
    memset(&tier, 0, sizeof tier);
    stats.struct_size = sizeof stats;
    tier.struct_size = sizeof tier;
    memset(&view, 0xff, sizeof view);
    CHECK_STATUS(tierce_get(cache, "k", 1, &view), wanted);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_get_copy(cache, "k", 1, buffer, 4, &len), wanted);
    CHECK(len == 7);
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, NULL), wanted);
    CHECK_STATUS(tierce_delete(cache, "k", 1), wanted);
    CHECK_STATUS(tierce_clear(cache), wanted);
    memset(&view, 0xff, sizeof view);
    CHECK_STATUS(tierce_get_or_load(cache, "k", 1, load_text, NULL, NULL, &view), wanted);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_get_stats(cache, &stats), wanted);
    CHECK_STATUS(tierce_get_tier_stats(cache, TIERCE_FROM_L1, &tier), wanted);
    CHECK_STATUS(tierce_stats_json(cache, &view), wanted);
    CHECK_STATUS(tierce_health_json(cache, &view), wanted);
    CHECK_STATUS(tierce_metrics_text(cache, &view), wanted);
    CHECK_STATUS(tierce_retier(cache, "L1"), wanted);
    CHECK_STATUS(tierce_tiering(cache, &tiering), wanted);
    CHECK(tiering == NULL);
}

static void handles_that_are_none_are_refused(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_view_t view;
    memset(&view, 0, sizeof view);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    each_refuses(cache, TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_close(cache), TIERCE_E_CLOSED);
    /* Also when its place is taken by another cache. */
    tierce_t *again = open_text("tiering: L1");
    CHECK(again != cache);
    each_refuses(cache, TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_close(cache), TIERCE_E_CLOSED);
    CHECK_STATUS(set(again, "k", "v"), TIERCE_OK);
    CHECK_STATUS(tierce_close(again), TIERCE_OK);

    each_refuses(NULL, TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(NULL), TIERCE_OK);
    each_refuses((tierce_t *)&view, TIERCE_E_ARG);
    CHECK_STATUS(tierce_close((tierce_t *)&view), TIERCE_E_ARG);
    each_refuses((tierce_t *)kept_sink, TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_write((tierce_sink_t *)again, "x", 1), TIERCE_E_ARG);
}

/* The other arguments, one wrong at a time. */
static void null_and_lengths_are_checked(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_view_t view;
    size_t len;
    char buffer[4];
    struct load load;
    memset(&load, 0, sizeof load);
    const size_t huge = SIZE_MAX, half = SIZE_MAX / 2 + 1;

    CHECK_STATUS(tierce_open(NULL, 1, &cache), TIERCE_E_ARG);
    CHECK_STATUS(tierce_open("", huge, &cache), TIERCE_E_ARG);
    CHECK_STATUS(tierce_open(NULL, 0, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_open_file(NULL, &cache), TIERCE_E_ARG);
    CHECK_STATUS(tierce_open_file("x", NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_open_env(NULL), TIERCE_E_ARG);

    CHECK_STATUS(tierce_get(cache, NULL, 1, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get(cache, "k", half, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get(cache, "k", 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get(cache, "k", 1, (tierce_view_t *)(buffer + 1)), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_copy(cache, NULL, 1, buffer, 4, &len), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_copy(cache, "k", 1, NULL, 4, &len), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_copy(cache, "k", 1, buffer, half, &len), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_copy(cache, "k", 1, buffer, 4, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_with(cache, NULL, 1, NULL, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_with(cache, "k", 1, NULL, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_expire(cache, NULL, 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_delete_many(cache, NULL, NULL, 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_set(cache, NULL, 1, "v", 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_set(cache, "k", huge, "v", 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_set(cache, "k", 1, NULL, 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", half, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_delete(cache, NULL, 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_delete(cache, "k", half), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_or_load(cache, NULL, 1, load_text, &load, NULL, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_or_load(cache, "k", 1, NULL, &load, NULL, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_or_load(cache, "k", 1, load_text, &load, NULL, NULL), TIERCE_E_ARG);
    CHECK(load.calls == 0);
    CHECK_STATUS(tierce_get_stats(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_tier_stats(cache, TIERCE_FROM_L1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_stats_json(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_health_json(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_metrics_text(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_tiering(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_write(NULL, "x", 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_reserve(NULL, 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_truncate(NULL, 0), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_ttl(NULL, 0), TIERCE_E_ARG);
    CHECK(tierce_error_copy(NULL, 1) == 0);

    char *long_key = calloc(1, 70000);
    CHECK(long_key != NULL);
    CHECK_STATUS(tierce_set(cache, long_key, 70000, "v", 1, NULL), TIERCE_E_TOO_LARGE);
    CHECK(complains("70000"));
    CHECK_STATUS(tierce_get(cache, long_key, 70000, &view), TIERCE_MISS);
    free(long_key);
    /* The cache is as it was. */
    CHECK(has(cache, "k", NULL));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s TEMPORARY_FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    the_library_is_the_one_of_the_header();
    what_is_set_is_found_until_it_is_deleted();
    a_view_outlives_its_entry_and_its_cache();
    a_copy_tells_the_whole_length();
    many_keys_are_found_at_once();
    entries_end_with_their_time_to_live();
    structs_of_older_and_newer_programs_are_understood();
    l2_is_shared_by_caches_and_survives_them();
    tiers_change_under_way();
    settings_come_from_text_file_and_environment();
    a_miss_is_loaded_once();
    numbers_and_documents_tell_what_happened();
    errors_have_texts_that_stay_in_their_place();
    handles_that_are_none_are_refused();
    null_and_lengths_are_checked();
    return 0;
}
