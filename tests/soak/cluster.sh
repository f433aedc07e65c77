#!/bin/sh
# Twenty thousand nights of ensembles, or as many as asked: tests/soak/cluster.sh [COUNT] [FIRST]
set -eu
cd "$(dirname "$0")/../.."
RINGKEEPER_SEEDS="${1:-20000}" RINGKEEPER_FIRST="${2:-1}" \
    exec cargo test --release --locked --test cluster_simulation no_seed_breaks_a_promise -- --nocapture
