//! The model-based target under libFuzzer: `cargo fuzz run memory --features libfuzzer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tierce_fuzz::run(bytes);
});
