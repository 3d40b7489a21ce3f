#!/usr/bin/env bash
# Runs the tests of what is read without a lock under a sanitizer: `sanitize.sh address|thread`.
# Both come with the stable compiler, which has to be told that we mean it. The standard library is
# not instrumented: what happens inside its locks and channels TSan learns from their atomics.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=$1
target=$(rustc -vV | sed -n 's/^host: //p')
flags="-Zsanitizer=$kind"
if [ "$kind" = thread ]; then
    flags="$flags -Cunsafe-allow-abi-mismatch=sanitizer"
fi
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_TARGET_DIR="target/sanitize-$kind"
export TSAN_OPTIONS="suppressions=$PWD/scripts/tsan.supp"
export LSAN_OPTIONS="suppressions=$PWD/scripts/lsan.supp"

test() { cargo test --quiet --target "$target" -p tierce --no-default-features "$@"; }

# One test at a time: slow readers of one hold up what another waits for.
test --lib -- --test-threads 1 --nocapture memory::tests::threads memory::tests::callers_code \
    sync::epoch::tests::readers_never
test --test memory_readers -- --test-threads 1 --nocapture
cargo run --quiet --target "$target" -p tierce-fuzz --bin fuzz -- 100000
