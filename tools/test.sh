#!/bin/sh
# Builds everything and runs the whole test suite.
#
#   tools/test.sh              every proof in a sampled size
#   tools/test.sh --long       every proof in full; the fuzzers alone take 20 minutes
set -eu
cd "$(dirname "$0")/.."
. ./tools/packages.sh

tier=sampled
for argument in "$@"; do
    case $argument in
    --long)
        tier=full
        export SINTER_LONG=1
        ;;
    *)
        echo "usage: tools/test.sh [--long]" >&2
        exit 2
        ;;
    esac
done
directory=${BUILD_DIR:-build}

# For the fuzzers and the layout check; all else is what a build needs.
require clang-format clang-19 libfuzzer-19-dev libclang-rt-19-dev
start=$(date +%s)
echo "building in $directory"
build "$directory"
built=$(date +%s)

status=0
log=$directory/test.log
ctest --test-dir "$directory" --output-on-failure -j "$(nproc)" >"$log" 2>&1 || status=$?
grep -v '^ *Start ' "$log" || true
ended=$(date +%s)

echo
skipped=$(grep -c '\*\*\*Skipped' "$log" || true)
failed=$(grep '\*\*\*' "$log" | grep -vc '\*\*\*Skipped' || true)
passed=$(grep -cE '  +Passed ' "$log" || true)
# what was skipped, and why: each test that skips says so in a line of its own
grep '^skipped' "$directory/Testing/Temporary/LastTest.log" | sort -u || true
echo "tier $tier: build $((built - start)) s, tests $((ended - built)) s"
echo "$passed passed, $failed failed, $skipped skipped"
if [ "$status" != 0 ] || [ "$passed" = 0 ]; then
    echo "FAILED; the log is $log"
    exit 1
fi
echo "PASSED"
