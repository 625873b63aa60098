#!/bin/sh
# Fuzzes every parser of foreign bytes (model text, IR text, kernel text, safetensors, PTX, ranks' messages), starting from
# the files in the tree, under the address and undefined-behaviour sanitizers.
#
#   tools/fuzz.sh [SECONDS]    seconds for each; 6 without, 300 when SINTER_LONG=1
#
# The seed is fixed and printed; FUZZ_SEED gives another. What clang would build is in build/fuzz, or
# FUZZ_DIR. Exit status 1: a crash, and the path of the input that makes it; 77: no clang-19 or not
# its runtime, which CTest takes for a skip.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-6}
[ "$#" = 0 ] && [ "${SINTER_LONG:-0}" = 1 ] && seconds=300
case $seconds in
*[!0-9]* | '' | 0)
    echo "usage: tools/fuzz.sh [SECONDS]" >&2
    exit 2
    ;;
esac
seed=${FUZZ_SEED:-1}
directory=${FUZZ_DIR:-build/fuzz}
targets="fuzz_source fuzz_ir fuzz_safetensors fuzz_kernel fuzz_ptx fuzz_message"

command -v clang-19 >/dev/null || {
    echo "skipped: no clang-19"
    exit 77
}
runtime=$(clang-19 --print-file-name=libclang_rt.fuzzer-x86_64.a)
[ -f "$runtime" ] || runtime=$(clang-19 -print-runtime-dir)/libclang_rt.fuzzer.a
[ -f "$runtime" ] || {
    echo "skipped: clang-19 lacks libFuzzer (Debian: libfuzzer-19-dev and libclang-rt-19-dev)"
    exit 77
}

mkdir -p "$directory"
# shellcheck disable=SC2086 # a list of targets
if ! { cmake -B "$directory" -G Ninja -S . -DFUZZ=ON -DCMAKE_C_COMPILER=clang-19 &&
    ninja -C "$directory" -j2 $targets; } >"$directory/build.log" 2>&1; then
    tail -n 40 "$directory/build.log" >&2
    echo "FAIL: the fuzz targets do not build; all of it is in $directory/build.log" >&2
    exit 1
fi

# seeds TARGET TO: copies what the tree has for it, under names that tell the folders apart.
seeds() {
    case $1 in
    fuzz_source) find models frontend tests -name '*.sn' ;;
    fuzz_ir) find tests -name '*.ir' ;;
    fuzz_kernel) find tests -name '*.k' ;;
    fuzz_ptx) find tests -name '*.ptx' -size -16k ;;
    fuzz_safetensors) find tests -name '*.safetensors' -size -32k ;;
    fuzz_message) ;;
    esac | while read -r file; do
        cp "$file" "$2/$(echo "$file" | tr / _)"
    done
    # One of a hello's beginning and one of a beat, since nothing in the tree is a message.
    if [ "$1" = fuzz_message ]; then
        printf '\0SNranks\n\1\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\1\0n\0\0\0\0%0128d\0\0\0\0\0\0\0\0' 0 >"$2/hello"
        printf '\3%0048d\0' 0 | tr 0 '\0' >"$2/beat"
        printf '\377\2\0\0\0\7\0\241\134xx\0\0\0\0\7\0\241\134' >"$2/stream"
    fi
    # A header of one tensor and its bytes: no file in the tree is small enough to be a good start.
    if [ "$1" = fuzz_safetensors ]; then
        printf '\100\0\0\0\0\0\0\0%-64s\1\2\3\4\5\6\7\10' \
            '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' >"$2/one.safetensors"
    fi
}

echo "seed $seed, $seconds s each"
status=0
for target in $targets; do
    # What an earlier run found is kept: runs get further every time.
    corpus=$directory/corpus/$target crashes=$directory/crashes/$target log=$directory/$target.log
    mkdir -p "$corpus" "$crashes"
    seeds "$target" "$corpus"
    if "$directory/tests/$target" "$corpus" -seed="$seed" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$crashes/" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        inputs=$(find "$corpus" -type f | wc -l)
        echo "$target: $runs executions, $inputs inputs kept"
        [ "${runs:-0}" -gt 0 ] || { echo "FAIL: $target ran nothing: $log"; status=1; }
    else
        echo "FAIL: $target; the input is $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
        grep -m 3 -E 'SUMMARY|ERROR:|runtime error' "$log" || tail -n 5 "$log"
        echo "all of it is in $log"
        status=1
    fi
done
exit $status
