#!/usr/bin/env bash
# Two hundred kills under load; the short form is a step of tests/run.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked
exec bash tests/crash/run.sh --rounds 200 "$@"
