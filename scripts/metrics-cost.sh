#!/usr/bin/env bash
# What counting and timing cost a hit of L1, in instructions: the same program built with and without,
# under callgrind; two lengths of the loop, so that what is around it falls out. Fails where that is a
# larger share of a hit that is not counted than told.
#
#   scripts/metrics-cost.sh [PERCENT]
set -euo pipefail
cd "$(dirname "$0")/.."
most=${1:-2.0}

instructions() { # program, tiering, reads
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$1" "$3" "$2" 2>&1 |
        sed -n 's/.*Collected : //p'
}
per_hit() { # program, tiering
    local few many
    few=$(instructions "$1" "$2" 20000)
    many=$(instructions "$1" "$2" 120000)
    awk -v few="$few" -v many="$many" 'BEGIN { printf "%.1f", (many - few) / 100000 }'
}

build() { # folder of the copy, flags
    RUSTFLAGS="$2" cargo build --release --quiet -p tierce --example hit_cost
    mkdir -p "$1"
    cp target/release/examples/hit_cost "$1/hit_cost"
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build "$folder/counted" ""
build "$folder/uncounted" "--cfg tierce_uncounted"
status=0
for tiering in L1 L1L2; do
    with=$(per_hit "$folder/counted/hit_cost" "$tiering")
    without=$(per_hit "$folder/uncounted/hit_cost" "$tiering")
    awk -v with="$with" -v without="$without" -v tiering="$tiering" -v most="$most" 'BEGIN {
        share = 100 * (with - without) / without
        printf "%-5s %7.1f instructions a hit, %7.1f uncounted: %+.1f %%\n", tiering, with, without, share
        exit share > most
    }' || status=1
done
exit $status
