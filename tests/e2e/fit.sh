#!/bin/sh
# sinter plan: published figures (tests/fit/cases), what is planned beside what executables map, and bad input.
. "$(dirname "$0")/common.sh"
cases=$root/tests/fit/cases
# Models that differ in a line: GELU computed again, the MLP's first product, all weights frozen but norms.
sed 's/^  clip .*/&\n  recompute : mlp.gelu/' "$root/models/gpt2.sn" >"$work/gelu.sn"
sed 's/return gelu(x @\[dim\] w1 + b1)/h = x @[dim] w1 + b1\n  return gelu(h)/' "$root/models/gpt2.sn" >"$work/hidden0.sn"
sed 's/^  clip .*/&\n  recompute : mlp.h/' "$work/hidden0.sn" >"$work/hidden.sn"
sed 's/^  clip .*/&\n  freeze : embed, head, attn, mlp/' "$root/models/llama.sn" >"$work/frozen.sn"
# number KEY FILE: of the objects "plan" and "time"
number() { sed -n "/^{\"kind\":\"\(plan\|time\)\"/s/.*\"$1\":\(-\{0,1\}[0-9.e+-]*\)[,}].*/\1/p" "$2"; }
# within LEAST VALUE MOST
within() { awk -v l="$1" -v v="$2" -v m="$3" 'BEGIN { exit !(v != "" && (l == "-" || v + 0 >= l + 0) && (m == "-" || v + 0 <= m + 0)) }'; }
trim() { echo "$1" | sed 's/^ *//; s/ *$//'; }

# ---- what others say
before=
last=
grep -c '|' "$cases" >/dev/null || bad "no cases"
while IFS='|' read -r name tier model args what least most said; do
    case $name in '#'* | '' | *=*) continue ;; esac
    name=$(trim "$name") tier=$(trim "$tier") model=$(trim "$model") what=$(trim "$what") least=$(trim "$least") most=$(trim "$most")
    [ "$tier" = l ] && [ "$long" = 0 ] && continue
    for key in $(sed -n 's/^\([a-z0-9]*\) = .*/\1/p' "$cases"); do
        value=$(sed -n "s/^$key = //p" "$cases")
        args=$(echo "$args" | sed "s/{$key}/$value/")
    done
    file=$work/$model.sn
    [ -f "$file" ] || file=$root/models/$model.sn
    if [ "$model $args" != "$last" ]; then
        # shellcheck disable=SC2086
        sh -c '"$@" >"$0/json" 2>"$0/error" && times >"$0/time"' "$work" "$sinter" plan "$file" $args --json ||
            bad "$name: $(head -1 "$work/error")"
        last="$model $args"
    fi
    case $what in
    term:*) got=$(sed -n "s/^{\"kind\":\"term\",\"name\":\"${what#term:}\",\"bytes\":\([0-9]*\),.*/\1/p" "$work/json") ;;
    less:*) now=$(number "${what#less:}" "$work/json") got=$(awk -v a="$before" -v b="$now" 'BEGIN { printf "%.0f", a - b }') ;;
    verdict:*) got=$(sed -n "s/.*\"verdict\":\"\(${what#verdict:}\).*/0/p" "$work/json") ;;
    remedy:*) got=$(sed -n '/"kind":"remedy"/{p;q}' "$work/json" | grep -cF "\"line\":\"${what#remedy:}\"") least=1 ;;
    fits:*) got=$(grep -F "\"line\":\"${what#fits:}\"" "$work/json" | grep -c '"fits":true') least=1 ;;
    spent) got=$(awk 'NR == 2 { split($1, u, /[ms]/); split($2, s, /[ms]/); print 60 * (u[1] + s[1]) + u[2] + s[2] }' "$work/time") ;;
    *) got=$(number "$what" "$work/json") before=$got ;;
    esac
    if within "$least" "$got" "$most"; then ok; else bad "$name: $what is '$got', not $least to $most:$said"; fi
done <"$cases"

# ---- planned is what is mapped
corpus
bytes="$small -D dim=64"
mapped() { sed -n 's/^[a-z0-9]*: [0-9]* parameters, \([0-9.]* [A-Za-z]*\),.*/\1/p' "$1"; }
planned() { # MODEL ON ARGS...: MiB of the arena, as a run says it
    "$sinter" plan "$root/models/$1.sn" --on "$2" --threads 2 $bytes --json >"$work/json" || bad "plan $1 on $2"
    number arena "$work/json" | awk '{ printf "%.1f MiB\n", $1 / 1048576 }'
}
for model in bytes gpt2 llama; do
    [ $model = gpt2 ] && bytes="$small -D vocab=256 -D ctx=32 -D head=4" || bytes=$small
    [ $model = llama ] && bytes="$small -D vocab=256 -D kv=2 -D group=2 -D ff=96"
    # shellcheck disable=SC2086
    "$sinter" build "$root/models/$model.sn" $bytes -o "$work/$model" || bad "build $model"
    "$work/$model" --data "$work/text" --steps 1 --threads 2 --eval-batches 1 >"$work/log" 2>&1 || bad "run $model: $(tail -1 "$work/log")"
    [ "$(planned $model cpu)" = "$(mapped "$work/log")" ] && ok || bad "$model: planned $(planned $model cpu), mapped $(mapped "$work/log")"
done
bytes="$small -D vocab=256 -D ctx=32 -D head=4"
# shellcheck disable=SC2086
if "$sinter" build "$root/models/gpt2.sn" --target sm_90a $bytes -o "$work/cuda" >"$work/log" 2>&1; then
    SINTER_DEVICE=emu:sm_90a "$work/cuda" --data "$work/text" --steps 1 --eval-batches 1 >"$work/log" 2>&1 || bad "run: $(tail -1 "$work/log")"
    [ "$(planned gpt2 h100)" = "$(mapped "$work/log")" ] && ok || bad "gpt2 on the emulated device: planned $(planned gpt2 h100), mapped $(mapped "$work/log")"
else
    echo "the emulated device's memory is not compared: $(head -1 "$work/log")"
fi

# ---- largest: it fits, and one more does not
tiny="$root/models/bytes.sn $small"
"$sinter" plan $tiny --on cpu:64M --json >"$work/json" || bad "plan"
fits=$(sed -n 's/.*"what":"micro","fits":\([0-9]*\).*/\1/p' "$work/json")
for micro in "$fits" $((fits + 1)); do
    "$sinter" plan $tiny -D micro="$micro" -D size.batch="$micro" --on cpu:64M --json >"$work/json" || bad "plan"
    grep -q "\"fits\":$([ "$micro" = "$fits" ] && echo true || echo false),\"verdict" "$work/json" && ok || bad "micro $micro of $fits: $(head -1 "$work/json")"
done

# ---- calibration: of a file that says so, and of no larger machine; twice as fast is half the products
for rate in 50 100; do
    echo "{\"kind\":\"rates\",\"device\":\"cpu\",\"threads\":1,\"products\":$rate,\"copies\":20}" >"$work/rates$rate"
    "$sinter" plan "$root/models/gpt2.sn" -D layer=1 --on cpu:8G --threads 1 --calibration "$work/rates$rate" --json >"$work/json$rate" || bad "plan"
    grep -q '"calibrated":true' "$work/json$rate" && ok || bad "not calibrated"
done
awk -v a="$(number products "$work/json50")" -v b="$(number products "$work/json100")" 'BEGIN { exit !(b > 0 && a / b > 1.9 && a / b < 2.1) }' && ok || bad "products at half the rate"

# ---- bad input: one line, exit code 2; of the model 1
refused() { # STATUS WORDS ARGS...
    status=$1 words=$2
    shift 2
    code=0
    "$sinter" plan "$@" >"$work/out" 2>"$work/error" || code=$?
    [ $code = "$status" ] && [ ! -s "$work/out" ] && grep -qF "$words" "$work/error" && ok || bad "$*: $code, $(head -1 "$work/error")"
}
model=$root/models/mlp.sn
refused 2 "needs --on" "$model"
refused 2 "from 1 to 65536" "$model" --on 0xA100-80G
refused 2 "from 1 to 65536" "$model" --on 1000000000xA100-80G
refused 2 "from 1MiB" "$model" --on cpu:0
refused 2 "unknown device 'nonsense'; known are 'a100-40g'" "$model" --on nonsense
refused 2 "did you mean 'h100'" "$model" --on 8xhh100
refused 2 "may be 'a100-40g'" "$model" --on A100
refused 2 "from 0 to 3" "$model" --on h100 --zero 4
refused 2 "above 0" "$model" --on h100 --price -1
refused 2 "above 0" "$model" --on h100 --tokens many
refused 1 "cannot read" "$model" --on h100 --calibration "$work/none"
refused 1 "nothing that was measured" "$model" --on h100 --calibration "$model"
refused 1 "nothing that was measured" "$model" --on h100 --calibration "$work/rates50"
refused 1 "cannot read" "$work/none.sn" --on h100
printf 'axis batch = 2, d = 4\nmodel m(x: real[batch, d]) {\n  loss = mean[batch, d](x * x)\n}\n' >"$work/noplan.sn"
refused 1 "there is no plan" "$work/noplan.sn" --on h100
finish
