#!/usr/bin/env bash
# Makes what a release consists of, in the directory $1 (target/dist if it is not given): packages for Debian and for
# Fedora, man pages and completions, a list of the dependencies (SBOM, CycloneDX) and checksums.
# $2 is a compiled program, if the packages are only to be tried; without it, the script compiles the one of the release.
# Two runs with the same commit, compiler and C libraries give the same bytes; dist/reproduce.sh tries it.
# On Debian or Ubuntu, it first installs missing packages.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "${1:-target/dist}")
. examples/setup.sh gcc pkg-config libtss2-dev dpkg-dev binutils python3
. dist/tools.sh
install_tool cargo-deb 3.8.0
install_tool cargo-generate-rpm 0.21.1
install_tool cargo-cyclonedx 0.5.9

# The time of the commit is that of all files. No path of this machine gets into the program: neither from Rust nor from C.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
export RUSTFLAGS="--remap-path-prefix=$PWD=/usr/src/fve --remap-path-prefix=$cargo_home=/usr/src/cargo"
export CFLAGS="-ffile-prefix-map=$PWD=/usr/src/fve -ffile-prefix-map=$cargo_home=/usr/src/cargo"
export CARGO_TARGET_DIR=target/packages CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=symbols
umask 022

fve=$CARGO_TARGET_DIR/release/fve
if [ -n "${2:-}" ]; then
    install -D --strip "$2" "$fve"
else
    cargo build --release --locked --quiet --features full
fi
# The program must start where libtss2 is not installed: src/tpm/libtss2.rs loads it.
if objdump -p "$fve" | grep 'NEEDED.*libtss2'; then
    echo "fve depends on libtss2: src/tpm/libtss2.rs lacks a function" >&2
    exit 1
fi

# What the packages contain beside the program: `assets` in Cargo.toml reads it here.
stage=$CARGO_TARGET_DIR/stage
rm -rf "$stage"
mkdir -p "$stage/doc"
"$fve" man --to "$stage/man"
for section in 1 8; do
    mkdir -p "$stage/man$section"
    find "$stage/man" -name "*.$section" -exec mv -t "$stage/man$section" {} +
    gzip -9n "$stage/man$section"/*
done
rmdir "$stage/man"
# The package fve-compat has the page fve-compat(1) of the package fve under the names of the programs.
mkdir "$stage/compat"
for name in dislocker dislocker-fuse dislocker-file dislocker-find dislocker-metadata dislocker-bek bdemount bdeinfo; do
    echo '.so man1/fve-compat.1' | gzip -9n >"$stage/compat/$name.1.gz"
done
"$fve" completions bash >"$stage/fve"
"$fve" completions zsh >"$stage/_fve"
"$fve" completions fish >"$stage/fve.fish"
cp CHANGELOG.md "$stage/doc/changelog"
cp dist/notices/THIRD-PARTY-NOTICES "$stage/doc"
gzip -9n "$stage/doc"/*
# The times of files in a checkout are those of the checkout; an rpm keeps them.
cp -r dist "$stage/dist"
find "$stage" -exec touch --date "@$SOURCE_DATE_EPOCH" {} +

rm -rf "$out"
mkdir -p "$out"
for variant in '' network-unlock compat; do
    cargo deb --quiet --no-build --locked ${variant:+--variant "$variant"} --output "$out/"
    python3 dist/rpm/metadata.py $variant >"$CARGO_TARGET_DIR/rpm.toml"
    cargo generate-rpm --metadata-overwrite "$CARGO_TARGET_DIR/rpm.toml" ${variant:+--variant "$variant"} \
        --target-dir "$CARGO_TARGET_DIR" --source-date "$SOURCE_DATE_EPOCH" --auto-req builtin --output "$out/"
done
cargo cyclonedx --quiet --features full --format json --spec-version 1.5 --no-build-deps --override-filename fve.cdx
# It names the directory of the sources.
sed -E 's|path\+file://[^"# ]*#(fve@)?|path+file:///usr/src/fve#|g' fve.cdx.json >"$out/fve.cdx.json"
rm fve.cdx.json
cp "$fve" "$out/fve-$(uname -m)-linux-gnu"
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
