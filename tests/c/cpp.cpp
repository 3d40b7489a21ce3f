/* What tierce.hpp adds to tierce.h: ownership, and exceptions that stay where they were thrown. */
#include "tierce.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__,       \
                         __LINE__, #condition, tierce_last_error());                     \
            std::exit(1);                                                                \
        }                                                                                \
    } while (false)

static_assert(!std::is_copy_constructible_v<tierce::View>);
static_assert(!std::is_copy_assignable_v<tierce::View>);
static_assert(std::is_nothrow_move_constructible_v<tierce::View>);
static_assert(!std::is_copy_constructible_v<tierce::Cache>);
static_assert(std::is_nothrow_move_assignable_v<tierce::Cache>);

static tierce::Cache open() {
    tierce::Cache cache;
    CHECK(tierce::Cache::open("tiering: L1\nservice: Plus\nmetrics_enabled: true\n", cache));
    return cache;
}

static void views_and_caches_own_what_they_hold() {
    tierce::Cache cache = open();
    CHECK(cache.set("key", "value"));
    tierce::View first;
    CHECK(cache.get("key", first) && first.text() == "value");
    CHECK(first.origin() == TIERCE_FROM_L1);
    tierce::View second(std::move(first));
    CHECK(first.empty() && second.text() == "value");
    CHECK(cache.set("key", "other"));
    CHECK(cache.get("key", first) && first.text() == "other");
    first = std::move(second);
    CHECK(first.text() == "value");
    CHECK(cache.get("key", first) && first.text() == "other");

    tierce::Cache moved = std::move(cache);
    CHECK(!cache && moved);
    CHECK(cache.set("key", "value").code() == TIERCE_E_ARG);
    CHECK(moved.erase("key") && moved.get("key", first).is_miss() && first.empty());
    CHECK(moved.set("key", "value", 60000) && moved.clear());
    CHECK(moved.get("key", first).is_miss());
    CHECK(moved.health(first) && first.text().find("Plus") != std::string_view::npos);
    CHECK(moved.stats(first) && first.text().front() == '{');
    CHECK(moved.metrics(first) && !first.empty());
    CHECK(moved.retier("L5").is_error() && moved.retier("L1"));
    moved.close();
    CHECK(!moved && !first.empty());
}

static void a_lambda_loads_in_each_of_its_forms() {
    const tierce::Cache cache = open();
    tierce::View view;
    int calls = 0;
    const std::string made(1000, 'x');
    for (int i = 0; i < 2; i++) {
        CHECK(cache.get_or_load(
            "status", [&](tierce::Sink& sink) { calls++; return sink.write(made); }, view));
        CHECK(view.text() == made && calls == 1);
    }
    CHECK(cache.get_or_load(
        "nothing", [](tierce::Sink& sink) { (void)sink.write("void"); }, view));
    CHECK(view.text() == "void");
    const auto refuses = [](tierce::Sink&) -> std::int32_t { return -9; };
    CHECK(cache.get_or_load("number", refuses, view).code() == TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == -9 && view.empty());
}

static void many_keys_fill_as_many_views() {
    tierce::Cache cache = open();
    CHECK(cache.set("a", "1") && cache.set("b", "2"));
    const std::string_view keys[] = {"a", "none", "b"};
    tierce::View views[3];
    CHECK(cache.get("b", views[1]));
    CHECK(cache.get_many(keys, 3, views));
    CHECK(views[0].text() == "1" && views[2].text() == "2");
    CHECK(views[1].empty() && views[1].origin() == TIERCE_FROM_NOWHERE);
    CHECK(cache.get_many(nullptr, 0, nullptr));
    cache.close();
    CHECK(cache.get_many(keys, 3, views).is_error() && views[0].empty());
}

static void options_say_how_long_values_are_fresh() {
    const tierce::Cache cache = open();
    tierce::View view;
    tierce::SetOptions lives;
    lives.ttl_ms = 60000;
    lives.stale_if_error_ms = 60000;
    CHECK(cache.set("key", "old", lives) && cache.get("key", view));
    CHECK(!view.is_stale() && view.age_ms() >= 0 && view.age_ms() < 60000);
    CHECK(cache.expire("key") && cache.get("key", view).is_miss());
    tierce::ReadOptions accepts;
    accepts.allow_stale = 1;
    CHECK(cache.get_with("key", accepts, view) && view.is_stale() && view.text() == "old");
    tierce::LoadOptions options;
    options.stale_if_error_ms = 60000;
    const auto fails = [](tierce::Sink&) -> std::int32_t { return -1; };
    CHECK(cache.get_or_load("key", fails, view, options) && view.is_stale());
    options.negative_ttl_ms = 60000;
    const auto absent = [](tierce::Sink& sink) { return sink.absent(); };
    CHECK(cache.get_or_load("key", absent, view, options).is_absent() && view.empty());
    CHECK(cache.get_or_load("key", fails, view).is_absent());
    CHECK(cache.set("a", "1") && cache.set("b", "2"));
    const std::string_view keys[] = {"a", "none", "b"};
    CHECK(cache.erase_many(keys, 3) && cache.erase_many(nullptr, 0));
    CHECK(cache.get("a", view).is_miss() && cache.get("b", view).is_miss());
    CHECK(cache.get_or_load(
        "heavy", [](tierce::Sink& sink) { (void)sink.weight(1000); return sink.write("x"); }, view));
}

static void an_exception_becomes_a_code() {
    const tierce::Cache cache = open();
    tierce::View view;
    const tierce::Status status = cache.get_or_load(
        "key", [](tierce::Sink&) -> std::int32_t { throw std::runtime_error("no"); }, view);
    CHECK(status.code() == TIERCE_E_LOADER && tierce_last_loader_code() == tierce::threw);
    CHECK(status.name() == "TIERCE_E_LOADER" && !tierce::last_error().empty());
    CHECK(cache.get_or_load("key", [](tierce::Sink& sink) { return sink.write("yes"); }, view));
    CHECK(view.text() == "yes");
}

static void tags_and_revisions_have_owners() {
    const tierce::Cache cache = open();
    const std::string people = "people";
    const tierce::Tags tags("user:7", people);
    static_assert(tags.count() == 2);
    tierce::SetOptions options;
    tags.name_in(options);
    tierce::View view;
    CHECK(cache.set("key", "value", options) && cache.expire_tag("nobody"));
    CHECK(cache.touch("key", 60000) && cache.touch("nobody", 60000).is_miss());
    CHECK(cache.get("key", view) && cache.remove_tags(tags) && cache.get("key", view).is_miss());

    CHECK(cache.remove_prefix("user/").code() == TIERCE_E_CONFIG);
    CHECK(cache.expire_prefix("user/").code() == TIERCE_E_CONFIG);

    tierce::Revision revision;
    CHECK(cache.compare_and_set("key", revision, "1").code() == TIERCE_E_ARG);
    CHECK(cache.get_versioned("key", view, revision).is_miss());
    CHECK(cache.compare_and_set("key", revision, "1", options));
    CHECK(cache.compare_and_set("key", revision, "2").is_otherwise());
    CHECK(cache.set_if_absent("key", "2").is_otherwise() && cache.remove_tag("people"));
    std::int64_t sum = 0;
    CHECK(cache.set_if_absent("key", "41") && cache.increment("key", 1, sum) && sum == 42);
    tierce::Revision other;
    CHECK(cache.get_versioned("key", view, other) && view.text() == "42");
    revision = std::move(other);
    CHECK(cache.compare_and_set("key", revision, "43"));
}

static void a_loading_keeps_its_lambda_and_tells_it_what_there_is() {
    const tierce::Cache cache = open();
    const auto kept = std::make_shared<std::string>("page");
    const std::weak_ptr<std::string> gone = kept;
    tierce::LoadOptions options;
    options.ttl_ms = options.stale_if_error_ms = 60000;
    tierce::Loading loading;
    tierce::View view;
    {
        const auto load = [page = kept](const tierce::Context& context, tierce::Sink& sink) {
            if (context.key() == "throws") throw std::runtime_error("no");
            if (context.validator() == "v1") {
                CHECK(context.has_stale() && context.stale() == *page && !context.is_cancelled());
                CHECK(context.reason() == "stale" && context.left_ms() < 0);
                return sink.not_modified();
            }
            CHECK(sink.validator("v1") && sink.tag("pages"));
            return sink.write(*page);
        };
        CHECK(tierce::Loading::open(cache, load, loading, options));
    }
    CHECK(loading.get("key", view) && view.text() == "page");
    CHECK(cache.expire("key") && loading.get("key", view) && view.text() == "page");
    CHECK(cache.remove_tag("pages") && cache.get("key", view).is_miss());
    CHECK(loading.refresh("throws", view).code() == TIERCE_E_LOADER);
    CHECK(tierce_last_loader_code() == tierce::threw);
    CHECK(kept.use_count() == 2);
    loading.close();
    CHECK(kept.use_count() == 1 && !gone.expired());
    CHECK(loading.get("key", view).code() == TIERCE_E_ARG);
}

static void listeners_and_alerts_are_kept_as_long_as_they_are_told() {
    tierce::Cache cache = open();
    const auto sets = std::make_shared<std::atomic<int>>(0);
    CHECK(cache.on_event([sets](const tierce_event_t& event) {
        if (event.kind == TIERCE_EVENT_SET) ++*sets;
        throw std::runtime_error("nobody hears of it");
    }));
    CHECK(cache.set("key", "1") && cache.set("key", "2"));
    for (int i = 0; i < 30000 && sets->load() < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::uint64_t dropped = 1;
    CHECK(sets->load() == 2 && cache.events_dropped(dropped) && dropped == 0);
    tierce::View view;
    CHECK(cache.slo("production", 60000, view) && view.text().front() == '{');
    CHECK(cache.alerts(view).is_miss());
    CHECK(cache.start_alerts("alerts: []", [sets](std::string_view) { ++*sets; }));
    CHECK(cache.alerts(view) && view.text() == "[]" && cache.stop_alerts());
    CHECK(cache.start_alerts("alerts: []"));
    cache.close();
    for (int i = 0; i < 30000 && sets.use_count() > 1; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(sets.use_count() == 1);
}

static void a_guard_is_an_object_whose_callback_may_use_it() {
    tierce::Cache cache = open();
    std::uint32_t health = 9;
    CHECK(cache.health_status(health) && health == TIERCE_HEALTHY);
    tierce::Guard guard;
    tierce::View view;
    CHECK(guard.rollout(view).code() == TIERCE_E_ARG && !guard);
    CHECK(tierce::Guard::open(cache, "alerts: 7", guard).code() == TIERCE_E_CONFIG && !guard);
    const auto told = std::make_shared<std::atomic<int>>(0);
    const std::string_view text =
        "alerts: [{name: misses, condition: miss_rate > 50%, severity: warning}]";
    const auto alarm = [told, &guard](std::string_view notice) {
        CHECK(notice.find("misses") != std::string_view::npos);
        if (*told == 0) {
            CHECK(guard.rollback("cpp").code() == TIERCE_E_CONFIG);
            CHECK(guard.shed("cpp", 50, "error"));
        }
        ++*told;
        throw std::runtime_error("nobody hears of it");
    };
    CHECK(tierce::Guard::open(cache, text, alarm, guard) && guard);
    for (int i = 0; i < 30000 && told->load() == 0; ++i) {
        CHECK(cache.get("nobody", view).is_miss());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(told->load() > 0 && guard.actions(view));
    CHECK(view.text().find("\"passes\":0.5") != std::string_view::npos);
    CHECK(guard.lift("cpp") && guard.block("cpp") && guard.lift("cpp") && guard.refresh("cpp"));
    CHECK(guard.reset("cpp").code() == TIERCE_E_UNSUPPORTED);
    CHECK(guard.rollout(view).is_miss() && guard.history(view).code() == TIERCE_E_CONFIG);
    CHECK(guard.start("cpp").code() == TIERCE_E_CONFIG);
    CHECK(guard.start("cpp", "plan: p").code() == TIERCE_E_CONFIG);
    CHECK(guard.advance("cpp").is_error() && guard.force("cpp").is_error());
    CHECK(guard.pause("cpp").is_error() && guard.resume("cpp").is_error());
    CHECK(guard.push("approval", 1).code() == TIERCE_E_CONFIG);
    std::uint16_t port = 0, same = 0;
    CHECK(guard.serve("127.0.0.1:0", nullptr, port) && guard.port(same) && port == same);
    CHECK(guard.stop_serving() && guard.port(same).is_miss());
    CHECK(guard.slo(60000, view).is_miss() && guard.alerts(view) && guard.metrics(view));
    CHECK(cache.begin_survey() && cache.advise(view) && cache.end_survey());
    CHECK(cache.window(60000, view) && view.text().front() == '{');
    tierce::Guard moved = std::move(guard);
    CHECK(moved.alerts(view) && !guard);
    cache.close();
    CHECK(moved.alerts(view).code() == TIERCE_E_CLOSED);
    moved.close();
    for (int i = 0; i < 30000 && told.use_count() > 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    // This one and that of the lambda above.
    CHECK(told.use_count() == 2);
}

int main() {
    views_and_caches_own_what_they_hold();
    a_lambda_loads_in_each_of_its_forms();
    many_keys_fill_as_many_views();
    options_say_how_long_values_are_fresh();
    an_exception_becomes_a_code();
    tags_and_revisions_have_owners();
    a_loading_keeps_its_lambda_and_tells_it_what_there_is();
    listeners_and_alerts_are_kept_as_long_as_they_are_told();
    a_guard_is_an_object_whose_callback_may_use_it();
    return 0;
}
