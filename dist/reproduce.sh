#!/usr/bin/env bash
# Runs dist/build.sh on a clone of HEAD in another directory, and compares every file with the directory $1, which
# dist/build.sh made of the same commit. Without $1, it makes that first, in a second clone.
set -euo pipefail
first=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/var/tmp}/fve-reproduce.XXXXXX")
trap 'rm -rf "$work"' EXIT
. dist/tools.sh
build() {
    git clone --quiet . "$work/$1"
    mkdir "$work/$1/target"
    [ ! -d "$tools" ] || ln -s "$tools" "$work/$1/target/tools"
    "$work/$1/dist/build.sh" "$work/$1/out" >/dev/null
}
if [ -z "$first" ]; then
    build first
    first=$work/first/out
fi
build the-second-in-another-directory
diff -r "$first" "$work/the-second-in-another-directory/out"
echo "both builds are equal:"
cat "$first/SHA256SUMS"
