#!/usr/bin/env bash
# Other people's clients against ringkeeper: kazoo's own tests, the C, Java and Curator clients next to Apache, and the Rust crate
# zookeeper-client. Takes the binary from RINGKEEPER_BIN (default target/release/ringkeeper, which is built here). Two minutes.
#
# Every part runs, even after a failure; the last line is for machines, and a part that ends without a verdict counts as a failure:
#   interop: kazoo N of M passed, clients K passed, zookeeper-client L passed, F failed
set -uo pipefail
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# part NAME PATTERN COMMAND...: runs it and takes the two numbers of PATTERN, passed and failed, out of its last matching line.
part() {
    local name=$1 pattern=$2 code=0 verdict
    shift 2
    printf '\n--- %s\n' "$name"
    "$@" 2>&1 | tee "$log" || code=$?
    verdict=$(grep -E "$pattern" "$log" | tail -n 1)
    passed_here=0 failed_here=0
    [[ $verdict =~ $pattern ]] && passed_here=${BASH_REMATCH[1]} failed_here=${BASH_REMATCH[2]}
    if [ "$failed_here" -eq 0 ] && { [ "$passed_here" -eq 0 ] || [ "$code" -ne 0 ]; }; then
        echo "$name: exit code $code, verdict '${verdict:-none}'"
        failed_here=1
    fi
    failed=$((failed + failed_here))
}

part zookeeper-client '^test result: .* ([0-9]+) passed; ([0-9]+) failed' cargo test --profile "${RINGKEEPER_PROFILE:-release}" --locked --test server
crate=$passed_here
if [ -z "${RINGKEEPER_BIN:-}" ]; then
    export RINGKEEPER_BIN=$PWD/target/release/ringkeeper
    cargo build --release --locked || exit 1
fi
part kazoo '^kazoo: ([0-9]+) passed, ([0-9]+) failed' python3 tests/interop/kazoo_suite.py
kazoo=$passed_here kazoo_of=$((passed_here + failed_here))
part clients '^clients: ([0-9]+) passed, ([0-9]+) failed' python3 tests/interop/clients.py
clients=$passed_here

printf '\ninterop: kazoo %d of %d passed, clients %d passed, zookeeper-client %d passed, %d failed\n' \
    "$kazoo" "$kazoo_of" "$clients" "$crate" "$failed"
[ "$failed" -eq 0 ]
