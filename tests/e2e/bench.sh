#!/bin/sh
# sinter bench --target sm_XX without a GPU: what is counted is printed and adds up, what is estimated is
# called so, nothing is called measured; wrong command lines are refused.
. "$(dirname "$0")/common.sh"
unset SINTER_DEVICE
bench() { "$sinter" bench "$root/models/mlp.sn" "$@"; }

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
refused --target sm_80,sm_90a
refused --target cpu,sm_90a
refused --target sm_80 --gpu "H100 SXM"
refused --target sm_80 --gpu nothing
refused --target sm_80 --repeat 0
# A device that is asked for and is not there is the machine's fault.
if ! command -v nvidia-smi >/dev/null; then
    status=0
    SINTER_DEVICE=cuda:0 bench --target sm_90a >/dev/null 2>&1 || status=$?
    [ "$status" = 3 ] && ok || bad "a missing device gave $status"
fi
finish
