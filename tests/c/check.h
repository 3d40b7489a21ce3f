/* What the C tests share: checks that name themselves, and a folder that goes away. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tierce.h"

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__,  \
                    #condition, tierce_last_error());                                    \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

#define CHECK_STATUS(call, wanted)                                                       \
    do {                                                                                 \
        const tierce_status_t status_ = (call);                                          \
        if (status_ != (wanted)) {                                                       \
            fprintf(stderr, "%s:%d: %s is %s, not %s (last error: %s)\n", __FILE__,      \
                    __LINE__, #call, tierce_status_name(status_),                        \
                    tierce_status_name(wanted), tierce_last_error());                    \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

/* Opens a cache by a text; the test ends if that fails. */
static inline tierce_t *open_text(const char *text)
{
    tierce_t *cache = NULL;
    CHECK_STATUS(tierce_open(text, strlen(text), &cache), TIERCE_OK);
    CHECK(cache != NULL);
    return cache;
}

static inline tierce_status_t set(const tierce_t *cache, const char *key, const char *value)
{
    return tierce_set(cache, key, strlen(key), value, strlen(value), NULL);
}

static inline tierce_status_t get(const tierce_t *cache, const char *key, tierce_view_t *out)
{
    return tierce_get(cache, key, strlen(key), out);
}

static inline int view_is(const tierce_view_t *view, const char *text)
{
    return view->len == strlen(text) && (view->len == 0 || memcmp(view->data, text, view->len) == 0);
}

static inline int view_is_zero(const tierce_view_t *view)
{
    static const tierce_view_t none;
    return memcmp(view, &none, sizeof none) == 0;
}

/* True if the key has exactly this value; NULL: is missed. */
static inline int has(const tierce_t *cache, const char *key, const char *value)
{
    tierce_view_t view;
    const tierce_status_t status = get(cache, key, &view);
    const int so = value == NULL ? status == TIERCE_MISS && view_is_zero(&view)
                                 : status == TIERCE_OK && view_is(&view, value);
    tierce_view_release(&view);
    return so;
}

/* True if the text of the last error has this part. */
static inline int complains(const char *part)
{
    return strstr(tierce_last_error(), part) != NULL;
}

#endif
