#!/usr/bin/env bash
# Runs the tests with all features, and first installs the packages for building them on Debian or
# Ubuntu. Arguments are passed to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."

# Arguments are required: a sourced script without any would see those of this script.
. examples/setup.sh pkg-config libtss2-dev
exec cargo test --features full,testing "$@"
