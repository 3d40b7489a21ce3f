/*
 * tierce.hpp: ownership for the C interface of tierce, and nothing else. Header-only, C++17.
 *
 *     tierce::Cache cache;
 *     if (!tierce::Cache::open_env(cache)) return fail(tierce::last_error());
 *     tierce::View user;
 *     if (cache.get_or_load("user:7", [&](tierce::Sink& sink) { return sink.write(load(7)); }, user))
 *         use(user.text());
 *
 * Codes are those of tierce.h; nothing here throws. What a loader throws becomes
 * tierce::threw as its code, and TIERCE_E_LOADER for everybody who waited for it.
 */
#ifndef TIERCE_HPP
#define TIERCE_HPP

#include "tierce.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tierce {

/** What tierce_last_loader_code() tells of a loader that threw an exception. */
inline constexpr std::int32_t threw = std::numeric_limits<std::int32_t>::min();

/** The text of the last error of this thread; good until the next error in it. */
inline std::string_view last_error() noexcept { return tierce_last_error(); }

/** An answer of the library: true for TIERCE_OK alone. */
class [[nodiscard]] Status {
public:
    constexpr Status(tierce_status_t code) noexcept : code_(code) {}
    constexpr explicit operator bool() const noexcept { return code_ == TIERCE_OK; }
    constexpr tierce_status_t code() const noexcept { return code_; }
    constexpr bool is_miss() const noexcept { return code_ == TIERCE_MISS; }
    constexpr bool is_absent() const noexcept { return code_ == TIERCE_ABSENT; }
    /** True where what the key has was not what was expected: nothing was changed. */
    constexpr bool is_otherwise() const noexcept { return code_ == TIERCE_OTHERWISE; }
    constexpr bool is_error() const noexcept { return code_ < 0; }
    std::string_view name() const noexcept { return tierce_status_name(code_); }

private:
    tierce_status_t code_;
};

/** Options of Cache::set(): all defaults, to be overwritten one by one. */
struct SetOptions : tierce_set_opts_t {
    SetOptions() noexcept : tierce_set_opts_t{} { struct_size = sizeof(tierce_set_opts_t); }
};

/** Options of Cache::get_or_load(): all defaults, to be overwritten one by one. */
struct LoadOptions : tierce_load_opts_t {
    LoadOptions() noexcept : tierce_load_opts_t{} { struct_size = sizeof(tierce_load_opts_t); }
};

/** Options of Cache::get_with(): all defaults, to be overwritten one by one. */
struct ReadOptions : tierce_read_opts_t {
    ReadOptions() noexcept : tierce_read_opts_t{} { struct_size = sizeof(tierce_read_opts_t); }
};

/**
 * Tags for the options of a call; what they are made of must live as long as they are used.
 *
 *     const tierce::Tags tags("user:7", "people");
 *     tierce::SetOptions options;
 *     tags.name_in(options);
 */
template <std::size_t Count>
class Tags {
public:
    template <class... Texts,
              class = std::enable_if_t<(std::is_convertible_v<Texts, std::string_view> && ...)>>
    explicit Tags(Texts&&... texts) noexcept {
        static_assert(sizeof...(Texts) == Count, "one text for each tag");
        static_assert(((std::is_lvalue_reference_v<Texts> ||
                        std::is_same_v<std::remove_cv_t<Texts>, std::string_view> ||
                        std::is_convertible_v<Texts, const char*>)&&...),
                      "a text that is gone at once");
        std::size_t at = 0;
        (put(at++, std::string_view(texts)), ...);
    }

    /** Has the value of a call that takes SetOptions or LoadOptions bear them. */
    template <class Options>
    void name_in(Options& options) const noexcept {
        options.tags = data_;
        options.tag_lens = sizes_;
        options.tag_count = Count;
    }
    const void* const* data() const noexcept { return data_; }
    const std::size_t* sizes() const noexcept { return sizes_; }
    static constexpr std::size_t count() noexcept { return Count; }

private:
    void put(std::size_t at, std::string_view text) noexcept {
        data_[at] = text.data();
        sizes_[at] = text.size();
    }

    const void* data_[Count];
    std::size_t sizes_[Count];
};
template <class... Texts>
Tags(Texts&&...) -> Tags<sizeof...(Texts)>;

/** A value, read in place; its bytes live as long as the view. Movable, not copyable. */
class View {
public:
    View() noexcept = default;
    View(View&& other) noexcept : view_(std::exchange(other.view_, tierce_view_t{})) {}
    View& operator=(View&& other) noexcept {
        View taken(std::move(other));
        std::swap(view_, taken.view_);
        return *this;
    }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() { tierce_view_release(&view_); }

    const void* data() const noexcept { return view_.data; }
    std::size_t size() const noexcept { return view_.len; }
    bool empty() const noexcept { return view_.len == 0; }
    std::string_view text() const noexcept {
        return {static_cast<const char*>(view_.data), view_.len};
    }
    /** One of the TIERCE_FROM_ numbers. */
    std::uint32_t origin() const noexcept { return view_.origin; }
    /** True if the value's time to live is over: it is served because the call allows that. */
    bool is_stale() const noexcept { return (view_.flags & TIERCE_VIEW_STALE) != 0; }
    /** Milliseconds since the value was set or its load began; below zero where not known. */
    std::int64_t age_ms() const noexcept { return view_.age_ms; }

    /** Gives the value back and returns the place for another: for calls of tierce.h. */
    tierce_view_t* reset() noexcept {
        tierce_view_release(&view_);
        return &view_;
    }

private:
    tierce_view_t view_{};
};

/** Where a loader writes its value: good during the loader's call, on its thread. */
class Sink {
public:
    explicit Sink(tierce_sink_t* sink) noexcept : sink_(sink) {}
    Status write(std::string_view data) noexcept {
        return tierce_sink_write(sink_, data.data(), data.size());
    }
    Status reserve(std::size_t size, void*& out) noexcept {
        return tierce_sink_reserve(sink_, size, &out);
    }
    Status truncate(std::size_t size) noexcept { return tierce_sink_truncate(sink_, size); }
    Status ttl(std::int64_t milliseconds) noexcept { return tierce_sink_ttl(sink_, milliseconds); }
    Status weight(std::size_t bytes) noexcept { return tierce_sink_weight(sink_, bytes); }
    Status absent() noexcept { return tierce_sink_absent(sink_); }
    /** Says that the value is the one that the loader was told of; see Context::stale(). */
    Status not_modified() noexcept { return tierce_sink_not_modified(sink_); }
    Status validator(std::string_view text) noexcept {
        return tierce_sink_validator(sink_, text.data(), text.size());
    }
    Status tag(std::string_view tag) noexcept {
        return tierce_sink_tag(sink_, tag.data(), tag.size());
    }

private:
    tierce_sink_t* sink_;
};

/** What a loader of a Loading is told; good during the loader's call. */
class Context {
public:
    explicit Context(const tierce_load_context_t* context) noexcept : context_(context) {}
    std::string_view key() const noexcept { return text(context_->key, context_->key_len); }
    bool has_stale() const noexcept { return context_->has_stale != 0; }
    /** The value that is to be replaced; empty where there is none. */
    std::string_view stale() const noexcept { return text(context_->stale, context_->stale_len); }
    std::string_view validator() const noexcept {
        return text(context_->validator, context_->validator_len);
    }
    /** How many milliseconds the load may take; below zero where it may take any. */
    std::int64_t left_ms() const noexcept { return context_->left_ms; }
    std::string_view reason() const noexcept { return context_->reason; }
    /** True once what the loader makes is of no use any more. */
    bool is_cancelled() const noexcept { return tierce_load_is_cancelled(context_) != 0; }

private:
    static std::string_view text(const void* data, std::size_t size) noexcept {
        return {static_cast<const char*>(data), size};
    }

    const tierce_load_context_t* context_;
};

/** What a key had when it was looked at. Movable, not copyable. */
class Revision {
public:
    Revision() noexcept = default;
    tierce_revision_t* handle() const noexcept { return revision_.get(); }

private:
    friend class Cache;
    struct Release {
        void operator()(tierce_revision_t* revision) const noexcept {
            tierce_revision_release(revision);
        }
    };

    std::unique_ptr<tierce_revision_t, Release> revision_;
};

namespace detail {

/** What a loader's return means as a code of C: a Status, an int32_t or nothing. */
template <class Call>
std::int32_t code_of(Call&& call) {
    using Result = std::invoke_result_t<Call&>;
    if constexpr (std::is_void_v<Result>) {
        call();
        return 0;
    } else if constexpr (std::is_same_v<Result, Status>) {
        return call().code();
    } else {
        return call();
    }
}

/** The same, where what it throws becomes a code too. */
template <class Call>
std::int32_t caught(Call&& call) noexcept {
#if defined(__cpp_exceptions)
    try {
        return code_of(call);
    } catch (...) {
        return threw;
    }
#else
    return code_of(call);
#endif
}

template <class Callable>
void let_go(void* user) noexcept {
    delete static_cast<Callable*>(user);
}

/** A callable of our own on the heap; NULL where there is no memory. */
template <class Callable>
auto* keep(Callable&& callable) noexcept {
    using Kept = std::decay_t<Callable>;
    return new (std::nothrow) Kept(std::forward<Callable>(callable));
}

} // namespace detail

/** An open cache; closed with the object. Movable, not copyable; every call from any thread. */
class Cache {
public:
    Cache() noexcept = default;

    /** Opens a cache by the settings of a text; see tierce_open(). */
    static Status open(std::string_view text, Cache& out) noexcept {
        tierce_t* cache = nullptr;
        const Status status = tierce_open(text.data(), text.size(), &cache);
        return out.take(status, cache);
    }
    /** Opens a cache by the settings of a file and of the environment; see tierce_open_file(). */
    static Status open_file(const char* path, Cache& out) noexcept {
        tierce_t* cache = nullptr;
        const Status status = tierce_open_file(path, &cache);
        return out.take(status, cache);
    }
    /** Opens a cache by the settings of the environment; see tierce_open_env(). */
    static Status open_env(Cache& out) noexcept {
        tierce_t* cache = nullptr;
        const Status status = tierce_open_env(&cache);
        return out.take(status, cache);
    }

    /** The handle, for calls of tierce.h; still this object's. */
    tierce_t* handle() const noexcept { return cache_.get(); }
    explicit operator bool() const noexcept { return cache_ != nullptr; }
    void close() noexcept { cache_.reset(); }

    Status get(std::string_view key, View& out) const noexcept {
        return tierce_get(handle(), key.data(), key.size(), out.reset());
    }
    /** Looks the key up for callers that accept stale values, or only young ones. */
    Status get_with(std::string_view key, const ReadOptions& options, View& out) const noexcept {
        return tierce_get_with(handle(), key.data(), key.size(), &options, out.reset());
    }
    /**
     * Looks `count` keys up at once; a view with the origin TIERCE_FROM_NOWHERE is a miss. See
     * tierce_get_many().
     */
    Status get_many(const std::string_view* keys, std::size_t count, View* out) const noexcept {
        const std::unique_ptr<const void*[]> data(new (std::nothrow) const void*[count]);
        const std::unique_ptr<std::size_t[]> sizes(new (std::nothrow) std::size_t[count]);
        const std::unique_ptr<tierce_view_t[]> views(new (std::nothrow) tierce_view_t[count]());
        if (!data || !sizes || !views) return TIERCE_E_NOMEM;
        for (std::size_t i = 0; i < count; ++i) {
            data[i] = keys[i].data();
            sizes[i] = keys[i].size();
        }
        const Status status =
            tierce_get_many(handle(), data.get(), sizes.get(), count, views.get(), nullptr);
        for (std::size_t i = 0; i < count; ++i) *out[i].reset() = views[i];
        return status;
    }
    Status set(std::string_view key, std::string_view value,
               std::int64_t ttl_ms = TIERCE_TTL_DEFAULT) const noexcept {
        SetOptions options;
        options.ttl_ms = ttl_ms;
        return set(key, value, options);
    }
    Status set(std::string_view key, std::string_view value,
               const SetOptions& options) const noexcept {
        return tierce_set(handle(), key.data(), key.size(), value.data(), value.size(), &options);
    }
    Status erase(std::string_view key) const noexcept {
        return tierce_delete(handle(), key.data(), key.size());
    }
    /** Removes `count` keys, each as erase() does. See tierce_delete_many(). */
    Status erase_many(const std::string_view* keys, std::size_t count) const noexcept {
        const std::unique_ptr<const void*[]> data(new (std::nothrow) const void*[count]);
        const std::unique_ptr<std::size_t[]> sizes(new (std::nothrow) std::size_t[count]);
        if (!data || !sizes) return TIERCE_E_NOMEM;
        for (std::size_t i = 0; i < count; ++i) {
            data[i] = keys[i].data();
            sizes[i] = keys[i].size();
        }
        return tierce_delete_many(handle(), data.get(), sizes.get(), count);
    }
    /** Makes what the key has stale, or gone where it has no stale window. See tierce_expire(). */
    Status expire(std::string_view key) const noexcept {
        return tierce_expire(handle(), key.data(), key.size());
    }
    /** Gives what the key has another time to live; a miss where it has nothing fresh. */
    Status touch(std::string_view key, std::int64_t ttl_ms) const noexcept {
        return tierce_touch(handle(), key.data(), key.size(), ttl_ms);
    }
    Status clear() const noexcept { return tierce_clear(handle()); }
    /** Sends L3 what was set behind it until now. See tierce_flush(). */
    Status flush() const noexcept { return tierce_flush(handle()); }

    /** Removes all that bears one of these tags. See tierce_remove_tags(). */
    template <std::size_t Count>
    Status remove_tags(const Tags<Count>& tags) const noexcept {
        return tierce_remove_tags(handle(), tags.data(), tags.sizes(), tags.count());
    }
    Status remove_tag(std::string_view tag) const noexcept { return remove_tags(Tags<1>(tag)); }
    /** Makes all that bears one of these tags stale. See tierce_expire_tags(). */
    template <std::size_t Count>
    Status expire_tags(const Tags<Count>& tags) const noexcept {
        return tierce_expire_tags(handle(), tags.data(), tags.sizes(), tags.count());
    }
    Status expire_tag(std::string_view tag) const noexcept { return expire_tags(Tags<1>(tag)); }

    /** Removes all whose keys begin so. See tierce_remove_prefixes(). */
    Status remove_prefix(std::string_view prefix) const noexcept {
        const void* const data = prefix.data();
        const std::size_t size = prefix.size();
        return tierce_remove_prefixes(handle(), &data, &size, 1);
    }
    /** Makes all stale whose keys begin so. See tierce_expire_prefixes(). */
    Status expire_prefix(std::string_view prefix) const noexcept {
        const void* const data = prefix.data();
        const std::size_t size = prefix.size();
        return tierce_expire_prefixes(handle(), &data, &size, 1);
    }

    /** Looks the key up where it is decided about; a miss has a revision too. */
    Status get_versioned(std::string_view key, View& out, Revision& revision) const noexcept {
        tierce_revision_t* made = nullptr;
        const Status status =
            tierce_get_versioned(handle(), key.data(), key.size(), out.reset(), &made);
        revision.revision_.reset(made);
        return status;
    }
    /** Sets the key if what it had then is still there; see Status::is_otherwise(). */
    Status compare_and_set(std::string_view key, const Revision& revision, std::string_view value,
                           const SetOptions& options = SetOptions()) const noexcept {
        return tierce_compare_and_set(handle(), key.data(), key.size(), revision.handle(),
                                      value.data(), value.size(), &options);
    }
    /** Sets the key if it has no value or a stale one; see Status::is_otherwise(). */
    Status set_if_absent(std::string_view key, std::string_view value,
                         const SetOptions& options = SetOptions()) const noexcept {
        return tierce_set_if_absent(handle(), key.data(), key.size(), value.data(), value.size(),
                                    &options);
    }
    /** Adds to the number that the key has. See tierce_increment(). */
    Status increment(std::string_view key, std::int64_t delta, std::int64_t& sum) const noexcept {
        return tierce_increment(handle(), key.data(), key.size(), delta, &sum);
    }

    /**
     * Has `listener(const tierce_event_t&)` told of what happens, until the cache is closed, by a
     * thread of the cache. What it throws is dropped.
     */
    template <class Listener>
    Status on_event(Listener&& listener) const noexcept {
        using Kept = std::decay_t<Listener>;
        Kept* kept = detail::keep(std::forward<Listener>(listener));
        if (kept == nullptr) return TIERCE_E_NOMEM;
        const tierce_event_fn call = [](void* user, const tierce_event_t* event) noexcept {
            detail::caught([&] { (*static_cast<Kept*>(user))(*event); });
        };
        return tierce_on_event(handle(), call, kept, &detail::let_go<Kept>);
    }
    Status events_dropped(std::uint64_t& out) const noexcept {
        return tierce_events_dropped(handle(), &out);
    }

    /**
     * Looks the key up; on a miss calls `load(sink)`, once for all threads that ask for it.
     *
     * `load` returns a Status, an int32_t (0 is done, below zero its own code) or nothing.
     */
    template <class Load>
    Status get_or_load(std::string_view key, Load&& load, View& out,
                       std::int64_t ttl_ms = TIERCE_TTL_DEFAULT) const noexcept {
        LoadOptions options;
        options.ttl_ms = ttl_ms;
        return get_or_load(key, std::forward<Load>(load), out, options);
    }
    template <class Load>
    Status get_or_load(std::string_view key, Load&& load, View& out,
                       const LoadOptions& options) const noexcept {
        using Callable = std::remove_reference_t<Load>;
        void* user = const_cast<void*>(static_cast<const void*>(std::addressof(load)));
        return tierce_get_or_load(handle(), key.data(), key.size(), &run<Callable>, user, &options,
                                  out.reset());
    }

    Status retier(const char* tiering) const noexcept { return tierce_retier(handle(), tiering); }
    Status health(View& out) const noexcept { return tierce_health_json(handle(), out.reset()); }
    /** TIERCE_HEALTHY, TIERCE_DEGRADED or TIERCE_UNHEALTHY. */
    Status health_status(std::uint32_t& out) const noexcept { return tierce_health(handle(), &out); }
    Status stats(View& out) const noexcept { return tierce_stats_json(handle(), out.reset()); }
    Status metrics(View& out) const noexcept { return tierce_metrics_text(handle(), out.reset()); }
    /** How objectives are met; nullptr for those of the environment. See tierce_slo_json(). */
    Status slo(const char* objectives, std::int64_t window_ms, View& out) const noexcept {
        return tierce_slo_json(handle(), objectives, window_ms, out.reset());
    }
    /** Judges alerts from YAML once a second. See tierce_alerts_start(). */
    Status start_alerts(std::string_view yaml) const noexcept {
        return tierce_alerts_start(handle(), yaml.data(), yaml.size(), nullptr, nullptr, nullptr);
    }
    /**
     * The same, and tells `notify(std::string_view json)`, by a thread of the cache. What it throws
     * is dropped.
     */
    template <class Notify>
    Status start_alerts(std::string_view yaml, Notify&& notify) const noexcept {
        using Kept = std::decay_t<Notify>;
        Kept* kept = detail::keep(std::forward<Notify>(notify));
        if (kept == nullptr) return TIERCE_E_NOMEM;
        const tierce_notice_fn call = [](void* user, const char* notice) noexcept {
            detail::caught([&] { (*static_cast<Kept*>(user))(std::string_view(notice)); });
        };
        return tierce_alerts_start(handle(), yaml.data(), yaml.size(), call, kept,
                                   &detail::let_go<Kept>);
    }
    Status alerts(View& out) const noexcept { return tierce_alerts_json(handle(), out.reset()); }
    Status stop_alerts() const noexcept { return tierce_alerts_stop(handle()); }
    /** What the numbers show to be unwise. See tierce_advise_json(). */
    Status advise(View& out) const noexcept { return tierce_advise_json(handle(), out.reset()); }
    Status begin_survey() const noexcept { return tierce_survey_begin(handle()); }
    Status end_survey() const noexcept { return tierce_survey_end(handle()); }
    /** Counts and latencies of the last time. See tierce_window_json(). */
    Status window(std::int64_t window_ms, View& out) const noexcept {
        return tierce_window_json(handle(), window_ms, out.reset());
    }

private:
    struct Close {
        void operator()(tierce_t* cache) const noexcept { tierce_close(cache); }
    };

    Status take(Status status, tierce_t* cache) noexcept {
        if (status) cache_.reset(cache);
        return status;
    }

    template <class Callable>
    static std::int32_t run(void* user, const void*, std::size_t, tierce_sink_t* raw) noexcept {
        Sink sink(raw);
        return detail::caught([&] { return (*static_cast<Callable*>(user))(sink); });
    }

    std::unique_ptr<tierce_t, Close> cache_;
};

/**
 * A cache with the loader of its values, which is told what there is and may run on threads of the
 * cache, for several keys at once. Movable, not copyable.
 */
class Loading {
public:
    Loading() noexcept = default;

    /**
     * Binds `load(const Context&, Sink&)` to a cache; it is kept until the last load has ended.
     *
     * `load` returns a Status, an int32_t (0 is done, below zero its own code) or nothing.
     */
    template <class Load>
    static Status open(const Cache& cache, Load&& load, Loading& out,
                       const LoadOptions& options = LoadOptions()) noexcept {
        using Kept = std::decay_t<Load>;
        Kept* kept = detail::keep(std::forward<Load>(load));
        if (kept == nullptr) return TIERCE_E_NOMEM;
        const tierce_context_load_fn call = [](void* user, const tierce_load_context_t* context,
                                               tierce_sink_t* raw) noexcept -> std::int32_t {
            Sink sink(raw);
            const Context told(context);
            return detail::caught([&] { return (*static_cast<Kept*>(user))(told, sink); });
        };
        tierce_loading_t* loading = nullptr;
        const Status status = tierce_loading_open(cache.handle(), call, kept,
                                                  &detail::let_go<Kept>, &options, &loading);
        if (status) out.loading_.reset(loading);
        return status;
    }

    tierce_loading_t* handle() const noexcept { return loading_.get(); }
    void close() noexcept { loading_.reset(); }

    Status get(std::string_view key, View& out) const noexcept {
        return tierce_loading_get(handle(), key.data(), key.size(), out.reset());
    }
    /** Loads the key anew, whatever there is. */
    Status refresh(std::string_view key, View& out) const noexcept {
        return tierce_loading_refresh(handle(), key.data(), key.size(), out.reset());
    }

private:
    struct Close {
        void operator()(tierce_loading_t* loading) const noexcept { tierce_loading_close(loading); }
    };

    std::unique_ptr<tierce_loading_t, Close> loading_;
};

/**
 * What judges a cache, tells of it, drives its rollout and answers over HTTP; ended with the object.
 * Movable, not copyable; every call from any thread.
 *
 * A name says who asks, for the journals. Reports are JSON; see the functions of tierce.h.
 */
class Guard {
public:
    Guard() noexcept = default;

    /** Starts what the settings of the cache say, and `text` over them. See tierce_guard_open(). */
    static Status open(const Cache& cache, std::string_view text, Guard& out) noexcept {
        tierce_guard_t* guard = nullptr;
        const Status status = tierce_guard_open(cache.handle(), text.data(), text.size(), nullptr,
                                                nullptr, nullptr, &guard);
        return out.take(status, guard);
    }
    /**
     * The same, and tells `notify(std::string_view json)` of alerts, by a thread that is there for that
     * alone: it may ask this guard for anything. What it throws is dropped.
     */
    template <class Notify>
    static Status open(const Cache& cache, std::string_view text, Notify&& notify,
                       Guard& out) noexcept {
        using Kept = std::decay_t<Notify>;
        Kept* kept = detail::keep(std::forward<Notify>(notify));
        if (kept == nullptr) return TIERCE_E_NOMEM;
        const tierce_notice_fn call = [](void* user, const char* notice) noexcept {
            detail::caught([&] { (*static_cast<Kept*>(user))(std::string_view(notice)); });
        };
        tierce_guard_t* guard = nullptr;
        const Status status = tierce_guard_open(cache.handle(), text.data(), text.size(), call, kept,
                                                &detail::let_go<Kept>, &guard);
        return out.take(status, guard);
    }

    /** The handle, for calls of tierce.h; still this object's. */
    tierce_guard_t* handle() const noexcept { return guard_.get(); }
    explicit operator bool() const noexcept { return guard_ != nullptr; }
    void close() noexcept { guard_.reset(); }

    Status slo(std::int64_t window_ms, View& out) const noexcept {
        return tierce_guard_slo_json(handle(), window_ms, out.reset());
    }
    Status alerts(View& out) const noexcept {
        return tierce_guard_alerts_json(handle(), out.reset());
    }
    Status metrics(View& out) const noexcept {
        return tierce_guard_metrics_text(handle(), out.reset());
    }

    /** Answers over HTTP; nullptr for the default address, and for no token. */
    Status serve(const char* address, const char* token, std::uint16_t& port) const noexcept {
        return tierce_guard_serve(handle(), address, token, &port);
    }
    Status port(std::uint16_t& out) const noexcept { return tierce_guard_port(handle(), &out); }
    Status stop_serving() const noexcept { return tierce_guard_serve_stop(handle()); }

    /** Begins with the plan that there is, or with another one. See tierce_rollout_start(). */
    Status start(const char* by, std::string_view plan = {}) const noexcept {
        return tierce_rollout_start(handle(), by, plan.data(), plan.size());
    }
    Status advance(const char* by) const noexcept { return ask(by, "advance"); }
    Status force(const char* by) const noexcept { return ask(by, "force"); }
    Status pause(const char* by) const noexcept { return ask(by, "pause"); }
    Status resume(const char* by) const noexcept { return ask(by, "resume"); }
    /** Takes the rollout back, at once or by the steps of its plan. Always obeyed. */
    Status rollback(const char* by, bool gradual = false) const noexcept {
        return ask(by, gradual ? "gradual_rollback" : "rollback");
    }
    /** Tells the rollout what its plan calls `input.NAME`. */
    Status push(const char* input, double value) const noexcept {
        return tierce_rollout_push(handle(), input, value);
    }
    Status rollout(View& out) const noexcept { return tierce_rollout_json(handle(), out.reset()); }
    Status history(View& out) const noexcept {
        return tierce_rollout_history_json(handle(), out.reset());
    }

    /** Lets so many of 100 calls pass; the others get "stale" or "error". */
    Status shed(const char* by, double percent, const char* answer = nullptr) const noexcept {
        return tierce_guard_shed(handle(), by, percent, answer);
    }
    Status block(const char* by) const noexcept { return tierce_guard_block(handle(), by); }
    Status refresh(const char* by, std::uint32_t per_second = 0) const noexcept {
        return tierce_guard_refresh(handle(), by, per_second);
    }
    Status reset(const char* by) const noexcept { return tierce_guard_reset(handle(), by); }
    Status lift(const char* by) const noexcept { return tierce_guard_lift(handle(), by); }
    Status actions(View& out) const noexcept {
        return tierce_guard_actions_json(handle(), out.reset());
    }

private:
    struct Close {
        void operator()(tierce_guard_t* guard) const noexcept { tierce_guard_close(guard); }
    };

    Status take(Status status, tierce_guard_t* guard) noexcept {
        if (status) guard_.reset(guard);
        return status;
    }
    Status ask(const char* by, const char* command) const noexcept {
        return tierce_rollout_ask(handle(), by, command);
    }

    std::unique_ptr<tierce_guard_t, Close> guard_;
};

} // namespace tierce

#endif
