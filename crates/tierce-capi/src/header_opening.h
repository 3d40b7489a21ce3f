/*
 * tierce @VERSION@: an embedded cache in three tiers. L1 is the memory of this process, L2 a store
 * that all processes of the host share without a daemon, L3 is Redis or Valkey.
 *
 *     tierce_t *cache;
 *     if (tierce_open_env(&cache) != TIERCE_OK) {
 *         fprintf(stderr, "%s\n", tierce_last_error());
 *         return 1;
 *     }
 *     tierce_view_t value;
 *     if (tierce_get_or_load(cache, "user:7", 6, load_user, &database, NULL, &value) == TIERCE_OK)
 *         fwrite(value.data, 1, value.len, stdout);
 *     tierce_view_release(&value);
 *     tierce_close(cache);
 *
 * Answers.    Nearly every function returns a tierce_status_t: TIERCE_OK is 0, answers that are
 *             no errors are above it, errors below. Numbers are never given another meaning. Any
 *             function may return TIERCE_E_PANIC, where the library has a bug and caught it.
 *             tierce_last_error() has the text of the last error of the calling thread.
 * Ownership.  _open gives, _close and _release take. "Borrowed" pointers are looked at during the
 *             call only. NULL is fine where it says so and TIERCE_E_ARG everywhere else. A result
 *             is written through an out-parameter on the answers that are named, and left alone on
 *             all others; a view alone is always written: it is zeroed where there is no value, so
 *             releasing it is right whatever the call answered.
 * Threads.    "Any": from any thread, at any time, with others in the same function on the same
 *             cache. "Own": by one thread at a time. "Once": exactly one time, or harmlessly again
 *             where it says so.
 * Callbacks.  Run on the thread that made the call, with no lock held. They must return: no
 *             longjmp() and no C++ exception may leave them (tierce.hpp sees to the latter).
 * Growth.     A struct with struct_size is set to zero by the caller, and struct_size to its
 *             sizeof: programs compiled with an older or newer header go on working.
 *
 * Made from the Rust sources by `make header`; changes here are lost.
 */
