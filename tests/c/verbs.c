/*
 * Tags, changes that depend on what is there, loaders that are told what there is, events and
 * alerts: verbs.c TEMPORARY_FOLDER
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MINUTE = 60000 };

static void sleep_ms(long ms)
{
    struct timespec time;
    time.tv_sec = ms / 1000;
    time.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static tierce_set_opts_t set_options(void)
{
    tierce_set_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static tierce_load_opts_t load_options(void)
{
    tierce_load_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static const void *const TAGS[] = {"user:7", "people"};
static const size_t TAG_LENS[] = {6, 6};

static tierce_status_t set_tagged(const tierce_t *cache, const char *key, size_t tag_count)
{
    tierce_set_opts_t options = set_options();
    options.ttl_ms = options.stale_if_error_ms = MINUTE;
    options.tags = TAGS;
    options.tag_lens = TAG_LENS;
    options.tag_count = tag_count;
    return tierce_set(cache, key, strlen(key), "value", 5, &options);
}

static tierce_status_t get_stale(const tierce_t *cache, const char *key, tierce_view_t *view)
{
    tierce_read_opts_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.allow_stale = 1;
    return tierce_get_with(cache, key, strlen(key), &options, view);
}

static void what_bears_a_tag_is_removed_or_stale(const char *text)
{
    tierce_t *cache = open_text(text);
    tierce_view_t view;
    CHECK_STATUS(set_tagged(cache, "one", 1), TIERCE_OK);
    CHECK_STATUS(set_tagged(cache, "both", 2), TIERCE_OK);
    CHECK_STATUS(set(cache, "none", "value"), TIERCE_OK);
    CHECK_STATUS(tierce_expire_tags(cache, TAGS, TAG_LENS, 1), TIERCE_OK);
    CHECK(has(cache, "one", NULL) && has(cache, "both", NULL) && has(cache, "none", "value"));
    CHECK_STATUS(get_stale(cache, "one", &view), TIERCE_OK);
    CHECK(view_is(&view, "value") && view.flags == TIERCE_VIEW_STALE);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_remove_tags(cache, TAGS + 1, TAG_LENS + 1, 1), TIERCE_OK);
    CHECK_STATUS(get_stale(cache, "one", &view), TIERCE_OK);
    tierce_view_release(&view);
    CHECK_STATUS(get_stale(cache, "both", &view), TIERCE_MISS);
    CHECK_STATUS(tierce_remove_tags(cache, NULL, NULL, 0), TIERCE_OK);
    CHECK(has(cache, "none", "value"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_remove_tags(cache, TAGS, TAG_LENS, 1), TIERCE_E_CLOSED);
}

static int32_t tagging(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    tierce_t *removes_from = user;
    (void)key;
    (void)key_len;
    CHECK_STATUS(tierce_sink_tag(sink, "user:7", 6), TIERCE_OK);
    CHECK_STATUS(tierce_sink_write(sink, "value", 5), TIERCE_OK);
    if (removes_from != NULL) {
        CHECK_STATUS(tierce_remove_tags(removes_from, TAGS, TAG_LENS, 1), TIERCE_OK);
    }
    return 0;
}

static void loads_bear_the_tags_of_their_loader_and_of_the_call(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_load_opts_t options = load_options();
    tierce_view_t view;
    options.tags = TAGS + 1;
    options.tag_lens = TAG_LENS + 1;
    options.tag_count = 1;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(tierce_get_or_load(cache, "key", 3, tagging, NULL, &options, &view), TIERCE_OK);
        tierce_view_release(&view);
        CHECK(has(cache, "key", "value"));
        CHECK_STATUS(tierce_remove_tags(cache, TAGS + i, TAG_LENS + i, 1), TIERCE_OK);
        CHECK(has(cache, "key", NULL));
    }
    /* Removed while its loader runs: for those who wait, and kept nowhere. */
    CHECK_STATUS(tierce_get_or_load(cache, "key", 3, tagging, cache, NULL, &view), TIERCE_OK);
    CHECK(view_is(&view, "value"));
    tierce_view_release(&view);
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void all_that_begins_with_a_prefix_is_removed_or_stale(void)
{
    static const void *const PREFIXES[] = {"user/7/", "user/"};
    static const size_t PREFIX_LENS[] = {7, 5};
    static const size_t short_lens[] = {6};
    tierce_t *cache = open_text("tiering: L1\ndefault_ttl: 1m\nfreshness:\n  stale_if_error: 1m\n"
                                "invalidation:\n  prefix_delimiter: '/'\n");
    tierce_view_t view;
    CHECK_STATUS(set(cache, "user/7/name", "value"), TIERCE_OK);
    CHECK_STATUS(set(cache, "user/8/name", "value"), TIERCE_OK);
    CHECK_STATUS(tierce_remove_prefixes(cache, PREFIXES, PREFIX_LENS, 1), TIERCE_OK);
    CHECK(has(cache, "user/7/name", NULL) && has(cache, "user/8/name", "value"));
    CHECK_STATUS(tierce_expire_prefixes(cache, PREFIXES, PREFIX_LENS, 2), TIERCE_OK);
    CHECK_STATUS(get_stale(cache, "user/8/name", &view), TIERCE_OK);
    CHECK(view_is(&view, "value") && view.flags == TIERCE_VIEW_STALE);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_remove_prefixes(cache, PREFIXES, short_lens, 1), TIERCE_E_CONFIG);
    CHECK(complains("must end in the prefix_delimiter '/'"));
    CHECK_STATUS(tierce_remove_prefixes(cache, NULL, PREFIX_LENS, 1), TIERCE_E_ARG);
    CHECK(complains("prefixes is NULL"));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_remove_prefixes(cache, PREFIXES, PREFIX_LENS, 1), TIERCE_E_CLOSED);
}

static void bad_tags_are_refused_by_name(void)
{
    tierce_t *cache = open_text("tiering: L1");
    static const void *const hole[] = {"user:7", NULL};
    const void *many[129];
    size_t lens[129];
    unsigned char names[129];
    tierce_set_opts_t options = set_options();
    CHECK_STATUS(tierce_remove_tags(cache, NULL, TAG_LENS, 1), TIERCE_E_ARG);
    CHECK(complains("tags is NULL"));
    CHECK_STATUS(tierce_expire_tags(cache, TAGS, NULL, 1), TIERCE_E_ARG);
    CHECK(complains("tag_lens is NULL"));
    CHECK_STATUS(tierce_remove_tags(cache, hole, TAG_LENS, 2), TIERCE_E_ARG);
    CHECK(complains("tag is NULL"));
    CHECK_STATUS(tierce_remove_tags(NULL, TAGS, TAG_LENS, 1), TIERCE_E_ARG);
    CHECK(complains("cache is NULL"));
    options.tag_count = 1;
    CHECK_STATUS(tierce_set(cache, "key", 3, "value", 5, &options), TIERCE_E_ARG);
    CHECK(complains("tags is NULL"));
    for (size_t i = 0; i < 129; i++) {
        names[i] = (unsigned char)i;
        many[i] = &names[i];
        lens[i] = 1;
    }
    options.tags = many;
    options.tag_lens = lens;
    options.tag_count = 129;
    CHECK_STATUS(tierce_set(cache, "key", 3, "value", 5, &options), TIERCE_E_CONFIG);
    CHECK(complains("129 tags"));
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(tierce_sink_tag(NULL, "tag", 3), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_validator(NULL, "1", 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_sink_not_modified(NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void options_of_an_older_header_are_taken(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_set_opts_t options = set_options();
    options.struct_size = offsetof(tierce_set_opts_t, tags);
    options.tag_count = 1; /* Beyond the size: not looked at. */
    CHECK_STATUS(tierce_set(cache, "key", 3, "value", 5, &options), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_call_is_kept_to_its_tiers(const char *text)
{
    tierce_t *cache = open_text(text), *other = open_text(text);
    tierce_set_opts_t here = set_options();
    tierce_load_opts_t load = load_options();
    tierce_read_opts_t near;
    tierce_view_t view;
    memset(&near, 0, sizeof near);
    near.struct_size = sizeof near;
    here.tiers = near.tiers = load.tiers = "L1";
    CHECK_STATUS(set(cache, "tiers", "of all"), TIERCE_OK);
    CHECK(has(other, "tiers", "of all"));
    CHECK_STATUS(tierce_set(cache, "tiers", 5, "mine", 4, &here), TIERCE_OK);
    CHECK(has(other, "tiers", NULL) && has(cache, "tiers", "mine"));
    CHECK_STATUS(tierce_get_with(other, "tiers", 5, &near, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_get_or_load(cache, "loaded", 6, tagging, NULL, &load, &view), TIERCE_OK);
    tierce_view_release(&view);
    CHECK(has(other, "loaded", NULL) && has(cache, "loaded", "value"));
    here.tiers = "L4";
    CHECK_STATUS(tierce_set(cache, "tiers", 5, "mine", 4, &here), TIERCE_E_CONFIG);
    CHECK(complains("L4"));
    CHECK_STATUS(tierce_close(other), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_revision_holds_until_the_key_is_changed(const char *text)
{
    tierce_t *cache = open_text(text);
    tierce_revision_t *none = NULL, *some = NULL;
    tierce_view_t view;
    CHECK_STATUS(tierce_get_versioned(cache, "key", 3, &view, &none), TIERCE_MISS);
    CHECK(none != NULL && view_is_zero(&view));
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, none, "1", 1, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, none, "2", 1, NULL), TIERCE_OTHERWISE);
    CHECK(strcmp(tierce_status_name(TIERCE_OTHERWISE), "TIERCE_OTHERWISE") == 0);
    CHECK_STATUS(tierce_get_versioned(cache, "key", 3, &view, &some), TIERCE_OK);
    CHECK(view_is(&view, "1") && some != none);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_compare_and_set(cache, "other", 5, some, "2", 1, NULL), TIERCE_OTHERWISE);
    CHECK_STATUS(set(cache, "key", "3"), TIERCE_OK);
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, some, "2", 1, NULL), TIERCE_OTHERWISE);
    CHECK(has(cache, "key", "3"));
    CHECK_STATUS(tierce_revision_release(some), TIERCE_OK);
    CHECK_STATUS(tierce_revision_release(some), TIERCE_E_ARG);
    CHECK(complains("revision is 0x"));
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, some, "2", 1, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, NULL, "2", 1, NULL), TIERCE_E_ARG);
    CHECK(complains("revision is NULL"));
    CHECK_STATUS(tierce_compare_and_set(cache, "key", 3, (tierce_revision_t *)cache, "2", 1, NULL),
                 TIERCE_E_ARG);
    CHECK_STATUS(tierce_revision_release(NULL), TIERCE_OK);
    CHECK_STATUS(tierce_get_versioned(cache, "key", 3, &view, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_get_versioned(cache, "key", 3, NULL, &some), TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_get_versioned(cache, "key", 3, &view, &some), TIERCE_E_CLOSED);
    CHECK(some == NULL);
    CHECK_STATUS(tierce_revision_release(none), TIERCE_OK);
}

static void a_key_is_set_once_if_absent_and_numbers_are_counted(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_set_opts_t options = set_options();
    int64_t sum = 0;
    CHECK_STATUS(tierce_set_if_absent(cache, "lock", 4, "mine", 4, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_set_if_absent(cache, "lock", 4, "theirs", 6, NULL), TIERCE_OTHERWISE);
    CHECK(has(cache, "lock", "mine"));
    options.ttl_ms = TIERCE_TTL_KEEP_NOTHING;
    CHECK_STATUS(tierce_set_if_absent(cache, "key", 3, "1", 1, &options), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_increment(cache, "n", 1, 41, &sum), TIERCE_OK);
    CHECK_STATUS(tierce_increment(cache, "n", 1, -83, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_increment(cache, "n", 1, 0, &sum), TIERCE_OK);
    CHECK(sum == -42 && has(cache, "n", "-42"));
    CHECK_STATUS(tierce_increment(cache, "lock", 4, 1, &sum), TIERCE_E_CODEC);
    CHECK(sum == -42 && has(cache, "lock", "mine"));
    CHECK_STATUS(set(cache, "n", "9223372036854775807"), TIERCE_OK);
    CHECK_STATUS(tierce_increment(cache, "n", 1, 1, &sum), TIERCE_E_CODEC);
    CHECK(complains("beyond 64 bits"));
    CHECK_STATUS(tierce_increment(cache, NULL, 1, 1, &sum), TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

enum { STEPS = 1000, THREADS = 3 };

static void *counts(void *shared)
{
    tierce_t *cache = shared;
    for (int i = 0; i < STEPS; i++) {
        tierce_status_t status;
        CHECK_STATUS(tierce_increment(cache, "n", 1, 1, NULL), TIERCE_OK);
        do {
            tierce_revision_t *revision = NULL;
            tierce_view_t view;
            char text[32];
            long number = 0;
            if (tierce_get_versioned(cache, "cas", 3, &view, &revision) == TIERCE_OK) {
                CHECK(view.len < sizeof text);
                memcpy(text, view.data, view.len);
                text[view.len] = '\0';
                number = strtol(text, NULL, 10);
            }
            tierce_view_release(&view);
            snprintf(text, sizeof text, "%ld", number + 1);
            status = tierce_compare_and_set(cache, "cas", 3, revision, text, strlen(text), NULL);
            CHECK_STATUS(tierce_revision_release(revision), TIERCE_OK);
        } while (status == TIERCE_OTHERWISE || status == TIERCE_E_BUSY);
        CHECK_STATUS(status, TIERCE_OK);
    }
    return NULL;
}

static void threads_and_processes_lose_no_step(const char *text)
{
    tierce_t *cache = open_text(text);
    pthread_t threads[THREADS];
    char sum[32];
    const pid_t other = fork();
    CHECK(other >= 0);
    if (other == 0) { /* As any process that opens the same store. */
        tierce_t *own = open_text(text);
        counts(own);
        tierce_close(own);
        _exit(0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, counts, cache) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    int status = 1;
    CHECK(waitpid(other, &status, 0) == other && status == 0);
    snprintf(sum, sizeof sum, "%d", (THREADS + 1) * STEPS);
    CHECK(has(cache, "n", sum) && has(cache, "cas", sum));
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_touched_value_has_another_time_to_live(const char *text)
{
    tierce_t *cache = open_text(text);
    tierce_set_opts_t options = set_options();
    options.ttl_ms = 200;
    CHECK_STATUS(tierce_set(cache, "touched", 7, "value", 5, &options), TIERCE_OK);
    const tierce_status_t status = tierce_touch(cache, "touched", 7, MINUTE);
    if (status == TIERCE_OK) { /* Else this machine slept for its whole time to live. */
        sleep_ms(250);
        CHECK(has(cache, "touched", "value"));
        CHECK_STATUS(tierce_touch(cache, "touched", 7, TIERCE_TTL_FOREVER), TIERCE_OK);
    }
    CHECK_STATUS(tierce_touch(cache, "nobody", 6, MINUTE), TIERCE_MISS);
    CHECK_STATUS(tierce_touch(cache, "touched", 7, 0), TIERCE_E_ARG);
    CHECK(complains("ttl_ms = 0"));
    CHECK_STATUS(tierce_touch(cache, "touched", 7, TIERCE_TTL_KEEP_NOTHING), TIERCE_E_ARG);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_touch(cache, "touched", 7, MINUTE), TIERCE_E_CLOSED);
}

/* What a loader with a context is to do, and what it was told. */
struct origin {
    pthread_mutex_t lock;
    int calls;
    int let_go;
    int fails;
    char told[128];
    int64_t left_ms;
};

static int32_t fetch(void *user, const tierce_load_context_t *context, tierce_sink_t *sink)
{
    struct origin *origin = user;
    int32_t code = 0;
    pthread_mutex_lock(&origin->lock);
    CHECK(context->struct_size >= sizeof *context);
    CHECK(tierce_load_is_cancelled(context) == 0);
    origin->calls++;
    origin->left_ms = context->left_ms;
    snprintf(origin->told, sizeof origin->told, "%.*s %s %.*s %.*s", (int)context->key_len,
             (const char *)context->key, context->reason, (int)context->stale_len,
             context->has_stale ? (const char *)context->stale : "", (int)context->validator_len,
             (const char *)context->validator);
    if (origin->fails) {
        code = -7;
    } else if (context->validator_len == 2 && memcmp(context->validator, "v1", 2) == 0) {
        CHECK_STATUS(tierce_sink_not_modified(sink), TIERCE_OK);
    } else {
        CHECK_STATUS(tierce_sink_validator(sink, "v1", 2), TIERCE_OK);
        CHECK_STATUS(tierce_sink_write(sink, "page", 4), TIERCE_OK);
    }
    pthread_mutex_unlock(&origin->lock);
    return code;
}

static void lets_go(void *user) { ((struct origin *)user)->let_go++; }

static void a_loader_is_told_what_there_is(void)
{
    tierce_t *cache = open_text("tiering: L1");
    struct origin origin = {.lock = PTHREAD_MUTEX_INITIALIZER};
    tierce_load_opts_t options = load_options();
    tierce_loading_t *loading = NULL;
    tierce_view_t view;
    options.ttl_ms = options.stale_if_error_ms = MINUTE;
    options.hard_timeout_ms = MINUTE;
    CHECK_STATUS(tierce_loading_open(cache, fetch, &origin, lets_go, &options, &loading), TIERCE_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(tierce_loading_get(loading, "key", 3, &view), TIERCE_OK);
        CHECK(view_is(&view, "page") && view.origin == (i ? TIERCE_FROM_L1 : TIERCE_FROM_LOADER));
        tierce_view_release(&view);
    }
    CHECK(origin.calls == 1 && strcmp(origin.told, "key miss  ") == 0);
    CHECK(origin.left_ms > 0 && origin.left_ms <= MINUTE);
    CHECK_STATUS(tierce_expire(cache, "key", 3), TIERCE_OK);
    CHECK_STATUS(tierce_loading_get(loading, "key", 3, &view), TIERCE_OK);
    CHECK(view_is(&view, "page") && view.flags == 0);
    tierce_view_release(&view);
    CHECK(origin.calls == 2 && strcmp(origin.told, "key stale page v1") == 0);
    CHECK_STATUS(tierce_loading_refresh(loading, "key", 3, &view), TIERCE_OK);
    tierce_view_release(&view);
    CHECK(origin.calls == 3 && strcmp(origin.told, "key asked page v1") == 0);
    origin.fails = 1;
    CHECK_STATUS(tierce_loading_refresh(loading, "key", 3, &view), TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == -7 && view_is_zero(&view));
    CHECK_STATUS(tierce_expire(cache, "key", 3), TIERCE_OK);
    CHECK_STATUS(tierce_loading_get(loading, "key", 3, &view), TIERCE_OK);
    CHECK(view_is(&view, "page") && view.flags == TIERCE_VIEW_STALE);
    tierce_view_release(&view);
    CHECK(origin.let_go == 0);
    CHECK_STATUS(tierce_loading_close(loading), TIERCE_OK);
    /* A thread of the cache may have been the last to hold it. */
    for (int i = 0; i < 30000 && *(volatile int *)&origin.let_go == 0; i++) sleep_ms(1);
    CHECK(*(volatile int *)&origin.let_go == 1);
    CHECK_STATUS(tierce_loading_close(loading), TIERCE_E_ARG);
    CHECK_STATUS(tierce_loading_get(loading, "key", 3, &view), TIERCE_E_ARG);
    CHECK(complains("loading is 0x"));
    CHECK_STATUS(tierce_loading_close(NULL), TIERCE_OK);
    /* What is refused is let go as well. */
    CHECK_STATUS(tierce_loading_open(cache, NULL, &origin, lets_go, NULL, &loading), TIERCE_E_ARG);
    CHECK(complains("load is NULL") && loading == NULL && origin.let_go == 2);
    CHECK_STATUS(tierce_loading_open(NULL, fetch, &origin, lets_go, NULL, &loading), TIERCE_E_ARG);
    CHECK(origin.let_go == 3 && tierce_load_is_cancelled(NULL) == 0);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

/* A load that takes until somebody overtook it. */
static int32_t waits(void *user, const tierce_load_context_t *context, tierce_sink_t *sink)
{
    int *cancelled = user;
    for (int i = 0; i < 30000 && !tierce_load_is_cancelled(context); i++) sleep_ms(1);
    *cancelled = tierce_load_is_cancelled(context);
    return tierce_sink_write(sink, "late", 4);
}

static void a_loader_learns_that_its_time_is_over(void)
{
    tierce_t *cache = open_text("tiering: L1");
    tierce_load_opts_t options = load_options();
    tierce_loading_t *loading = NULL;
    tierce_view_t view;
    int cancelled = 0;
    options.hard_timeout_ms = 30;
    CHECK_STATUS(tierce_loading_open(cache, waits, &cancelled, NULL, &options, &loading), TIERCE_OK);
    CHECK_STATUS(tierce_loading_get(loading, "key", 3, &view), TIERCE_E_TIMEOUT);
    CHECK_STATUS(tierce_loading_close(loading), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    for (int i = 0; i < 30000 && !*(volatile int *)&cancelled; i++) sleep_ms(1);
    CHECK(*(volatile int *)&cancelled == 1);
}

/* What a listener heard. */
struct heard {
    pthread_mutex_t lock;
    int count[32];
    int let_go;
    tierce_status_t failed;
    char evicted[16];
};

static void hears(void *user, const tierce_event_t *event)
{
    struct heard *heard = user;
    pthread_mutex_lock(&heard->lock);
    CHECK(event->kind < 32 && event->text != NULL && event->struct_size >= sizeof *event);
    heard->count[event->kind]++;
    switch (event->kind) {
    case TIERCE_EVENT_CLEAR:
    case TIERCE_EVENT_RETIER: CHECK(event->key == NULL && event->key_len == 0); break;
    case TIERCE_EVENT_HIT: CHECK(event->tier == TIERCE_FROM_L1); break;
    case TIERCE_EVENT_LOAD:
        CHECK(event->took_ns >= 0 && strcmp(event->reason, "miss") == 0);
        heard->failed = (tierce_status_t)event->status;
        break;
    case TIERCE_EVENT_SET: CHECK(event->key_len == 3 && memcmp(event->key, "key", 3) == 0); break;
    default: CHECK(event->took_ns < 0);
    }
    pthread_mutex_unlock(&heard->lock);
}

static void hears_no_more(void *user) { ((struct heard *)user)->let_go++; }

static int32_t fails(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    (void)user;
    (void)key;
    (void)key_len;
    (void)sink;
    return -1;
}

static void a_listener_is_told_of_each_thing(void)
{
    tierce_t *cache = open_text("tiering: L1");
    struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER};
    tierce_view_t view;
    uint64_t dropped = 1;
    CHECK_STATUS(tierce_on_event(cache, hears, &heard, hears_no_more), TIERCE_OK);
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(set(cache, "key", "value"), TIERCE_OK);
    CHECK(has(cache, "key", "value"));
    CHECK_STATUS(tierce_expire(cache, "key", 3), TIERCE_OK);
    CHECK_STATUS(tierce_delete(cache, "key", 3), TIERCE_OK);
    CHECK_STATUS(tierce_touch(cache, "key", 3, MINUTE), TIERCE_MISS);
    CHECK_STATUS(tierce_remove_tags(cache, TAGS, TAG_LENS, 2), TIERCE_OK);
    CHECK_STATUS(tierce_get_or_load(cache, "no", 2, fails, NULL, NULL, &view), TIERCE_E_LOADER);
    CHECK_STATUS(tierce_retier(cache, "L1"), TIERCE_OK);
    CHECK_STATUS(tierce_clear(cache), TIERCE_OK);
    for (int i = 0; i < 30000; i++) {
        pthread_mutex_lock(&heard.lock);
        const int is_told = heard.count[TIERCE_EVENT_CLEAR];
        pthread_mutex_unlock(&heard.lock);
        if (is_told) break;
        sleep_ms(1);
    }
    pthread_mutex_lock(&heard.lock);
    CHECK(heard.count[TIERCE_EVENT_MISS] >= 1 && heard.count[TIERCE_EVENT_SET] == 1);
    CHECK(heard.count[TIERCE_EVENT_HIT] == 1 && heard.count[TIERCE_EVENT_EXPIRE] == 1);
    CHECK(heard.count[TIERCE_EVENT_DELETE] == 1 && heard.count[TIERCE_EVENT_LOAD] == 1);
    CHECK(heard.count[TIERCE_EVENT_REMOVE_TAGS] == 1 && heard.count[TIERCE_EVENT_TOUCH] == 0);
    CHECK(heard.count[TIERCE_EVENT_CLEAR] == 1 && heard.failed == TIERCE_E_LOADER);
    pthread_mutex_unlock(&heard.lock);
    CHECK_STATUS(tierce_events_dropped(cache, &dropped), TIERCE_OK);
    CHECK(dropped == 0);
    CHECK_STATUS(tierce_events_dropped(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_on_event(cache, NULL, &heard, hears_no_more), TIERCE_E_ARG);
    CHECK(complains("listener is NULL") && heard.let_go == 1);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    for (int i = 0; i < 30000 && *(volatile int *)&heard.let_go < 2; i++) sleep_ms(1);
    CHECK(*(volatile int *)&heard.let_go == 2);
}

static void is_alarmed(void *user, const char *notice)
{
    struct heard *heard = user;
    pthread_mutex_lock(&heard->lock);
    CHECK(strstr(notice, "\"alert\":\"misses\"") != NULL);
    heard->count[strstr(notice, "\"status\":\"firing\"") != NULL]++;
    pthread_mutex_unlock(&heard->lock);
}

static void a_cache_judges_itself(void)
{
    static const char alerts[] = "alerts:\n"
                                 "  - name: misses\n"
                                 "    condition: miss_rate > 50%\n"
                                 "    duration: 0s\n"
                                 "    severity: warning\n";
    tierce_t *cache = open_text("tiering: L1");
    struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER};
    tierce_view_t view;
    CHECK_STATUS(tierce_slo_json(cache, "production", MINUTE, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"objectives\":\"production\"") != NULL);
    CHECK(strstr(view.data, "\"lines\":[{") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_slo_json(cache, "perfection", MINUTE, &view), TIERCE_E_CONFIG);
    CHECK(complains("perfection") && complains("production") && view_is_zero(&view));
    CHECK_STATUS(tierce_slo_json(cache, "production", 0, &view), TIERCE_E_ARG);
    CHECK(complains("window_ms = 0"));
    CHECK_STATUS(tierce_alerts_json(cache, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_alerts_start(cache, "alerts: 7", 9, NULL, NULL, NULL), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_alerts_start(cache, NULL, 9, NULL, &heard, hears_no_more), TIERCE_E_ARG);
    CHECK(complains("text is NULL") && heard.let_go == 1);
    CHECK_STATUS(tierce_alerts_start(cache, alerts, strlen(alerts), is_alarmed, &heard,
                                     hears_no_more),
                 TIERCE_OK);
    int fires = 0;
    for (int i = 0; i < 3000 && !fires; i++) {
        CHECK(has(cache, "nobody", NULL));
        sleep_ms(10);
        pthread_mutex_lock(&heard.lock);
        fires = heard.count[1];
        pthread_mutex_unlock(&heard.lock);
    }
    CHECK(fires == 1);
    CHECK_STATUS(tierce_alerts_json(cache, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"name\":\"misses\"") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_alerts_stop(cache), TIERCE_OK);
    CHECK_STATUS(tierce_alerts_stop(cache), TIERCE_OK);
    CHECK_STATUS(tierce_alerts_json(cache, &view), TIERCE_MISS);
    for (int i = 0; i < 30000 && *(volatile int *)&heard.let_go < 2; i++) sleep_ms(1);
    CHECK(*(volatile int *)&heard.let_go == 2);
    CHECK_STATUS(tierce_alerts_start(cache, alerts, strlen(alerts), NULL, NULL, NULL), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

int main(int argc, char **argv)
{
    char shared[512];
    CHECK(argc == 2);
    snprintf(shared, sizeof shared,
             "tiering: L1L2\nshared:\n  directory: %s/verbs\n  max_bytes: 16MiB\n", argv[1]);
    /* First: it forks. */
    threads_and_processes_lose_no_step(shared);
    what_bears_a_tag_is_removed_or_stale("tiering: L1");
    what_bears_a_tag_is_removed_or_stale(shared);
    loads_bear_the_tags_of_their_loader_and_of_the_call();
    all_that_begins_with_a_prefix_is_removed_or_stale();
    bad_tags_are_refused_by_name();
    options_of_an_older_header_are_taken();
    a_call_is_kept_to_its_tiers(shared);
    a_revision_holds_until_the_key_is_changed("tiering: L1");
    a_revision_holds_until_the_key_is_changed(shared);
    a_key_is_set_once_if_absent_and_numbers_are_counted();
    a_touched_value_has_another_time_to_live("tiering: L1");
    a_touched_value_has_another_time_to_live(shared);
    a_loader_is_told_what_there_is();
    a_loader_learns_that_its_time_is_over();
    a_listener_is_told_of_each_thing();
    a_cache_judges_itself();
    puts("verbs: all is well");
    return 0;
}
