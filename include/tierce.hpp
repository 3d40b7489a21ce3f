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

private:
    tierce_sink_t* sink_;
};

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
    Status clear() const noexcept { return tierce_clear(handle()); }

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
    Status stats(View& out) const noexcept { return tierce_stats_json(handle(), out.reset()); }
    Status metrics(View& out) const noexcept { return tierce_metrics_text(handle(), out.reset()); }

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
#if defined(__cpp_exceptions)
        try {
            return call(*static_cast<Callable*>(user), raw);
        } catch (...) {
            return threw;
        }
#else
        return call(*static_cast<Callable*>(user), raw);
#endif
    }

    template <class Callable>
    static std::int32_t call(Callable& load, tierce_sink_t* raw) {
        Sink sink(raw);
        using Result = std::invoke_result_t<Callable&, Sink&>;
        if constexpr (std::is_void_v<Result>) {
            load(sink);
            return 0;
        } else if constexpr (std::is_same_v<Result, Status>) {
            return load(sink).code();
        } else {
            return load(sink);
        }
    }

    std::unique_ptr<tierce_t, Close> cache_;
};

} // namespace tierce

#endif
