#!/usr/bin/env bash
# Runs dist/build.sh on two clones of HEAD in different directories, and compares every file. Takes two release builds.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/var/tmp}/fve-reproduce.XXXXXX")
trap 'rm -rf "$work"' EXIT
. dist/tools.sh
for clone in "$work/first" "$work/the-second-in-another-directory"; do
    git clone --quiet . "$clone"
    mkdir "$clone/target"
    [ ! -d "$tools" ] || ln -s "$tools" "$clone/target/tools"
    "$clone/dist/build.sh" "$clone/out" >/dev/null
done
diff -r "$work/first/out" "$work/the-second-in-another-directory/out"
echo "both builds are equal:"
cat "$work/first/out/SHA256SUMS"
