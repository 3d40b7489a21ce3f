/*
 * How long values are fresh, stale after that, and what loaders say: freshness.c TEMPORARY_FOLDER
 *
 * Time is real, as no clock of the library can be set from C: tierce_expire() makes values stale at
 * once, and what has to pass is short. Late is right, early is not.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <time.h>

#include "check.h"

enum { MINUTE = 60000 };

static void sleep_ms(long ms)
{
    struct timespec time;
    time.tv_sec = ms / 1000;
    time.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static tierce_set_opts_t set_options(int64_t ttl_ms, int64_t stale_if_error_ms)
{
    tierce_set_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.ttl_ms = ttl_ms;
    options.stale_if_error_ms = stale_if_error_ms;
    return options;
}

static tierce_load_opts_t load_options(void)
{
    tierce_load_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static tierce_status_t read_as(const tierce_t *cache, const char *key, int64_t max_age_ms,
                               int64_t allow_stale, tierce_view_t *out)
{
    tierce_read_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.max_age_ms = max_age_ms;
    options.allow_stale = allow_stale;
    return tierce_get_with(cache, key, strlen(key), &options, out);
}

/* What a loader is to do, and how often it was called. */
struct work {
    int calls;
    int32_t code;
    const char *value;
    int64_t ttl_ms;
};

static int32_t load(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    struct work *work = user;
    (void)key;
    (void)key_len;
    work->calls++;
    if (work->ttl_ms != 0) CHECK_STATUS(tierce_sink_ttl(sink, work->ttl_ms), TIERCE_OK);
    CHECK_STATUS(tierce_sink_weight(sink, 100), TIERCE_OK);
    if (work->value == NULL) {
        CHECK_STATUS(tierce_sink_write(sink, "does not count", 14), TIERCE_OK);
        CHECK_STATUS(tierce_sink_absent(sink), TIERCE_OK);
    } else {
        CHECK_STATUS(tierce_sink_write(sink, work->value, strlen(work->value)), TIERCE_OK);
    }
    return work->code;
}

static tierce_status_t loaded(const tierce_t *cache, const char *key, struct work *work,
                              const tierce_load_opts_t *options, tierce_view_t *out)
{
    return tierce_get_or_load(cache, key, strlen(key), load, work, options, out);
}

static void a_value_is_fresh_then_stale_then_gone(void)
{
    tierce_t *cache = open_text("tiering: L1");
    const tierce_set_opts_t options = set_options(40, 100);
    tierce_view_t view;
    CHECK_STATUS(tierce_set(cache, "key", 3, "value", 5, &options), TIERCE_OK);
    CHECK_STATUS(get(cache, "key", &view), TIERCE_OK);
    CHECK(view.flags == 0 && view.age_ms >= 0 && view.age_ms <= 40);
    tierce_view_release(&view);
    sleep_ms(60);
    CHECK(has(cache, "key", NULL));
    const tierce_status_t stale = read_as(cache, "key", 0, 1, &view);
    if (stale == TIERCE_OK) { /* Else this machine slept for its whole stale window. */
        CHECK(view_is(&view, "value") && view.flags == TIERCE_VIEW_STALE && view.age_ms >= 50);
        CHECK(view.origin == TIERCE_FROM_L1);
    }
    tierce_view_release(&view);
    sleep_ms(150);
    CHECK_STATUS(read_as(cache, "key", 0, 1, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void expire_makes_stale_or_gone(const char *text)
{
    tierce_t *cache = open_text(text);
    const tierce_set_opts_t window = set_options(MINUTE, MINUTE);
    const tierce_set_opts_t none = set_options(MINUTE, TIERCE_SPAN_NONE);
    tierce_view_t view;
    CHECK_STATUS(tierce_set(cache, "window", 6, "a", 1, &window), TIERCE_OK);
    CHECK_STATUS(tierce_set(cache, "none", 4, "b", 1, &none), TIERCE_OK);
    CHECK_STATUS(tierce_expire(cache, "window", 6), TIERCE_OK);
    CHECK_STATUS(tierce_expire(cache, "none", 4), TIERCE_OK);
    CHECK_STATUS(tierce_expire(cache, "never", 5), TIERCE_OK);
    CHECK(has(cache, "window", NULL) && has(cache, "none", NULL));
    CHECK_STATUS(read_as(cache, "window", 0, 1, &view), TIERCE_OK);
    CHECK(view_is(&view, "a") && view.flags == TIERCE_VIEW_STALE);
    tierce_view_release(&view);
    CHECK_STATUS(read_as(cache, "none", 0, 1, &view), TIERCE_MISS);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_expire(cache, "window", 6), TIERCE_E_CLOSED);
}

static void what_fails_to_load_is_served_stale_where_that_is_allowed(void)
{
    tierce_t *cache = open_text("tiering: L1");
    const tierce_set_opts_t window = set_options(MINUTE, MINUTE);
    tierce_load_opts_t options = load_options();
    struct work fails = {0, -7, "", 0}, works = {0, 0, "new", 0};
    tierce_view_t view;
    CHECK_STATUS(tierce_set(cache, "key", 3, "old", 3, &window), TIERCE_OK);
    CHECK_STATUS(tierce_expire(cache, "key", 3), TIERCE_OK);
    options.stale_if_error_ms = MINUTE;
    CHECK_STATUS(loaded(cache, "key", &fails, &options, &view), TIERCE_OK);
    CHECK(view_is(&view, "old") && view.flags == TIERCE_VIEW_STALE && fails.calls == 1);
    tierce_view_release(&view);
    tierce_stats_t stats;
    memset(&stats, 0xff, sizeof stats);
    stats.struct_size = sizeof stats;
    CHECK_STATUS(tierce_get_stats(cache, &stats), TIERCE_OK);
    CHECK(stats.stale_served == 1 && stats.negative_hits == 0 && stats.load_failures == 1);
    options.stale_if_error_ms = TIERCE_SPAN_NONE;
    CHECK_STATUS(loaded(cache, "key", &fails, &options, &view), TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == -7 && view_is_zero(&view));
    CHECK_STATUS(loaded(cache, "key", &works, &options, &view), TIERCE_OK);
    CHECK(view_is(&view, "new") && view.flags == 0 && view.origin == TIERCE_FROM_LOADER);
    CHECK(view.age_ms >= 0);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void failures_are_remembered_for_a_while(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_load_opts_t options = load_options();
    struct work fails = {0, -7, "", 0};
    tierce_view_t view;
    options.failure_backoff_ms = MINUTE;
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(loaded(cache, "key", &fails, &options, &view), TIERCE_E_LOADER);
        CHECK(tierce_last_loader_code() == -7);
    }
    CHECK(fails.calls == 1);
    options.failure_backoff_most_ms = 1000;
    CHECK_STATUS(loaded(cache, "other", &fails, &options, &view), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void that_there_is_no_value_is_remembered(const char *text)
{
    tierce_t *cache = open_text(text);
    tierce_load_opts_t options = load_options();
    struct work absent = {0, 0, NULL, 0}, works = {0, 0, "now", 0};
    tierce_view_t view;
    CHECK_STATUS(loaded(cache, "key", &absent, NULL, &view), TIERCE_ABSENT);
    CHECK_STATUS(loaded(cache, "key", &absent, NULL, &view), TIERCE_ABSENT);
    CHECK(absent.calls == 2 && view_is_zero(&view));
    options.negative_ttl_ms = MINUTE;
    CHECK_STATUS(loaded(cache, "key", &absent, &options, &view), TIERCE_ABSENT);
    CHECK_STATUS(loaded(cache, "key", &works, NULL, &view), TIERCE_ABSENT);
    CHECK(has(cache, "key", NULL));
    CHECK(absent.calls == 3 && works.calls == 0);
    absent.ttl_ms = MINUTE;
    CHECK_STATUS(loaded(cache, "own", &absent, NULL, &view), TIERCE_ABSENT);
    CHECK_STATUS(loaded(cache, "own", &works, NULL, &view), TIERCE_ABSENT);
    CHECK_STATUS(set(cache, "key", "set"), TIERCE_OK);
    CHECK(has(cache, "key", "set"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_read_may_ask_for_young_values(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_load_opts_t options = load_options();
    struct work works = {0, 0, "new", 0};
    tierce_view_t view;
    CHECK_STATUS(set(cache, "key", "old"), TIERCE_OK);
    sleep_ms(40);
    CHECK_STATUS(read_as(cache, "key", MINUTE, 0, &view), TIERCE_OK);
    tierce_view_release(&view);
    CHECK_STATUS(read_as(cache, "key", 5, 0, &view), TIERCE_MISS);
    CHECK_STATUS(read_as(cache, "key", TIERCE_SPAN_NONE, 0, &view), TIERCE_MISS);
    CHECK_STATUS(read_as(cache, "key", -2, 0, &view), TIERCE_E_ARG);
    CHECK(complains("max_age_ms = -2"));
    options.max_age_ms = MINUTE;
    CHECK_STATUS(loaded(cache, "key", &works, &options, &view), TIERCE_OK);
    CHECK(view_is(&view, "old") && works.calls == 0);
    tierce_view_release(&view);
    options.max_age_ms = TIERCE_SPAN_NONE;
    for (int calls = 1; calls < 3; calls++) {
        CHECK_STATUS(loaded(cache, "key", &works, &options, &view), TIERCE_OK);
        CHECK(view_is(&view, "new") && works.calls == calls);
        tierce_view_release(&view);
    }
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void many_keys_are_deleted_at_once(void)
{
    tierce_t *cache = open_text("tiering: L1");
    const void *keys[3] = {"a", "none", NULL};
    const size_t lens[3] = {1, 4, 0};
    CHECK_STATUS(set(cache, "a", "1"), TIERCE_OK);
    CHECK_STATUS(set(cache, "", "2"), TIERCE_OK);
    CHECK_STATUS(set(cache, "b", "3"), TIERCE_OK);
    CHECK_STATUS(tierce_delete_many(cache, keys, lens, 3), TIERCE_OK);
    CHECK_STATUS(tierce_delete_many(cache, NULL, NULL, 0), TIERCE_OK);
    CHECK(has(cache, "a", NULL) && has(cache, "", NULL) && has(cache, "b", "3"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_delete_many(cache, keys, lens, 3), TIERCE_E_CLOSED);
}

static void programs_made_for_the_first_header_are_understood(void)
{
    tierce_t *cache = open_text("tiering: L1");
    /* The structs as they were: what lies behind them is not the library's. */
    union {
        tierce_set_opts_t set;
        tierce_load_opts_t load;
        unsigned char bytes[128];
    } options;
    struct work works = {0, 0, "loaded", 0};
    tierce_view_t view;
    memset(&options, 0xff, sizeof options);
    options.set.struct_size = 16;
    options.set.ttl_ms = MINUTE;
    CHECK_STATUS(tierce_set(cache, "key", 3, "set", 3, &options.set), TIERCE_OK);
    memset(&options, 0xff, sizeof options);
    options.load.struct_size = 24;
    options.load.ttl_ms = MINUTE;
    options.load.wait_ms = MINUTE;
    CHECK_STATUS(loaded(cache, "other", &works, &options.load, &view), TIERCE_OK);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void options_out_of_their_range_are_refused_by_name(void)
{
    tierce_t *cache = open_text("tiering: L1");
    struct work works = {0, 0, "loaded", 0};
    tierce_view_t view;
    tierce_set_opts_t set = set_options(MINUTE, -2);
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &set), TIERCE_E_ARG);
    CHECK(complains("stale_if_error_ms = -2"));
    set = set_options(MINUTE, 0);
    set.ttl_jitter_percent = 101;
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &set), TIERCE_E_ARG);
    CHECK(complains("ttl_jitter_percent = 101"));
    set = set_options(TIERCE_TTL_FOREVER, MINUTE);
    CHECK_STATUS(tierce_set(cache, "k", 1, "v", 1, &set), TIERCE_E_CONFIG);
    CHECK(complains("stale_if_error"));
    tierce_load_opts_t options = load_options();
    options.soft_timeout_ms = -1;
    CHECK_STATUS(loaded(cache, "k", &works, &options, &view), TIERCE_E_ARG);
    CHECK(complains("soft_timeout_ms = -1"));
    options.soft_timeout_ms = 20;
    options.hard_timeout_ms = 10;
    CHECK_STATUS(loaded(cache, "k", &works, &options, &view), TIERCE_E_CONFIG);
    CHECK(works.calls == 0 && has(cache, "k", NULL));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

int main(int argc, char **argv)
{
    char text[1024];
    if (argc != 2) {
        fprintf(stderr, "usage: %s TEMPORARY_FOLDER\n", argv[0]);
        return 2;
    }
    CHECK(snprintf(text, sizeof text,
                   "tiering: L1L2\nshared:\n  directory: %s/l2\n  max_bytes: 16MiB\n",
                   argv[1]) < (int)sizeof text);
    a_value_is_fresh_then_stale_then_gone();
    expire_makes_stale_or_gone("tiering: L1");
    expire_makes_stale_or_gone(text);
    what_fails_to_load_is_served_stale_where_that_is_allowed();
    failures_are_remembered_for_a_while();
    that_there_is_no_value_is_remembered("tiering: L1");
    that_there_is_no_value_is_remembered(text);
    a_read_may_ask_for_young_values();
    many_keys_are_deleted_at_once();
    programs_made_for_the_first_header_are_understood();
    options_out_of_their_range_are_refused_by_name();
    return 0;
}
