#!/bin/sh
# Everything that needs a GPU, in one go: builds Sinter, compares the emulated device with the real one,
# runs the op matrix and trains small models on it, and benches GPT-2 124M.
#
#   tools/gpu-day.sh [DIRECTORY]      results land in DIRECTORY/<device>-<date>, "results" when not given
#
# What it installs: the packages of tools/packages.sh that are missing (a C compiler, cmake, ninja,
# bison, flex, LLVM 19, cmocka, OpenSSL), by apt-get. Nothing of NVIDIA's: the driver, NVRTC
# and cuBLASLt 12.8 or newer must be there.
#
# Exit status: 0 everything passed; 1 something failed, summary.txt says what; 2 the command line; 3 the
# machine: no GPU, no driver, no NVRTC, no target for this GPU, a package that cannot be installed.
set -eu
cd "$(dirname "$0")/.."
. ./tools/packages.sh

[ $# -le 1 ] || { echo "usage: tools/gpu-day.sh [DIRECTORY]" >&2; exit 2; }
case ${1:-} in -*) echo "usage: tools/gpu-day.sh [DIRECTORY]" >&2; exit 2 ;; esac
machine() { echo "gpu-day: $*" >&2; exit 3; }

# ---- the GPU, before anything is installed -----------------------------------------------------------
command -v nvidia-smi >/dev/null || machine "no GPU here: there is no nvidia-smi, which the driver brings"
query() { nvidia-smi --id=0 --format=csv,noheader --query-gpu="$1"; }
device=$(query name) || machine "no GPU here: nvidia-smi finds none"
capability=$(query compute_cap)
case $capability in
8.0) target=sm_80 ;;
8.9) target=sm_89 ;;
9.0) target=sm_90a ;;
10.0) target=sm_100a ;;
12.0) target=sm_120 ;;
*) machine "no target for $device: compute capability $capability" ;;
esac

require
directory=${BUILD_DIR:-build}
echo "building in $directory"
build "$directory" sinter sinter-bench oracle conformance
"$directory/oracle" --emulated="$target" tests/ops/add.ir >/dev/null || {
    [ $? = 77 ] && machine "NVRTC is missing: install NVIDIA's package cuda-nvrtc 12.8 or newer"
}

results=${1:-results}/$(echo "$device" | tr -cs 'A-Za-z0-9\n' '-')-$(date +%Y-%m-%d-%H%M)
mkdir -p "$results"
{
    echo "device      $device, $target"
    echo "driver      $(query driver_version)"
    echo "clocks      $(query clocks.max.sm,clocks.max.mem)"
    echo "kernel      $(uname -sr)"
    echo "revision    $(git rev-parse HEAD 2>/dev/null || echo "not a checkout")"
    echo "date        $(date -u +%Y-%m-%dT%H:%MZ)"
} >"$results/machine.txt"
: >"$results/summary.txt"

# ---- the steps ---------------------------------------------------------------------------------------
failed=0
# step NAME COMMAND...: its output in NAME.txt, one line of the summary.
step() {
    label=$1
    shift
    status=0
    "$@" >"$results/$label.txt" 2>&1 || status=$?
    verdict=passed
    [ "$status" = 0 ] || { verdict="FAILED ($status)"; failed=1; }
    printf '%-14s %-12s %s\n' "$label" "$verdict" "$(tail -n 1 "$results/$label.txt")" |
        tee -a "$results/summary.txt"
}

# Each file alone: first by bits; what differs, because cuBLASLt sums in an order of its own, within 1e-4.
op_matrix() {
    bits=0
    close=0
    bad=0
    for file in tests/ops/*.ir; do
        if "$directory/oracle" --emulated="$target" --device=cuda:0 "$file"; then
            bits=$((bits + 1))
        elif "$directory/oracle" --emulated="$target" --device=cuda:0 --loose "$file"; then
            close=$((close + 1))
            echo "within 1e-4 only: $file"
        else
            bad=$((bad + 1))
        fi
    done
    echo "$bits files by bits, $close within 1e-4, $bad differ"
    [ "$bad" = 0 ] && [ "$bits" -gt 0 ]
}

# losses LOG: one a line.
losses() { grep -o '"loss":[^,}]*' "$1/metrics.jsonl" | cut -d: -f2; }

# Twenty steps on the CPU and on the GPU from the same seed: losses within 1e-4 (docs/numerics.md).
parity_of() { # MODEL DEFINES...
    model=$1
    shift
    at=$results/parity-$model
    mkdir -p "$at"
    "$directory/sinter" build "models/$model.sn" --target "cpu,$target" -o "$at/train" "$@" || return 1
    for on in cpu cuda:0; do
        "$at/train" --device "$on" --data "$at/../text" --steps 20 --seed 3 --log "$at/log-$on" || return 1
        losses "$at/log-$on" >"$at/losses-$on"
    done
    rm -f "$at/train"
    paste "$at/losses-cpu" "$at/losses-cuda:0" | awk -v model="$model" '
        $1 !~ /^[0-9]/ || $2 !~ /^[0-9]/ { bad = 1 } # null: no number
        { d = $1 - $2; if (d < 0) d = -d; s = $1 < 0 ? -$1 : $1; if (d > worst * s) worst = d / s; n++ }
        END { printf "%s: %d losses, largest difference %.2g\n", model, n, worst
              exit !(n >= 20 && worst <= 1e-4 && !bad) }'
}
parity() {
    wrong=
    cat ir/*.c passes/*.c >"$results/text"
    parity_of gpt2 -D layer=2 -D dim=64 -D head=4 -D size.seq=64 -D size.batch=8 -D micro=4 || wrong="$wrong gpt2"
    parity_of llama -D layer=2 -D dim=64 -D size.seq=32 -D size.batch=8 -D micro=4 || wrong="$wrong llama"
    parity_of bytes -D layer=2 -D dim=64 -D size.seq=64 -D size.batch=8 -D micro=4 || wrong="$wrong bytes"
    parity_of mlp || wrong="$wrong mlp"
    rm -f "$results/text"
    [ -z "$wrong" ] && echo "gpt2, llama, bytes, mlp: losses of 20 steps within 1e-4 of the CPU's"
    [ -z "$wrong" ] || { echo "differ:$wrong"; return 1; }
}

bench() { # NAME DEFINES...
    name=$1
    shift
    SINTER_DEVICE=cuda:0 "$directory/sinter" bench models/gpt2.sn --target "$target" --json "$@" \
        >"$results/$name.jsonl" || return 1
    SINTER_DEVICE=cuda:0 "$directory/sinter" bench models/gpt2.sn --target "$target" "$@"
}

# What the measured algorithms of GPT-2's products gain over the library's first choices, product by
# product, and that the next run takes them. In a cache of its own: the other steps stay as they are.
tune() {
    at=$(cd "$results" && pwd)/tune
    mkdir -p "$at"
    cat ir/*.c passes/*.c >"$at/text"
    "$directory/sinter" build models/gpt2.sn -D micro=4 --target "$target" -o "$at/train" || return 1
    for option in --tune --profile; do
        XDG_CACHE_HOME=$at "$at/train" --device cuda:0 --data "$at/text" \
            --set data.kind=tokens --eval-batches 1 --steps 2 $option >"$at/log$option" || return 1
        cat "$at/log$option"
    done
    rm -f "$at/train" "$at/text"
    measured=$(grep -c '^cuBLASLt .*: measured, ' "$at/log--tune")
    cached=$(grep -c '^cuBLASLt .*: cache, ' "$at/log--profile")
    echo "$measured products measured, $cached taken from the file"
    [ "$measured" -gt 0 ] && [ "$measured" = "$cached" ]
}

step conformance "$directory/conformance"
step op_matrix op_matrix
step parity parity
step tune tune
step bench bench bench -D micro=4 --repeat 15
step bench_calls bench bench_calls -D micro=4 --repeat 15 --cublaslt-epilogues
step bench_bf16 bench bench_bf16 -D micro=4 --repeat 15 -D precision=bf16
step bench_tf32 bench bench_tf32 -D micro=4 --repeat 15 -D precision=tf32
step bench_short bench bench_short -D micro=16 -D size.batch=16 -D size.seq=256 --repeat 15
echo "results: $results"
exit "$failed"
