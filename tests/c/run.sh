#!/usr/bin/env bash
# Tests the C interface as its users meet it: installs the library into a folder that goes away,
# compiles the programs here against it by gcc and clang, as C99 and C++17, shared and static, with
# all warnings as errors, and runs them. One line for each step.
#
#   tests/c/run.sh [CARGO PROFILE: dev]
#
# CARGO and CARGO_TARGET_DIR are respected. Compilers and checkers that are missing are named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
warnings='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'

# In a function that is a step, what may fail is tied together by &&: `if` switches `set -e` off.
step() { # title, command...
    local title=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok    $title"
    else
        echo "FAIL  $title: $*"
        cat "$work/log"
        exit 1
    fi
}
skip() { echo "skip  $1: $2 is not installed"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a program with a folder of its own, shared or static. A test that hangs fails.
run() { # program, arguments...
    local folder
    folder=$(mktemp -d -p "$work")
    LD_LIBRARY_PATH=$prefix/lib timeout 300 "$@" "$folder"
}

step 'build and install' "$root/crates/tierce-capi/install.sh" "$prefix" "${1:-dev}"

soname() {
    readelf -d "$prefix/lib/libtierce.so" | grep -F "soname: [libtierce.so.$(abi)]"
}
abi() { sed -n 's/^#define TIERCE_ABI_VERSION //p' "$prefix/include/tierce.h"; }
exports() {
    # What the object exports and what the header declares: the same names, no more, no fewer.
    nm -D --defined-only "$prefix/lib/libtierce.so" | awk '$2 == "T" { print $3 }' | sort >"$work/exported"
    grep -v '^ \*' "$prefix/include/tierce.h" | grep -oE '^[a-z].*\btierce_[a-z_]+\(' |
        grep -oE 'tierce_[a-z_]+\($' | tr -d '(' | sort >"$work/declared"
    [ "$(wc -l <"$work/declared")" -gt 20 ] && diff "$work/declared" "$work/exported"
}
if have readelf; then step 'soname' soname; else skip 'soname' readelf; fi
if have nm; then step 'exported names are those of the header' exports; else skip 'exported names' nm; fi

static_libs=$(sed -n 's/^Libs.private: //p' "$prefix/lib/pkgconfig/tierce.pc")
compile() { # compiler, source, shared|static, further flags...
    local compiler=$1 source=$2 kind=$3 out
    shift 3
    out=$work/$(basename "${source%.*}").$compiler.$kind
    local libs="-L$prefix/lib -ltierce"
    [ "$kind" = static ] && libs="$prefix/lib/libtierce.a $static_libs"
    # shellcheck disable=SC2086 # Lists of words.
    "$compiler" "$@" $warnings -I"$prefix/include" "$source" -o "$out" $libs -lpthread &&
        { [ "$kind" = shared ] || ! readelf -d "$out" | grep -F 'libtierce'; }
}

for compiler in gcc clang; do
    if ! have $compiler; then skip "C by $compiler" $compiler; continue; fi
    for kind in shared static; do
        for source in cache freshness verbs guard threads interop; do
            step "$compiler $kind: $source.c compiles" \
                compile $compiler "$here/$source.c" $kind -std=c99 -O1 -g
        done
        step "$compiler $kind: cache" run "$work/cache.$compiler.$kind"
        step "$compiler $kind: freshness" run "$work/freshness.$compiler.$kind"
        step "$compiler $kind: verbs" run "$work/verbs.$compiler.$kind"
        step "$compiler $kind: guard" run "$work/guard.$compiler.$kind"
        step "$compiler $kind: threads" run "$work/threads.$compiler.$kind"
        interop() { # Writes, reads, deletes and misses, each in a process of its own.
            local program=$work/interop.$compiler.$kind store
            store=$(mktemp -d -p "$work")
            export LD_LIBRARY_PATH=$prefix/lib
            export TIERCE_INTEROP_CONFIG='shared.max_bytes: 16MiB'
            "$program" set "$store" key 'a value' &&
                [ "$("$program" get "$store" key)" = 'a value' ] &&
                "$program" delete "$store" key &&
                { "$program" get "$store" key; [ $? = 3 ]; }
        }
        step "$compiler $kind: interop" interop
    done
done

for compiler in g++ clang++; do
    if ! have $compiler; then skip "C++ by $compiler" $compiler; continue; fi
    for kind in shared static; do
        step "$compiler $kind: cpp.cpp compiles" \
            compile $compiler "$here/cpp.cpp" $kind -std=c++17 -O1 -g
        step "$compiler $kind: cpp" run "$work/cpp.$compiler.$kind"
    done
    bare() { # The wrapper needs neither exceptions nor type information.
        echo '#include "tierce.hpp"' >"$work/bare.cpp" &&
            # shellcheck disable=SC2086
            "$compiler" -std=c++17 -fno-exceptions -fno-rtti -fsyntax-only $warnings \
            -I"$prefix/include" "$work/bare.cpp" &&
            "$compiler" -std=c++11 -fsyntax-only $warnings -x c++ -include tierce.h \
                -I"$prefix/include" /dev/null
    }
    step "$compiler: headers alone" bare
done

if have pkg-config; then
    consumer() {
        local flags
        flags=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs tierce) &&
            # shellcheck disable=SC2086
            cc -std=c99 "$here/cache.c" -o "$work/consumer" $flags && run "$work/consumer"
    }
    step 'pkg-config' consumer
else
    skip 'pkg-config' pkg-config
fi

# The caller's side of the interface and every allocation of the library, by the sanitizers.
sanitized() {
    run env ASAN_OPTIONS=detect_leaks=1 "$work/cache.gcc.shared"
}
if have gcc && echo 'int main(void){return 0;}' >"$work/empty.c" &&
    gcc -fsanitize=address,undefined "$work/empty.c" -o "$work/empty" 2>/dev/null && "$work/empty"; then
    step 'gcc sanitizers: cache.c compiles' compile gcc "$here/cache.c" shared -std=c99 -O1 -g \
        -fsanitize=address,undefined -fno-sanitize-recover=all
    step 'gcc sanitizers: cache' sanitized
else
    skip 'sanitizers' libasan
fi
if have valgrind; then
    step 'valgrind: cache' run valgrind --quiet --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite "$work/cache.clang.shared"
else
    skip 'valgrind' valgrind
fi
