#!/usr/bin/env bash
# The tests, and before them what it takes to build them on Debian or Ubuntu. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

# A sourced script sees the arguments of its caller.
arguments=("$@")
set --
. examples/setup.sh
exec cargo test "${arguments[@]}"
