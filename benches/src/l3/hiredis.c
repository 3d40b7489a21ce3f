/* hiredis: `hiredis PLACE get|get-many|put CALLERS MILLISECONDS`, each caller with a connection of its own.
 * Prints operations and seconds, or for one caller the middle call in microseconds. PLACE is a port
 * or the path of a socket. Keys and value sizes are those of data.rs. */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 1000, VALUE_BYTES = 1024, MANY = 100, CALLS_PER_LOOK = 8 };

static atomic_bool ends;
static atomic_ulong operations;
static const char *place;
static int puts_values, gets_many;
static char value[VALUE_BYTES];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static redisContext *reach(void) {
    redisContext *c = place[0] == '/' ? redisConnectUnix(place) : redisConnect("127.0.0.1", atoi(place));
    if (c == NULL || c->err) exit(3);
    return c;
}

static void call_many(redisContext *c, int number) {
    static char keys[MANY][32];
    const char *words[1 + MANY] = {"MGET"};
    size_t lengths[1 + MANY] = {4};
    for (int i = 0; i < MANY; i++) {
        lengths[1 + i] = (size_t)snprintf(keys[i], sizeof keys[i], "user:%08d:profile", (number + i) % KEYS);
        words[1 + i] = keys[i];
    }
    redisReply *reply = redisCommandArgv(c, 1 + MANY, words, lengths);
    if (reply == NULL) exit(4);
    if (reply->elements != MANY) exit(5);
    for (int i = 0; i < MANY; i++)
        if (reply->element[i]->len != VALUE_BYTES) exit(5);
    freeReplyObject(reply);
}

static void call(redisContext *c, int number) {
    if (gets_many) {
        call_many(c, number);
        return;
    }
    char key[32];
    int key_length = snprintf(key, sizeof key, "user:%08d:profile", number);
    const char *words[3] = {puts_values ? "SET" : "GET", key, value};
    size_t lengths[3] = {3, (size_t)key_length, VALUE_BYTES};
    redisReply *reply = redisCommandArgv(c, puts_values ? 3 : 2, words, lengths);
    if (reply == NULL) exit(4);
    if (!puts_values && reply->len != VALUE_BYTES) exit(5);
    freeReplyObject(reply);
}

static void *caller(void *number) {
    redisContext *c = reach();
    int next = (int)(size_t)number * 37 % KEYS;
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
        for (int i = 0; i < CALLS_PER_LOOK; i++) {
            call(c, next);
            next = (next + 1) % KEYS;
        }
        atomic_fetch_add_explicit(&operations, CALLS_PER_LOOK, memory_order_relaxed);
    }
    redisFree(c);
    return NULL;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void one(double seconds) {
    size_t count = 0, room = 1 << 22;
    double *times = malloc(room * sizeof *times);
    redisContext *c = reach();
    double begin = now(), last = begin;
    while (last - begin < seconds && count < room) {
        call(c, (int)(count % KEYS));
        double time = now();
        times[count++] = (time - last) * 1e6;
        last = time;
    }
    qsort(times, count, sizeof *times, by_size);
    printf("%f\n", times[count / 2]);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    place = argv[1];
    puts_values = strcmp(argv[2], "put") == 0;
    gets_many = strcmp(argv[2], "get-many") == 0;
    int callers = atoi(argv[3]);
    double seconds = atof(argv[4]) / 1e3;
    if (callers == 1) {
        one(seconds);
        return 0;
    }
    pthread_t threads[256];
    for (int i = 0; i < callers; i++) pthread_create(&threads[i], NULL, caller, (void *)(size_t)i);
    usleep(50000);
    unsigned long before = atomic_load(&operations);
    double begin = now();
    usleep((unsigned)(seconds * 1e6));
    unsigned long counted = atomic_load(&operations) - before;
    double took = now() - begin;
    atomic_store(&ends, 1);
    for (int i = 0; i < callers; i++) pthread_join(threads[i], NULL);
    printf("%lu %f\n", counted, took);
    return 0;
}
