#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests, and lint beside them; exit code 0 if all of it passed.
#   tests/run.sh WORKERS LINT [pytest's arguments]
# First what can run beside others, a file to a worker: many a file is a story, told in its order.
# Then what has the machine for itself (marked `alone`, tests/exclusive.py).
set -u
cd "$(dirname "$0")/.."
workers=$1 lint=$2
shift 2
mkdir -p build

flock --shared build/tests.lock sh -c "$lint" >build/lint.log 2>&1 &
lint=$!
.venv/bin/pytest -n "$workers" --dist loadfile --no-loadscope-reorder -m "not soak and not alone" "$@"
together=$?
.venv/bin/pytest -m "alone and not soak" "$@"
alone=$?

code=0
if wait "$lint"; then
    echo "lint: passed"
else
    cat build/lint.log
    echo "lint: FAILED (above)"
    code=1
fi
# 5: what was asked for has no test of that kind
[ "$together $alone" = "5 5" ] && code=5
for part in "beside each other: $together" "alone: $alone"; do
    case $part in
        *": 0" | *": 5") ;;
        *) echo "tests that run ${part%: *}: FAILED (above)"; code=1 ;;
    esac
done
exit "$code"
