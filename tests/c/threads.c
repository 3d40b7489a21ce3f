/*
 * Many threads: one load for each key, and a close while others use the cache. Many caches: as many
 * as there are handles.
 * threads.c TEMPORARY_FOLDER
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "check.h"

enum { THREADS = 8, KEYS = 40 };

static const char *folder;

/* A start that all threads make together. */
static pthread_barrier_t start;

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static int loads[KEYS];

struct worker {
    pthread_t thread;
    tierce_t *cache;
    long calls;
};

static int32_t load_slowly(void *user, const void *key, size_t key_len, tierce_sink_t *sink)
{
    const struct timespec millisecond = {0, 1000000};
    const int number = *(const int *)user;
    pthread_mutex_lock(&counting);
    loads[number]++;
    pthread_mutex_unlock(&counting);
    nanosleep(&millisecond, NULL);
    /* One key in four has no value: the code reaches all who wait. */
    if (number % 4 == 3)
        return -1000 - number;
    return tierce_sink_write(sink, key, key_len);
}

static void *load_all(void *argument)
{
    struct worker *worker = argument;
    for (int number = 0; number < KEYS; number++) {
        char key[32];
        const int len = snprintf(key, sizeof key, "key:%d", number);
        tierce_view_t view;
        pthread_barrier_wait(&start);
        const tierce_status_t status = tierce_get_or_load(worker->cache, key, (size_t)len,
                                                          load_slowly, &number, NULL, &view);
        if (number % 4 == 3) {
            CHECK(status == TIERCE_E_LOADER && tierce_last_loader_code() == -1000 - number);
        } else {
            CHECK_STATUS(status, TIERCE_OK);
            CHECK(view_is(&view, key));
        }
        tierce_view_release(&view);
    }
    return NULL;
}

static void one_load_for_each_key(const char *text)
{
    struct worker workers[THREADS];
    tierce_t *cache = open_text(text);
    memset(loads, 0, sizeof loads);
    CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i].cache = cache;
        CHECK(pthread_create(&workers[i].thread, NULL, load_all, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    CHECK(pthread_barrier_destroy(&start) == 0);
    for (int number = 0; number < KEYS; number++) {
        /* What failed is not kept: a thread that came late may have had to load again. */
        CHECK(number % 4 == 3 ? loads[number] >= 1 : loads[number] == 1);
    }
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void *use_until_closed(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(&start);
    for (;;) {
        char key[32];
        tierce_view_t view;
        const int len = snprintf(key, sizeof key, "key:%ld", worker->calls % 100);
        const tierce_status_t set_status =
            tierce_set(worker->cache, key, (size_t)len, key, (size_t)len, NULL);
        const tierce_status_t get_status = tierce_get(worker->cache, key, (size_t)len, &view);
        CHECK(get_status != TIERCE_OK || view_is(&view, key));
        tierce_view_release(&view);
        if (get_status == TIERCE_E_CLOSED)
            return NULL;
        CHECK(set_status == TIERCE_OK || set_status == TIERCE_E_CLOSED);
        CHECK(get_status == TIERCE_OK || get_status == TIERCE_MISS);
        worker->calls++;
    }
}

static void a_cache_may_be_closed_while_others_use_it(const char *text)
{
    const struct timespec while_in_use = {0, 3000000};
    for (int round = 0; round < 20; round++) {
        struct worker workers[THREADS];
        tierce_t *cache = open_text(text);
        CHECK(pthread_barrier_init(&start, NULL, THREADS + 1) == 0);
        for (int i = 0; i < THREADS; i++) {
            workers[i].cache = cache;
            workers[i].calls = 0;
            CHECK(pthread_create(&workers[i].thread, NULL, use_until_closed, &workers[i]) == 0);
        }
        pthread_barrier_wait(&start);
        nanosleep(&while_in_use, NULL);
        CHECK_STATUS(tierce_close(cache), TIERCE_OK);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(workers[i].thread, NULL) == 0);
        CHECK(pthread_barrier_destroy(&start) == 0);
    }
}

static void there_are_as_many_handles_as_the_header_says(void)
{
    enum { MOST = 4096 };
    static tierce_t *caches[MOST];
    static const char small[] = "tiering: L1\nmemory:\n  max_entries: 8\n  shards: 1\n";
    tierce_t *cache = NULL;
    for (int i = 0; i < MOST; i++)
        caches[i] = open_text(small);
    CHECK_STATUS(tierce_open(small, sizeof small - 1, &cache), TIERCE_E_FULL);
    CHECK(cache == NULL && complains("4096 caches are open"));
    CHECK_STATUS(tierce_close(caches[7]), TIERCE_OK);
    caches[7] = open_text(small);
    CHECK_STATUS(set(caches[7], "k", "v"), TIERCE_OK);
    CHECK(has(caches[8], "k", NULL) && has(caches[7], "k", "v"));
    for (int i = 0; i < MOST; i++)
        CHECK_STATUS(tierce_close(caches[i]), TIERCE_OK);
}

int main(int argc, char **argv)
{
    char shared[1024];
    if (argc != 2) {
        fprintf(stderr, "usage: %s TEMPORARY_FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    CHECK(snprintf(shared, sizeof shared,
                   "tiering: L1L2\nshared:\n  directory: %s/threads\n  max_bytes: 16MiB\n",
                   folder) < (int)sizeof shared);
    there_are_as_many_handles_as_the_header_says();
    one_load_for_each_key("tiering: L1");
    one_load_for_each_key(shared);
    a_cache_may_be_closed_while_others_use_it("tiering: L1");
    a_cache_may_be_closed_while_others_use_it(shared);
    return 0;
}
