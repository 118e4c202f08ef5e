#!/bin/sh
# Installs Google's clients, by their registries, into a folder that is kept: a second run finds all there.
#
# Usage: e2e/clients/setup.sh FOLDER [python | node | rust]...; all of them if none is named.
# Then: FOLDER/python/bin/python, FOLDER/node/story.mjs and FOLDER/rust/debug/tombolo-e2e-client.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- python node rust

# Whether what was installed is what is wanted now: fresh NAME FILE
fresh() { cmp -s "$2" "$folder/$1.installed"; }

python() {
    wanted=$here/python/requirements.txt
    fresh python "$wanted" && return
    rm -rf "$folder/python"
    python3 -m venv "$folder/python"
    "$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        -r "$wanted"
    cp "$wanted" "$folder/python.installed"
}

node() {
    wanted=$here/node/package-lock.json
    mkdir -p "$folder/node"
    # A module finds its packages beside itself.
    cp "$here/node/package.json" "$here/node/package-lock.json" "$here/node/story.mjs" "$folder/node/"
    fresh node "$wanted" && return
    (cd "$folder/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel error)
    cp "$wanted" "$folder/node.installed"
}

rust() {
    # cargo knows by itself what is fresh.
    CARGO_TARGET_DIR=$folder/rust cargo build --quiet --locked --manifest-path "$here/rust/Cargo.toml"
}

# Two at a time would disturb each other.
exec 9>"$folder/lock"
flock 9
for client; do
    case $client in
    python | node | rust) "$client" >&2 9>&- ;;
    *) echo "setup.sh: $client is no client" >&2; exit 2 ;;
    esac
done
