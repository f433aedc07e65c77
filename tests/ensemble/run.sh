#!/usr/bin/env bash
# The ensemble of real processes: basics, sessions, random faults and a rolling replacement, over the mixes of ringkeeper and Apache.
#
#   tests/ensemble/run.sh                    every mix: about half an hour
#   tests/ensemble/run.sh --matrix short     one ensemble of each sort: five minutes and the seconds of faults
#   tests/ensemble/run.sh --seconds 300      so many seconds of faults on three ringkeepers (default 300; mixed ensembles get a fifth)
#   tests/ensemble/run.sh --matrix apache    the same harness with Apache alone: what the harness itself is worth
#   tests/ensemble/run.sh --parts faults     only these parts (basics, faults, rolling; several with commas)
#   tests/ensemble/run.sh --seed N           faults from this seed (default 20260725); `random` draws one
#   tests/ensemble/run.sh --znodes N         for the rolling replacement (default 20000)
#
# Takes the binary from RINGKEEPER_BIN (default target/release/ringkeeper), and the recorder that belongs to it
# (cargo build --example recorder). Every part runs, even after a failure; the last line tells of those that were asked for:
#   ensemble: basics N passed, faults M passed, rolling K passed, F failed
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=300 matrix=all seed=20260725 znodes=20000 parts=basics,faults,rolling
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 ;;
    --matrix) matrix=$2 ;;
    --seed) seed=$2 ;;
    --znodes) znodes=$2 ;;
    --parts) parts=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
[ "$seed" != random ] || seed=$RANDOM$RANDOM
[[ $parts =~ ^(basics|faults|rolling)(,(basics|faults|rolling))*$ ]] || { echo "--parts basics, faults, rolling" >&2; exit 2; }
case $matrix in all | short | apache) ;; *) echo "--matrix all, short or apache" >&2; exit 2 ;; esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
declare -A passed=()
failed=0
failures=()

# part NAME PROGRAM ARGUMENTS...: passed only if it returns 0 and gives its verdict line.
part() {
    local name=$1 program=$2 code=0
    [[ ,$parts, == *,$name,* ]] || return 0
    shift 2
    printf '\n--- %s %s\n' "$program" "$*"
    python3 "tests/ensemble/$program.py" "$@" 2>&1 | tee "$log" || code=$?
    if [ "$code" -eq 0 ] && grep -q "^$program: .*;\|^$program: .* passed" "$log"; then
        passed[$name]=$((${passed[$name]:-0} + 1))
    else
        failed=$((failed + 1))
        failures+=("$program $*")
    fi
}

tests/lib/apache.sh debian venv jars39 || exit 1
python3 tests/ensemble/judge_test.py || { failed=1; failures+=("judge_test"); }
if [ "$matrix" = apache ]; then
    part basics basic a38,a38,a38 --observers a39
    part basics basic a38,a39,a39 --observers a38
    part basics sessions a39,a38,a39 --observers a38
    part faults faults a38,a39,a38 --seconds "$seconds" --seed "$seed"
    part rolling rolling --start a38,a38,a38 --to a39 --how network --znodes "$znodes"
    part rolling rolling --start a38,a38,a38 --to a39 --how convert --znodes "$znodes"
elif [ "$matrix" = short ]; then
    part basics basic rk,rk,rk --observers rk
    part basics basic a38,a39,rk --observers a38 --leader rk
    part basics basic rk,rk,a39 --observers rk --leader a39
    part basics learners --apache a39 --only diff_from_disk --only an_observer_without_a_journal \
        --only observers_and_masters_of_every_kind
    part basics sessions rk,rk,a38 --observers rk --leader a38
    part faults faults rk,rk,rk --seconds "$seconds" --seed "$seed"
    part faults faults rk,rk,a38 --observers rk --seconds $((seconds / 5)) --seed "$seed"
    part faults faults a39,a39,rk --observers a38 --seconds $((seconds / 5)) --seed "$seed"
    part rolling rolling --start a38,a38,a38 --to rk --how network --znodes "$znodes"
    part rolling rolling --start a39,a39,a39 --to rk --how convert --znodes "$znodes"
else
    part basics basic rk,rk,rk --observers rk
    # 2+1 and 1+2 with each version, each side leading, an observer of the other kind.
    for apache in a38 a39; do
        part basics basic "$apache,$apache,rk" --observers rk --leader rk
        part basics basic "$apache,$apache,rk" --observers "$apache" --leader "$apache"
        part basics basic "rk,rk,$apache" --observers "$apache" --leader rk
        part basics basic "rk,rk,$apache" --observers rk --leader "$apache"
        part basics learners --apache "$apache"
        part basics sessions "rk,rk,$apache" --observers "$apache" --leader rk
        part basics sessions "$apache,$apache,rk" --observers rk --leader "$apache"
    done
    part basics sessions rk,rk,rk --observers rk
    part faults faults rk,rk,rk --seconds "$seconds" --seed "$seed"
    part faults faults rk,rk,a38 --observers rk --seconds $((seconds / 5)) --seed "$seed"
    part faults faults a39,a39,rk --observers a38 --seconds $((seconds / 5)) --seed "$seed"
    part faults faults rk,rk,a39 --observers rk --local --seconds $((seconds / 5)) --seed "$seed"
    part rolling rolling --start a38,a38,a38 --to rk --how network --znodes "$znodes"
    part rolling rolling --start a38,a38,a38 --to rk --how convert --znodes "$znodes"
    part rolling rolling --start a39,a39,a39 --to rk --how network --znodes "$znodes"
fi

for failure in "${failures[@]}"; do echo "FAILED: $failure"; done
printf '\nensemble: '
for name in ${parts//,/ }; do printf '%s %d passed, ' "$name" "${passed[$name]:-0}"; done
printf '%d failed\n' "$failed"
[ "$failed" -eq 0 ]
