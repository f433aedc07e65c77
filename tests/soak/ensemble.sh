#!/usr/bin/env bash
# Real ensembles for longer: every mix of ringkeeper and Apache, an hour of random faults from a new seed.
#
#   tests/soak/ensemble.sh [--seconds N] [--seed N] [--znodes N]
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked --bins --example recorder
RINGKEEPER_BIN=$PWD/target/release/ringkeeper exec bash tests/ensemble/run.sh --seconds 3600 --seed random --znodes 1000000 "$@"
