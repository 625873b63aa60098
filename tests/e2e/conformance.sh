#!/bin/sh
# The conformance suite: the emulated device accepts and finishes every program; where NVIDIA's assembler
# is installed, it accepts them too, so that a GPU's driver will; and what tools/gpu-day.sh says where
# there is no GPU.
. "$(dirname "$0")/common.sh"
"$build/conformance" >"$work/out" 2>&1 && ok || bad "conformance: $(grep -v '^$' "$work/out" | head -5)"
if command -v nvidia-smi >/dev/null; then
    grep -q 'compared with' "$work/out" && ok || bad "no comparison with the GPU that is here"
else
    grep -q 'not run on a GPU$' "$work/out" && ok || bad "the last line is: $(tail -1 "$work/out")"
fi
"$build/conformance" --self >"$work/self" 2>&1 && grep -q ' 0 differ$' "$work/self" && ok || bad "--self: $(tail -1 "$work/self")"
"$build/conformance" --write "$work" && ok || bad "--write"
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
if command -v ptxas >/dev/null; then
    for sm in 80 90 100; do
        ptxas -arch=sm_$sm "$work/sm_$sm.ptx" -o "$work/cubin" >"$work/log" 2>&1 && ok ||
            bad "ptxas refuses a program for sm_$sm: $(head -3 "$work/log")"
    done
else
    echo "skipped what ptxas says of the programs: it is not installed"
fi
code() { # EXPECTED COMMAND...
    expected=$1
    shift
    status=0
    "$@" >/dev/null 2>&1 || status=$?
    [ "$status" = "$expected" ] && ok || bad "$*: status $status, not $expected"
}
code 2 "$build/conformance" --what
code 3 "$build/conformance" --sm 70
code 2 sh "$root/tools/gpu-day.sh" --help
command -v nvidia-smi >/dev/null || code 3 sh "$root/tools/gpu-day.sh" "$work/results"
finish
