# Installs the programs that make packages, in fixed versions, below target/tools. Source this script.
tools=$PWD/target/tools
export PATH="$tools/bin:$PATH"
# Unoptimised, since compiling them takes longer than running them. Prefix and target directory are shared.
install_tool() {
    [ -x "$tools/bin/$1" ] ||
        CARGO_TARGET_DIR="$tools/build" CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 RUSTFLAGS='' \
            cargo install --quiet --debug --locked --root "$tools" "$1@$2"
}
