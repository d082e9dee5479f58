#!/usr/bin/env bash
# The tests, and before them what it takes to build them on Debian or Ubuntu. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/setup.sh
exec cargo test "$@"
