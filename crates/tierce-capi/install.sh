#!/usr/bin/env bash
# Builds the C library and installs it: headers, libtierce.so.VERSION with its links, libtierce.a,
# tierce.pc. All paths in tierce.pc are relative to it, so PREFIX may be moved afterwards.
#
#   crates/tierce-capi/install.sh PREFIX [CARGO PROFILE: release]
#
# CARGO and CARGO_TARGET_DIR are respected.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
prefix=$1
profile=${2:-release}
root=$(cd "$(dirname "$0")/../.." && pwd)
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-$root/target}

# One build gives both libraries and the list of what a static program must link; Cargo repeats the
# note when there is nothing to build.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cd "$root"
"$cargo" rustc --quiet --lib -p tierce-capi --profile "$profile" --color never \
    -- --print native-static-libs 2>"$log" || { cat "$log" >&2; exit 1; }
static_libs=$(sed -n 's/^note: native-static-libs: //p' "$log" | tail -1)
[ -n "$static_libs" ] || { echo "install.sh: no list of native libraries in:" >&2; cat "$log" >&2; exit 1; }

built=$target/$profile
[ "$profile" = dev ] && built=$target/debug
version=$("$cargo" pkgid -p tierce-capi | sed 's/.*[@#]//')
major=${version%%.*}

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
install -m 644 include/tierce.h include/tierce.hpp "$prefix/include/"
install -m 755 "$built/libtierce_c.so" "$prefix/lib/libtierce.so.$version"
ln -sf "libtierce.so.$version" "$prefix/lib/libtierce.so.$major"
ln -sf "libtierce.so.$major" "$prefix/lib/libtierce.so"
install -m 644 "$built/libtierce_c.a" "$prefix/lib/libtierce.a"
cat >"$prefix/lib/pkgconfig/tierce.pc" <<PC
prefix=\${pcfiledir}/../..
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: tierce
Description: Embedded tiered cache: memory, a store shared by all processes of a host, Redis
Version: $version
Cflags: -I\${includedir}
Libs: -L\${libdir} -ltierce
Libs.private: $static_libs
PC
