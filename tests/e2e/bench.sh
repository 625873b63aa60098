#!/bin/sh
# sinter bench of the CPU: every line is there, and adds up; memory by length, planned and measured; PyTorch where there
# is none. sinter bench --target sm_XX without a GPU: what is counted is printed and adds up, what is estimated is
# called so, nothing is called measured; wrong command lines are refused.
. "$(dirname "$0")/common.sh"
unset SINTER_DEVICE
bench() { "$sinter" bench "$root/models/mlp.sn" "$@"; }

# The CPU: the bound is the sum of its parts, and the ratio that of the step to it.
"$sinter" bench "$root/tests/e2e/attend/causal.sn" -D layer=1 -D dim=96 -D size.seq=300 --threads 2 --repeat 3 >"$work/cpu" 2>&1 || bad "bench: $(cat "$work/cpu")"
for line in 'step  .* ms  .* to ' 'products, ours  .* GFLOP/s' 'attention, forward .* of the micro-kernel' 'attention, backward .* of the micro-kernel' \
    'micro-kernel by itself .* copies .* GB/s' 'step / bound ' 'predicted .* of the step' 'products .* measured' 'update .* measured' 'PyTorch is not measured'; do
    grep -q "$line" "$work/cpu" && ok || bad "no line '$line': $(cat "$work/cpu")"
done
# What is predicted is the sum of its parts.
awk '/^  predicted/ { all = $2 } /ms   measured/ { sum += $2 } END { d = all - sum; exit !(all > 0 && d < 0.31 && d > -0.31) }' "$work/cpu" &&
    ok || bad "predicted: $(grep -A6 predicted "$work/cpu")"
awk '/^  step  / { step = $2 } /^  bound  / { gsub(/,/, ""); sum = $5 + $7 + $NF; bound = $2 } /^  step \/ bound/ { ratio = $4 }
    END { d = sum - bound; e = step / bound - ratio; exit !(bound > 0 && d < 0.21 && d > -0.21 && e < 0.2 * ratio && e > -0.2 * ratio) }' "$work/cpu" ||
    bad "the bound does not add up: $(cat "$work/cpu")"
# Memory by length: linear where attention is kept whole, square where it is not, which the table says.
"$sinter" bench "$root/tests/e2e/attend/causal.sn" -D layer=1 -D dim=8 --lengths 256,512,1024 >"$work/lengths" 2>&1 || bad "lengths: $(cat "$work/lengths")"
grep -q 'M(1024) - M(512) = .*: at most 2.05' "$work/lengths" && ok || bad "memory: $(cat "$work/lengths")"
"$sinter" bench "$root/tests/e2e/attend/refused/square.sn" -D layer=1 -D dim=8 --lengths 256,512,1024 >"$work/square" 2>&1 || bad "lengths: $(cat "$work/square")"
grep -q 'M(1024) - M(512) = .*: MORE than 2.05' "$work/square" && ok || bad "memory of a square: $(cat "$work/square")"
awk '$1 == 1024 { exit !($3 > 0 && $3 < $2 * 1.3 + 8 && $3 > $2 / 2) }' "$work/square" && ok || bad "measured: $(cat "$work/square")"
"$sinter" bench "$root/models/gpt2.sn" -D layer=1 -D dim=16 -D head=2 -D hdim=8 -D ff=16 -D vocab=64 -D size.seq=16 -D micro=1 -D precision=bf16 --threads 1 --repeat 1 \
    --torch false >"$work/torch" 2>&1 || bad "bench with no PyTorch: $(cat "$work/torch")"
grep -q "PyTorch: 'false' has none" "$work/torch" && ok || bad "no PyTorch: $(cat "$work/torch")"
grep -qE "^  those of bf16, ours  .*(of their micro-kernel's rate|not measured: .*AVX512-BF16)$" "$work/torch" && ok || bad "products of bf16: $(cat "$work/torch")"

for target in sm_80 sm_89 sm_90a sm_100a sm_120; do
    bench --target $target --json >"$work/$target" 2>"$work/err" || bad "bench for $target: $(tail -1 "$work/err")"
    if grep -q '"kind":"step"' "$work/$target"; then ok; else bad "no line of totals for $target"; fi
done
if command -v nvidia-smi >/dev/null; then
    echo "a GPU is here: that nothing is called measured is not tested"
elif grep -q measured "$work/sm_90a"; then
    bad "something was measured without a GPU"
else
    ok
fi
# Lines of kernels against the total: count x bytes.
awk -F, '
    function number(key,   i, p) {
        for (i = 1; i <= NF; i++) { split($i, p, ":"); gsub(/[{}"]/, "", p[1]); gsub(/}/, "", p[2])
                                    if (p[1] == key) return p[2] + 0 } return 0 }
    /^{"kind":"kernel"/ { bytes += number("count") * number("bytes"); n += number("count") }
    /^{"kind":"step"/ { t = number("kernel_bytes"); k = number("kernels") }
    END { d = bytes - t; if (d < 0) d = -d; exit !(n > 0 && n == k && d <= 1e-6 * t) }' "$work/sm_90a" ||
    bad "kernels and their total differ"
# The same counts for every architecture: they follow from the plan.
counted() { grep -o '"kernels".*"plan_bytes":[^,]*' "$work/$1" | sed 's/"small_launches":[^,]*,//'; }
for target in sm_80 sm_120; do
    [ "$(counted $target)" = "$(counted sm_90a)" ] && ok || bad "$target counts otherwise than sm_90a"
done
# Products count at the rate of their operands; side by side each target has the figures that it has alone.
rate_of() { grep '"kind":"product"' "$work/$1" | grep -o '"rate":"[a-z0-9]*"' | sort -u | cut -d: -f2 | tr -d '"\n'; }
for precision in f32 tf32 bf16; do
    bench --target sm_90a -D precision=$precision --json >"$work/rate-$precision" 2>"$work/err" || bad "bench in $precision"
    [ "$(rate_of rate-$precision)" = $precision ] && ok || bad "products in $precision at the rate of $(rate_of rate-$precision)"
done
bench --compare sm_80,sm_89,sm_90a,sm_100a,sm_120 --json >"$work/side" 2>"$work/err" || bad "bench --compare"
for target in sm_80 sm_89 sm_90a sm_100a sm_120; do
    awk -v t=$target '/^{"kind":"bench"/ { on = $0 ~ "\"target\":\"" t "\"" } on' "$work/side" | grep -v '"kind":"bench"' >"$work/side-$target"
    grep -v '"kind":"bench"' "$work/$target" >"$work/alone"
    same "$target beside others" "$work/alone" "$work/side-$target"
done
bench --compare sm_80,sm_90a >"$work/sides" 2>&1 || bad "the table of two"
awk -F'|' '/^ +[0-9]+ / { n++; if (NF != 3) wrong++ } END { exit !(n > 5 && !wrong) }' "$work/sides" && ok || bad "columns of $(head -20 "$work/sides")"
grep -q '^estimated  sm_90a: [0-9.]* ms a step' "$work/sides" && ok || bad "no totals side by side"
bench --target sm_90a >"$work/table" 2>&1 || bad "the table"
wide=$(awk '/^compiled +nothing/ { next } { gsub(/…/, "."); if (length($0) > 120) n++ } END { print n + 0 }' "$work/table")
[ "$wide" = 0 ] && ok || bad "$wide lines of the table are wider than 120 columns"
for word in estimated counted 'TFLOP/s'; do
    grep -q "$word" "$work/table" && ok || bad "the table lacks '$word'"
done
# The way of measuring, on the emulated device: every command has a time, which is not called measured.
SINTER_DEVICE=emu:sm_90a bench --target sm_90a --json --repeat 2 >"$work/emulated" 2>"$work/err" || true
if grep -q NVRTC "$work/err"; then
    echo "skipped measuring on the emulated device: NVRTC is not installed"
else
    lines=$(grep -cE '^{"kind":"(kernel|product|fill|copy)"' "$work/emulated" || true)
    timed=$(grep -cE '"emulated_us":[0-9.e+]*[1-9]' "$work/emulated" || true)
    [ "$lines" -gt 0 ] && [ "$lines" = "$timed" ] && ok || bad "$timed of $lines commands have a time"
    grep -q '"loss_last":[0-9]' "$work/emulated" && ok || bad "no loss on the emulated device"
    if grep -q measured "$work/emulated"; then bad "the emulated device's times are called measured"; else ok; fi
fi
refused() { # ARGS...
    status=0
    bench "$@" >/dev/null 2>"$work/err" || status=$?
    [ "$status" = 2 ] && [ -s "$work/err" ] && ok || bad "bench $* gave $status"
}
refused --target sm_70
refused --compare sm_70
refused --compare cpu,sm_80
refused --compare sm_80,sm_90a --target sm_80
refused --compare sm_80,sm_90a --gpu "H100 PCIe"
refused --target sm_80,sm_90a
refused --target cpu,sm_90a
refused --target sm_80 --gpu "H100 SXM"
refused --target sm_80 --gpu nothing
refused --target sm_80 --repeat 0
refused --lengths 12,x
refused --lengths 12,
refused --lengths 0
refused --target sm_80 --lengths 12
refused --target sm_80 --torch python3
# A device that is asked for and is not there is the machine's fault.
if ! command -v nvidia-smi >/dev/null; then
    status=0
    SINTER_DEVICE=cuda:0 bench --target sm_90a >/dev/null 2>&1 || status=$?
    [ "$status" = 3 ] && ok || bad "a missing device gave $status"
fi
finish
