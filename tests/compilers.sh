#!/bin/sh
# gcc and clang both build the whole tree with warnings as errors. Each sees what the other does not.
# Minutes, so it runs in the long tier only (SINTER_LONG=1); 77 tells CTest that it was skipped.
set -eu
[ "${SINTER_LONG:-0}" = 1 ] || { echo "skipped: a part of the long tier"; exit 77; }
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
for compiler in gcc clang-19; do
    command -v $compiler >/dev/null || { echo "FAIL: no $compiler"; status=1; continue; }
    if cmake -B "$work/$compiler" -G Ninja -S "$root" -DCMAKE_C_COMPILER=$compiler >"$work/log" 2>&1 &&
        ninja -C "$work/$compiler" >"$work/log" 2>&1; then
        echo "$compiler builds it"
    else
        echo "FAIL: $compiler"
        grep -E 'error|FAILED' "$work/log" | head -40
        status=1
    fi
done
exit $status
