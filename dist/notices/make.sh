#!/usr/bin/env bash
# Collects the licence texts of all crates that are part of the program, in THIRD-PARTY-NOTICES, with cargo-about. To be run
# when Cargo.lock changes. Takes minutes: cargo-about compares every text with all known licences.
# With the argument --check, only makes sure that the file names all crates of the program, which takes a second.
set -euo pipefail
cd "$(dirname "$0")/../.."

notices=dist/notices/THIRD-PARTY-NOTICES
crates() {
    for target in x86_64 aarch64; do
        cargo tree --locked --features full --edges normal,no-proc-macro --target "$target-unknown-linux-gnu" --prefix none --format '{p}'
    done | awk '{ sub(/^v/, "", $2); print $1, $2 }' | grep -v '^fve ' | sort -u
}
if [ "${1:-}" != --check ]; then
    . dist/tools.sh
    command -v cargo-about >/dev/null || cargo install --quiet --locked --root "$tools" cargo-about@0.9.3 --features cli
    cargo about generate --features full --offline --locked -c dist/notices/about.toml dist/notices/about.hbs -o "$notices"
fi
# A line with a crate is "    NAME VERSION". The file also names macros, which are not part of the program.
missing=$(comm -23 <(crates) <(sed -nE 's/^    ([A-Za-z0-9_-]+ [0-9]+\.[0-9][^ ]*)$/\1/p' "$notices" | sort -u))
if [ -n "$missing" ]; then
    printf '%s lacks these crates: run dist/notices/make.sh\n%s\n' "$notices" "$missing" >&2
    exit 1
fi
