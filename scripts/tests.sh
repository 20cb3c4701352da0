#!/bin/sh
# Runs the tests: scripts/tests.sh "PYTHON -m" [PYTEST ARGUMENTS]; "coverage run -m" for PYTHON -m, to see what they run.
# Without arguments, those that need not be in time run beside those that do, at the lowest priority: the latter mostly wait.
set -u
run=$1
shift
# shellcheck disable=SC2086 # $run is a command and its first words
if [ $# -gt 0 ]; then
    exec $run pytest --durations=12 "$@" </dev/null
fi
log=$(mktemp)
idle="nice -n 19"
command -v chrt >/dev/null && idle="chrt --idle 0 $idle"  # whoever else wakes up runs at once
# shellcheck disable=SC2086
$idle $run pytest --durations=12 -m offline -o timeout=600 -p no:cacheprovider </dev/null >"$log" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null; rm -f "$log"' EXIT INT TERM
# shellcheck disable=SC2086
$run pytest --durations=12 -m "not offline" </dev/null
keeping_time=$?
wait "$beside"
computing=$?
cat "$log"
[ "$keeping_time" -eq 0 ] && [ "$computing" -eq 0 ]
