/*
 * Reads or writes one key of a store, for tests that cross languages:
 *
 *     interop get DIRECTORY KEY         writes the value to the output; ends with 3 on a miss
 *     interop set DIRECTORY KEY VALUE
 *     interop delete DIRECTORY KEY
 *
 * The tiering is L1L2, the other settings are the defaults. TIERCE_INTEROP_CONFIG may name more of
 * them, in YAML: the bounds of the store must be those of all who share it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tierce.h"

static int fail(const char *what, tierce_status_t status)
{
    fprintf(stderr, "interop: %s: %s: %s\n", what, tierce_status_name(status),
            tierce_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    const int is_set = argc == 5 && strcmp(argv[1], "set") == 0;
    const int is_get = argc == 4 && strcmp(argv[1], "get") == 0;
    const int is_delete = argc == 4 && strcmp(argv[1], "delete") == 0;
    if (!is_set && !is_get && !is_delete) {
        fprintf(stderr, "usage: interop get|delete DIRECTORY KEY, interop set DIRECTORY KEY VALUE\n");
        return 2;
    }
    const char *directory = argv[2], *key = argv[3];
    const char *more = getenv("TIERCE_INTEROP_CONFIG");
    char text[4096];
    const int len = snprintf(text, sizeof text, "tiering: L1L2\nshared.directory: \"%s\"\n%s\n",
                             directory, more == NULL ? "" : more);
    if (len < 0 || (size_t)len >= sizeof text)
        return 2;
    tierce_t *cache;
    tierce_status_t status = tierce_open(text, (size_t)len, &cache);
    if (status != TIERCE_OK)
        return fail("open", status);
    int code = 0;
    if (is_set) {
        status = tierce_set(cache, key, strlen(key), argv[4], strlen(argv[4]), NULL);
        if (status != TIERCE_OK)
            code = fail("set", status);
    } else if (is_delete) {
        status = tierce_delete(cache, key, strlen(key));
        if (status != TIERCE_OK)
            code = fail("delete", status);
    } else {
        tierce_view_t value;
        status = tierce_get(cache, key, strlen(key), &value);
        if (status == TIERCE_MISS)
            code = 3;
        else if (status != TIERCE_OK)
            code = fail("get", status);
        else if (fwrite(value.data, 1, value.len, stdout) != value.len)
            code = 1;
        tierce_view_release(&value);
    }
    /* A store that could not be opened is no error of the calls above, but one here. */
    tierce_view_t health;
    status = tierce_health_json(cache, &health);
    if (status != TIERCE_OK) {
        code = fail("health", status);
    } else if (code != 1 && strstr(health.data, "\"status\":\"healthy\"") == NULL) {
        fprintf(stderr, "interop: %s\n", (const char *)health.data);
        code = 1;
    }
    tierce_view_release(&health);
    status = tierce_close(cache);
    return status == TIERCE_OK ? code : fail("close", status);
}
