#!/usr/bin/env bash
# Twenty thousand nights of ensembles, or as many as asked, as many at a time as there are CPUs.
#
#   tests/soak/cluster.sh [COUNT] [FIRST]
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-20000} first=${2:-1} parts=$(nproc)
cargo test --release --locked --test cluster_simulation --no-run
jobs=()
for ((part = 0; part < parts; part++)); do
    # Bounds of equal parts, without a seed twice or not at all.
    from=$((first + count * part / parts)) to=$((first + count * (part + 1) / parts))
    RINGKEEPER_SEEDS=$((to - from)) RINGKEEPER_FIRST=$from \
        cargo test --release --locked --test cluster_simulation no_seed_breaks_a_promise -- --nocapture &
    jobs+=($!)
done
code=0
for job in "${jobs[@]}"; do wait "$job" || code=$?; done
exit "$code"
