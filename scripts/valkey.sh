#!/usr/bin/env bash
# Runs a command with Valkey in the place of Redis: what starts `redis-server` gets `valkey-server`.
#
#   scripts/valkey.sh cargo test -p tierce-tests --test hosts
#
# Takes the valkey-server that is installed, or else Debian's backport, unpacked into target/valkey:
# nothing is installed, and no right is needed for it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/target/valkey

fetch() {
    local lists=$folder/apt
    mkdir -p "$lists/partial" "$folder/tree"
    # From where this machine has its packages.
    local site
    site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2 == "bookworm" { print $1; exit }')
    printf 'deb [signed-by=%s] %s bookworm-backports main\n' \
        /usr/share/keyrings/debian-archive-keyring.gpg "$site" >"$folder/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$lists" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$folder" && "${apt[@]}" download valkey-server valkey-tools)
    for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/tree"; done
}

if command -v valkey-server >/dev/null 2>&1; then
    from=$(dirname "$(command -v valkey-server)")
else
    from=$folder/tree/usr/bin
    [ -x "$from/valkey-server" ] || fetch
fi
mkdir -p "$folder/bin"
for program in server cli sentinel; do
    # valkey-server is a Sentinel where it is called by that name.
    ln -sf "$from/valkey-$program" "$folder/bin/redis-$program"
done
export PATH="$folder/bin:$PATH"
redis-server --version | grep -qi valkey || { echo "valkey.sh: that is no Valkey" >&2; exit 1; }
exec "$@"
