#!/usr/bin/env bash
# The tests of all features, and before them what it takes to build them on Debian or Ubuntu.
# Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

# A sourced script sees the arguments of its caller, unless it gets some of its own.
. examples/setup.sh pkg-config libtss2-dev
exec cargo test --features full "$@"
