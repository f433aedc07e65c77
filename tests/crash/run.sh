#!/usr/bin/env bash
# kill -9 under load, restart, look for every acknowledged write.  tests/crash/run.sh [--rounds 20] [--seed N]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/crash/crash.py "$@"
