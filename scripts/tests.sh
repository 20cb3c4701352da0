#!/bin/sh
# Runs the tests under coverage: scripts/tests.sh COVERAGE [PYTEST ARGUMENTS].
# Without arguments, those that only compute run beside those that keep time, at the lowest priority: the latter mostly wait.
set -u
coverage=$1
shift
if [ $# -gt 0 ]; then
    exec "$coverage" run -m pytest --durations=12 "$@" </dev/null
fi
log=$(mktemp)
nice -n 19 "$coverage" run -m pytest --durations=12 -m offline -o timeout=600 -p no:cacheprovider </dev/null >"$log" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null; rm -f "$log"' EXIT INT TERM
"$coverage" run -m pytest --durations=12 -m "not offline" </dev/null
keeping_time=$?
wait "$beside"
computing=$?
cat "$log"
[ "$keeping_time" -eq 0 ] && [ "$computing" -eq 0 ]
