/*
 * Guards: what a configuration says beside the tiers, rollouts, actions, the listener:
 * guard.c TEMPORARY_FOLDER
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MINUTE = 60000 };

static const char *folder;

static const char ALERTS[] =
    "alerts: [{name: misses, condition: miss_rate > 50%, severity: warning}]\n";
static const char PLAN[] = "plan: steered\n"
                           "baseline: L1\n"
                           "phases:\n"
                           "  - name: all\n"
                           "    target: L1\n"
                           "    steps: [{share: 25%, wait: 1h}, {share: 75%, wait: 1h}]\n";

static void sleep_ms(long ms)
{
    struct timespec time;
    time.tv_sec = ms / 1000;
    time.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static void write_file(const char *name, const char *text, char *path, size_t room)
{
    snprintf(path, room, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* The settings of a rollout by a file of its own. */
static void rollout_text(const char *name, char *text, size_t room)
{
    char plan[512];
    write_file(name, PLAN, plan, sizeof plan);
    snprintf(text, room, "rollout: {plan: %s, journal: %s.journal, instance: c}\n", plan, plan);
}

static tierce_guard_t *open_guard(tierce_t *cache, const char *text)
{
    tierce_guard_t *guard = NULL;
    CHECK_STATUS(tierce_guard_open(cache, text, strlen(text), NULL, NULL, NULL, &guard), TIERCE_OK);
    CHECK(guard != NULL);
    return guard;
}

/* True if the rollout's document has this part. */
static int rollout_has(const tierce_guard_t *guard, const char *part)
{
    tierce_view_t view;
    CHECK_STATUS(tierce_rollout_json(guard, &view), TIERCE_OK);
    const int so = strstr(view.data, part) != NULL;
    tierce_view_release(&view);
    return so;
}

static void wait_for_rollout(const tierce_guard_t *guard, const char *part)
{
    for (int i = 0; i < 6000 && !rollout_has(guard, part); i++) sleep_ms(10);
    CHECK(rollout_has(guard, part));
}

/* Asks the listener for a page; the status of its answer, which is left in `answer`. */
static int page(uint16_t port, const char *request, char *answer, size_t room)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return 0;
    }
    CHECK(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
    size_t len = 0;
    ssize_t got = 0;
    while (len + 1 < room && (got = read(fd, answer + len, room - 1 - len)) > 0) len += (size_t)got;
    answer[len] = '\0';
    close(fd);
    int status = 0;
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

static void processes_of_a_host_follow_a_rollout(void)
{
    char text[1024], plan[1024];
    int ready[2], steps[2];
    snprintf(text, sizeof text,
             "tiering: L1\nshared:\n  directory: %s/store\n  max_bytes: 16MiB\n"
             "rollout: {of_store: true, instance: parent}\n",
             folder);
    snprintf(plan, sizeof plan, "%s", PLAN);
    CHECK(pipe(ready) == 0 && pipe(steps) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char answer = 0;
        tierce_t *cache = open_text(text);
        tierce_guard_t *guard = open_guard(cache, "rollout.instance: child");
        CHECK(write(ready[1], "r", 1) == 1);
        wait_for_rollout(guard, "\"percent\":25.0");
        CHECK(write(ready[1], "s", 1) == 1 && read(steps[0], &answer, 1) == 1);
        CHECK_STATUS(tierce_rollout_ask(guard, "child", "rollback"), TIERCE_OK);
        CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
        CHECK_STATUS(tierce_close(cache), TIERCE_OK);
        _exit(0);
    }
    char answer = 0;
    tierce_view_t view;
    tierce_t *cache = open_text(text);
    tierce_guard_t *guard = open_guard(cache, "");
    CHECK(read(ready[0], &answer, 1) == 1);
    CHECK_STATUS(tierce_rollout_start(guard, "ada", NULL, 0), TIERCE_E_CONFIG);
    CHECK(complains("there was none whose plan"));
    CHECK_STATUS(tierce_rollout_start(guard, "ada", "plan: 7", 7), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_rollout_start(guard, "ada", plan, strlen(plan)), TIERCE_OK);
    CHECK_STATUS(tierce_rollout_start(guard, "ada", plan, strlen(plan)), TIERCE_E_CONFIG);
    CHECK(read(ready[0], &answer, 1) == 1 && answer == 's');
    wait_for_rollout(guard, "\"stage\":\"running\"");
    CHECK(write(steps[1], "x", 1) == 1);
    wait_for_rollout(guard, "\"stage\":\"rolled_back\"");
    CHECK_STATUS(tierce_rollout_history_json(guard, &view), TIERCE_OK);
    CHECK(strstr(view.data, "ada") != NULL && strstr(view.data, "child") != NULL);
    tierce_view_release(&view);
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void a_forked_child_has_no_guard(void)
{
    char text[1024];
    rollout_text("forked.yaml", text, sizeof text);
    tierce_t *cache = open_text("tiering: L1");
    tierce_guard_t *guard = open_guard(cache, text);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        CHECK_STATUS(tierce_rollout_start(guard, "ada", NULL, 0), TIERCE_E_UNSUPPORTED);
        CHECK(complains("a forked child"));
        CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
        guard = open_guard(cache, ALERTS);
        CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_STATUS(tierce_rollout_start(guard, "ada", NULL, 0), TIERCE_OK);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

/* What a listener of alerts knows and was told. */
struct alarm {
    pthread_mutex_t lock;
    tierce_guard_t *guard;
    pthread_t main;
    int told, let_go;
};

static void is_alarmed(void *user, const char *notice)
{
    struct alarm *alarm = user;
    tierce_view_t view;
    pthread_mutex_lock(&alarm->lock);
    CHECK(!pthread_equal(pthread_self(), alarm->main));
    CHECK(strstr(notice, "\"alert\":\"misses\"") != NULL);
    if (strstr(notice, "firing") != NULL && alarm->told == 0) {
        /* All of it waits for looks of the guard that told us. */
        CHECK_STATUS(tierce_rollout_ask(alarm->guard, "the alarm", "rollback"), TIERCE_OK);
        CHECK_STATUS(tierce_guard_shed(alarm->guard, "the alarm", 50, NULL), TIERCE_OK);
        CHECK_STATUS(tierce_guard_alerts_json(alarm->guard, &view), TIERCE_OK);
        tierce_view_release(&view);
        CHECK_STATUS(tierce_guard_close(alarm->guard), TIERCE_OK);
        alarm->told = 1;
    }
    pthread_mutex_unlock(&alarm->lock);
}

static void hears_no_more(void *user)
{
    struct alarm *alarm = user;
    pthread_mutex_lock(&alarm->lock);
    alarm->let_go++;
    pthread_mutex_unlock(&alarm->lock);
}

static int field(struct alarm *alarm, const int *value)
{
    pthread_mutex_lock(&alarm->lock);
    const int found = *value;
    pthread_mutex_unlock(&alarm->lock);
    return found;
}

static void a_callback_may_take_the_rollout_back_and_close_its_guard(void)
{
    char text[1024];
    struct alarm alarm = {.lock = PTHREAD_MUTEX_INITIALIZER, .main = pthread_self()};
    tierce_t *cache = open_text("tiering: L1");
    tierce_view_t view;
    rollout_text("called.yaml", text, sizeof text - sizeof ALERTS);
    strcat(text, ALERTS);
    pthread_mutex_lock(&alarm.lock);
    CHECK_STATUS(tierce_guard_open(cache, text, strlen(text), is_alarmed, &alarm, hears_no_more,
                                   &alarm.guard),
                 TIERCE_OK);
    CHECK_STATUS(tierce_rollout_start(alarm.guard, "ada", NULL, 0), TIERCE_OK);
    wait_for_rollout(alarm.guard, "\"stage\":\"running\"");
    CHECK_STATUS(tierce_guard_alerts_json(alarm.guard, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"sink\":\"callback\"") != NULL);
    tierce_view_release(&view);
    pthread_mutex_unlock(&alarm.lock);
    for (int i = 0; i < 6000 && !field(&alarm, &alarm.let_go); i++) {
        CHECK(has(cache, "nobody", NULL));
        sleep_ms(10);
    }
    CHECK(field(&alarm, &alarm.told) == 1 && field(&alarm, &alarm.let_go) == 1);
    CHECK_STATUS(tierce_rollout_json(alarm.guard, &view), TIERCE_E_ARG);
    /* What the guard did outlives it. */
    tierce_guard_t *other = open_guard(cache, text);
    wait_for_rollout(other, "\"stage\":\"rolled_back\"");
    CHECK_STATUS(tierce_guard_actions_json(other, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"passes\":0.5") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_guard_close(other), TIERCE_OK);
}

static void actions_and_steps_are_in_force_when_the_call_returns(void)
{
    char text[1024];
    tierce_t *cache = open_text("tiering: L1");
    tierce_view_t view;
    rollout_text("actions.yaml", text, sizeof text);
    tierce_guard_t *guard = open_guard(cache, text);
    CHECK_STATUS(set(cache, "key", "value"), TIERCE_OK);
    CHECK_STATUS(tierce_guard_block(guard, "ada"), TIERCE_OK);
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(set(cache, "other", "value"), TIERCE_E_DENIED);
    CHECK_STATUS(tierce_guard_lift(guard, "ada"), TIERCE_OK);
    CHECK(has(cache, "key", "value"));
    CHECK_STATUS(tierce_guard_refresh(guard, "ada", 1000000), TIERCE_OK);
    for (int i = 0; i < 6000 && !has(cache, "key", NULL); i++) sleep_ms(10);
    CHECK(has(cache, "key", NULL));
    CHECK_STATUS(tierce_guard_reset(guard, "ada"), TIERCE_E_UNSUPPORTED);
    CHECK(complains("no connection"));

    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "start"), TIERCE_OK);
    /* The first step is taken by the next look. */
    wait_for_rollout(guard, "\"percent\":25.0");
    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "advance"), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "pause"), TIERCE_OK);
    CHECK(rollout_has(guard, "\"stage\":\"paused\""));
    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "resume"), TIERCE_OK);
    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "force"), TIERCE_OK);
    CHECK(rollout_has(guard, "\"percent\":75.0"));
    CHECK_STATUS(tierce_rollout_ask(guard, "ada", "gradual_rollback"), TIERCE_OK);
    CHECK_STATUS(tierce_rollout_push(guard, "approval", 1), TIERCE_OK);

    CHECK_STATUS(tierce_survey_begin(cache), TIERCE_OK);
    for (int i = 0; i < 4000; i++) CHECK(has(cache, i % 2 ? "org:7:x" : "all:7:x", NULL));
    CHECK_STATUS(tierce_advise_json(cache, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"reads_sampled\":500") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_survey_end(cache), TIERCE_OK);
    CHECK_STATUS(tierce_advise_json(cache, &view), TIERCE_OK);
    CHECK(view_is(&view, "{\"advice\":[],\"survey\":null}"));
    tierce_view_release(&view);
    CHECK_STATUS(tierce_window_json(cache, MINUTE, &view), TIERCE_OK);
    CHECK(((const char *)view.data)[0] == '{');
    tierce_view_release(&view);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

static void the_listener_is_begun_and_ended(void)
{
    char answer[8192];
    uint16_t port = 0, other = 0;
    uint32_t health = 9;
    tierce_view_t view;
    tierce_t *cache = open_text("tiering: L1\nservice: Plain\nmetrics_enabled: true\n"
                                "serve: {address: '127.0.0.1:0'}\nslo: {objectives: production}\n");
    tierce_guard_t *guard = open_guard(cache, ALERTS);
    CHECK_STATUS(tierce_guard_port(guard, &port), TIERCE_OK);
    CHECK(page(port, "GET /cache/health HTTP/1.1\r\n\r\n", answer, sizeof answer) == 200);
    CHECK(strstr(answer, "\"service\":\"Plain\"") != NULL);
    CHECK_STATUS(tierce_guard_serve(guard, "127.0.0.1:0", "secret", &other), TIERCE_OK);
    CHECK(other != 0 && other != port);
    CHECK(page(other, "POST /cache/actions/block HTTP/1.1\r\n\r\n", answer, sizeof answer) == 401);
    CHECK(page(other,
               "POST /cache/actions/block HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\n", answer,
               sizeof answer) == 200);
    CHECK_STATUS(tierce_guard_lift(guard, "c"), TIERCE_OK);
    /* What cannot be had leaves what there is. */
    CHECK_STATUS(tierce_guard_serve(guard, "127.0.0.1:0", "", NULL), TIERCE_E_CONFIG);
    CHECK(tierce_guard_serve(guard, "192.0.2.1:1", NULL, NULL) < 0);
    CHECK(tierce_guard_serve(guard, "\xff", NULL, NULL) == TIERCE_E_ARG && complains("UTF-8"));
    CHECK_STATUS(tierce_guard_port(guard, &port), TIERCE_OK);
    CHECK(port == other);
    CHECK_STATUS(tierce_guard_serve_stop(guard), TIERCE_OK);
    CHECK_STATUS(tierce_guard_serve_stop(guard), TIERCE_OK);
    CHECK_STATUS(tierce_guard_port(guard, &port), TIERCE_MISS);
    for (int i = 0; i < 6000 && page(other, "GET / HTTP/1.1\r\n\r\n", answer, sizeof answer); i++)
        sleep_ms(10);
    CHECK(page(other, "GET / HTTP/1.1\r\n\r\n", answer, sizeof answer) == 0);

    CHECK_STATUS(tierce_guard_slo_json(guard, MINUTE, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"objectives\":\"production\"") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_guard_metrics_text(guard, &view), TIERCE_OK);
    CHECK(strstr(view.data, "tierce_alert_active{") != NULL);
    tierce_view_release(&view);
    CHECK_STATUS(tierce_rollout_json(guard, &view), TIERCE_MISS);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_health(cache, &health), TIERCE_OK);
    CHECK(health == TIERCE_HEALTHY);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    cache = open_text("tiering: L1\nmetrics_enabled: false");
    guard = open_guard(cache, "");
    CHECK_STATUS(tierce_guard_slo_json(guard, MINUTE, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_guard_metrics_text(guard, &view), TIERCE_MISS);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

/* Every function with this handle, and nothing else wrong: each must answer `wanted`. */
static void each_refuses(tierce_guard_t *guard, tierce_status_t wanted)
{
    tierce_view_t view;
    uint16_t port = 7;
    memset(&view, 0xff, sizeof view);
    CHECK_STATUS(tierce_guard_slo_json(guard, MINUTE, &view), wanted);
    CHECK(view_is_zero(&view));
    CHECK_STATUS(tierce_guard_alerts_json(guard, &view), wanted);
    CHECK_STATUS(tierce_guard_metrics_text(guard, &view), wanted);
    CHECK_STATUS(tierce_guard_serve(guard, "127.0.0.1:0", NULL, &port), wanted);
    CHECK_STATUS(tierce_guard_port(guard, &port), wanted);
    CHECK(port == 7);
    CHECK_STATUS(tierce_guard_serve_stop(guard), wanted);
    CHECK_STATUS(tierce_rollout_start(guard, "c", NULL, 0), wanted);
    CHECK_STATUS(tierce_rollout_ask(guard, "c", "pause"), wanted);
    CHECK_STATUS(tierce_rollout_push(guard, "input", 1), wanted);
    CHECK_STATUS(tierce_rollout_json(guard, &view), wanted);
    CHECK_STATUS(tierce_rollout_history_json(guard, &view), wanted);
    CHECK_STATUS(tierce_guard_shed(guard, "c", 70, "error"), wanted);
    CHECK_STATUS(tierce_guard_block(guard, "c"), wanted);
    CHECK_STATUS(tierce_guard_refresh(guard, "c", 1), wanted);
    CHECK_STATUS(tierce_guard_reset(guard, "c"), wanted);
    CHECK_STATUS(tierce_guard_lift(guard, "c"), wanted);
    CHECK_STATUS(tierce_guard_actions_json(guard, &view), wanted);
}

static void handles_that_are_none_are_refused(void)
{
    tierce_view_t view;
    memset(&view, 0, sizeof view);
    each_refuses(NULL, TIERCE_E_ARG);
    CHECK(complains("guard is NULL"));
    each_refuses((tierce_guard_t *)&view, TIERCE_E_ARG);
    tierce_t *cache = open_text("tiering: L1");
    each_refuses((tierce_guard_t *)cache, TIERCE_E_ARG);
    tierce_guard_t *guard = open_guard(cache, ""), *kept = open_guard(cache, "");
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    each_refuses(guard, TIERCE_E_ARG);
    CHECK(complains("given back"));
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_close(NULL), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
    each_refuses(kept, TIERCE_E_CLOSED);
    CHECK(complains("cache of the guard was closed"));
    CHECK_STATUS(tierce_guard_close(kept), TIERCE_OK);
    CHECK_STATUS(tierce_guard_open(cache, NULL, 0, NULL, NULL, NULL, &guard), TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_advise_json(cache, &view), TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_survey_begin(cache), TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_survey_end(NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_window_json(cache, MINUTE, &view), TIERCE_E_CLOSED);
    CHECK_STATUS(tierce_health(cache, &(uint32_t){0}), TIERCE_E_CLOSED);
}

/* The other arguments, one wrong at a time. */
static void null_numbers_and_names_are_checked(void)
{
    char text[1024];
    struct alarm alarm = {.lock = PTHREAD_MUTEX_INITIALIZER};
    tierce_view_t view;
    tierce_t *cache = open_text("tiering: L1");
    tierce_guard_t *guard = NULL;
    CHECK_STATUS(tierce_guard_open(cache, NULL, 1, is_alarmed, &alarm, hears_no_more, &guard),
                 TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_open(cache, "", 0, is_alarmed, &alarm, hears_no_more, NULL),
                 TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_open(NULL, "", 0, is_alarmed, &alarm, hears_no_more, &guard),
                 TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_open(cache, "alert: []", 9, is_alarmed, &alarm, hears_no_more, &guard),
                 TIERCE_E_CONFIG);
    CHECK(complains("nearest") && alarm.let_go == 4 && guard == NULL);
    CHECK_STATUS(tierce_guard_open(cache, "memory: {max_entries: 5}", 24, NULL, NULL, NULL, &guard),
                 TIERCE_E_CONFIG);
    CHECK(complains("memory.max_entries") && complains("is of the cache"));
    CHECK_STATUS(tierce_guard_open(cache, "\xff", 1, NULL, NULL, NULL, &guard), TIERCE_E_CONFIG);

    rollout_text("checked.yaml", text, sizeof text);
    guard = open_guard(cache, text);
    CHECK_STATUS(tierce_guard_slo_json(guard, 0, &view), TIERCE_E_ARG);
    CHECK(complains("window_ms = 0"));
    CHECK_STATUS(tierce_guard_slo_json(guard, MINUTE, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_port(guard, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_rollout_json(guard, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_rollout_start(guard, NULL, NULL, 0), TIERCE_E_ARG);
    CHECK(complains("by is NULL"));
    CHECK_STATUS(tierce_rollout_start(guard, "c", NULL, 3), TIERCE_E_ARG);
    CHECK_STATUS(tierce_rollout_start(guard, "c", PLAN, strlen(PLAN)), TIERCE_E_CONFIG);
    CHECK(complains("was given its plan"));
    CHECK_STATUS(tierce_rollout_ask(guard, "c", NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_rollout_ask(guard, "c", "melt"), TIERCE_E_CONFIG);
    CHECK(complains("melt") && complains("gradual_rollback"));
    CHECK_STATUS(tierce_rollout_push(guard, NULL, 1), TIERCE_E_ARG);
    CHECK_STATUS(tierce_rollout_push(guard, "approval", NAN), TIERCE_E_CONFIG);
    CHECK(complains("approval") && complains("must be a number"));
    const double wrong[] = {NAN, -1, 100.5, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_STATUS(tierce_guard_shed(guard, "c", wrong[i], NULL), TIERCE_E_ARG);
        CHECK(complains("percent = ") && complains("must be 0 to 100"));
    }
    CHECK_STATUS(tierce_guard_shed(guard, "c", 70, "never"), TIERCE_E_CONFIG);
    CHECK_STATUS(tierce_guard_shed(guard, NULL, 70, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_block(guard, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_block(guard, "\xff"), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_actions_json(guard, &view), TIERCE_OK);
    CHECK(strstr(view.data, "\"passes\":1.0") && strstr(view.data, "\"is_blocked\":false"));
    tierce_view_release(&view);
    CHECK_STATUS(tierce_health(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_advise_json(cache, NULL), TIERCE_E_ARG);
    CHECK_STATUS(tierce_window_json(cache, -1, &view), TIERCE_E_ARG);
    CHECK_STATUS(tierce_guard_close(guard), TIERCE_OK);
    CHECK_STATUS(tierce_close(cache), TIERCE_OK);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    folder = argv[1];
    /* First: they fork. */
    processes_of_a_host_follow_a_rollout();
    a_forked_child_has_no_guard();
    a_callback_may_take_the_rollout_back_and_close_its_guard();
    actions_and_steps_are_in_force_when_the_call_returns();
    the_listener_is_begun_and_ended();
    handles_that_are_none_are_refused();
    null_numbers_and_names_are_checked();
    puts("guard: all is well");
    return 0;
}
