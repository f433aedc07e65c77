#!/usr/bin/env bash
# New seeds for what tests/run does with fixed ones: random request sequences against Apache, and damaged inputs.
#   tests/soak/inputs.sh [SEQUENCES] [SECONDS PER FUZZ TARGET]
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked
python3 tests/parity/run.py --sequences "${1:-20000}"
RINGKEEPER_FUZZ_SECONDS=${2:-300} cargo test --release --locked --test fuzz -- --nocapture
