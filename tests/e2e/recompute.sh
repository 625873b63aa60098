#!/bin/sh
# Whatever the backward pass computes again: the same bytes of every state, less memory. Attention kept whole and
# taken apart, dropout, batch norm with its statistics, accumulation; fused and not; instruction sets; the
# emulated device.
. "$(dirname "$0")/common.sh"
corpus
mkdir "$work/models"
cp "$root/tests/e2e/attend/cap.sn" "$work/models/dropped.sn"
sed 's/layer = 2/layer = 5/' "$root/tests/e2e/attend/causal.sn" >"$work/models/causal.sn"
cp "$root/tests/e2e/recompute/coded.sn" "$work/models/coded.sn"
cat >"$work/models/normed.sn" <<'end'
axis vocab = 256, dim = 24, layer = 3
axis batch, seq

model net(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param wte[vocab -> dim] ~ normal(0.3), out[dim -> vocab] ~ normal(0.1)
  x = wte[vocab: tokens]
  repeat layer as h {
    param w[dim -> dim2] ~ normal(0.2)
    state seen[dim] ~ 0
    if training { seen = seen + mean[batch, seq](x) }
    u = batchnorm[dim, batch, seq](gelu((x + seen) @[dim] w)[dim2 -> dim]) as norm
    x = x + u
  }
  loss = mean[batch, seq](cross_entropy[vocab](x @[dim] out, targets))
}

axis dim2 = dim

train {
  data      text("input.txt", split = 0.9)
  size      batch = 3, seq = 37
  optimizer adamw(decay = 0.1)
  lr        constant(0.01)
  steps     3
}
end
memory() { "$1" --info | awk '$2 == "temporary" {print $3}'; }
# build NAME MODEL LINE ARGS...: with that line of the plan
build() {
    name=$1 model=$2 line=$3
    shift 3
    sed "s/^train {/&\n  $line/" "$work/models/$model.sn" >"$work/$name.sn"
    "$sinter" build "$work/$name.sn" "$@" -o "$work/$name" --verify-each >"$work/said" 2>&1 || bad "build $name: $(head -1 "$work/said")"
}
# compare MODEL LINE ARGS...: checkpoint and memory against the model without the line
compare() {
    model=$1 line=$2
    shift 2
    build again "$model" "$line" "$@"
    rm -rf "$work/again.out"
    train "$work/again" "$work/again.out" --steps 3
    same "$model with '$line' $*" "$work/$model.out/last" "$work/again.out/last"
}
for model in causal dropped normed; do
    build "$model" "$model" ""
    train "$work/$model" "$work/$model.out" --steps 3
    all=$(memory "$work/$model")
    for line in "recompute every(1)" "recompute every(2)" "recompute : *" "recompute every(1, layer); recompute keep : x"; do
        compare "$model" "$line"
        [ "$(memory "$work/again")" -lt "$all" ] && ok || bad "$model: '$line' saves nothing of $all"
    done
    compare "$model" "recompute none"
    [ "$(memory "$work/again")" = "$all" ] && ok || bad "$model: 'recompute none' changes the memory"
    compare "$model" "" -D recompute.every=1 --no-fuse
    compare "$model" "recompute every(2)" --passes="$("$sinter" passes | awk '$1 != "recognise" {printf "%s%s", s, $1; s=","}')"
    for cpu in x86-64-v3 x86-64-v4; do
        "$work/again" --check-cpu >/dev/null 2>&1 || continue
        compare "$model" "recompute every(1)" --cpu $cpu
    done
done
compare causal "recompute keep : attn"
kept=$(memory "$work/again")
compare causal "recompute every(1)"
[ "$(memory "$work/again")" -lt "$kept" ] && ok || bad "'keep' keeps nothing"
compare causal "recompute : attn.q, attn.k; recompute every(3)"
compare causal "recompute every(1); recompute keep : attn.v"

# A budget: what is priced is what the run takes, it is kept, less costs never more memory, and no bit changes.
total() { "$1" --info | awk '$1 == "memory" {s += $3} END {printf "%d", s}'; }
build all causal ""
build least causal "recompute every(1)"
most=$(total "$work/all") least=$(total "$work/least") before=0
"$sinter" build "$work/models/causal.sn" -D recompute.budget=1 -o "$work/none" >"$work/said" 2>&1 && bad "a budget of a byte"
exact=$(sed -n 's/.*error.*(\([0-9]*\) bytes) is the least.*/\1/p' "$work/said")
"$sinter" build "$work/models/causal.sn" -D recompute.budget="$exact" -o "$work/none" >"$work/said" 2>&1 && ok ||
    bad "the least budget '$exact': $(head -1 "$work/said")"
floor=$("$sinter" explain "$work/models/causal.sn" -D recompute.budget=$most | awk '/ price /{print $5}' | wc -l)
[ "$floor" -ge 3 ] && ok || bad "$floor patterns"
for tenth in 10 8 6 4 2 1; do
    budget=$((least + (most - least) * tenth / 10))
    build again causal "recompute budget($budget)"
    taken=$(total "$work/again")
    [ "$taken" -le "$budget" ] && ok || bad "a budget of $budget bytes takes $taken"
    [ "$before" = 0 ] || [ "$taken" -le "$before" ] && ok || bad "$budget bytes take $taken, more took $before"
    before=$taken
    "$sinter" explain "$work/again.sn" | grep -q 'recompute  yes  budget .* of '"$budget"' bytes: pattern' && ok || bad "no line for $budget"
    compare causal "recompute budget($budget)"
done
compare causal "recompute budget($(((most + least) / 2))); recompute keep : attn.q; recompute : attn.k" --cpu x86-64-v3

"$sinter" explain "$work/least.sn" | grep -q 'recompute  yes  again .*attn.* GFLOP again' && ok ||
    bad "attention is not computed again"

# Rounds of several repeats are looked at together; each has patterns of its own.
build coded coded ""
train "$work/coded" "$work/coded.out" --steps 3
"$sinter" build "$work/models/coded.sn" -D recompute.budget=1 -o "$work/none" >"$work/said" 2>&1 && bad "a budget of a byte"
least=$(sed -n 's/.*error.*(\([0-9]*\) bytes) is the least.*/\1/p' "$work/said") most=$(total "$work/coded")
for tenth in 5 0; do
    budget=$((least + (most - least) * tenth / 10))
    compare coded "recompute budget($budget)"
    taken=$(total "$work/again")
    [ "$taken" -le "$budget" ] && ok || bad "two repeats: a budget of $budget bytes takes $taken"
done
"$sinter" explain "$work/again.sn" >"$work/said"
for name in e d; do
    grep -q "recompute  yes  again  *$name\.\*" "$work/said" && ok || bad "nothing of the rounds of '$name' is computed again"
done

# What was planned is what a run says that it takes.
"$work/again" --data "$work/text" --steps 1 --print-memory --log "$work/log" >"$work/said" 2>&1 || bad "--print-memory: $(tail -1 "$work/said")"
grep -q '^memory: planned .* MiB, allocated .* MiB, most of the process .* MiB$' "$work/said" && ok || bad "--print-memory: $(tail -1 "$work/said")"
planned=$(sed -n 's/^{"kind":"memory","step":1,"planned":\([0-9]*\),.*/\1/p' "$work/log/metrics.jsonl")
[ "$planned" = "$(total "$work/again")" ] && ok || bad "--print-memory: '$planned' bytes planned, --info says $(total "$work/again")"

# on the emulated device attention is taken apart, its scores are computed again
if "$sinter" build "$work/models/causal.sn" --target sm_90a -o "$work/probe" >"$work/probe.log" 2>&1; then
    for model in causal normed; do
        build emulated "$model" "recompute every(1)" --target cpu,sm_90a
        SINTER_DEVICE=emu:sm_90a train "$work/emulated" "$work/emulated.out" --steps 2
        train "$work/$model" "$work/two.out" --steps 2
        same "$model on the emulated device" "$work/two.out/last" "$work/emulated.out/last"
        rm -rf "$work/emulated.out" "$work/two.out"
    done
    # with 16 bits it stays whole, and is copied as a whole; cuBLASLt is asked for nothing new, since all buffers
    # lie at multiples of 256 bytes, whatever the plan
    for line in "precision bf16" "precision bf16; recompute every(1)"; do
        build emulated dropped "$line" --target cpu,sm_90a
        rm -rf "$work/two.out"
        SINTER_DEVICE=emu:sm_90a train "$work/emulated" "$work/two.out" --steps 1 --profile
        grep "^cuBLASLt.* align " "$work/two.out.log" | sort -u >"$work/asked"
        if [ ! -e "$work/emulated.out" ]; then
            mv "$work/two.out" "$work/emulated.out"
            mv "$work/asked" "$work/first"
        fi
    done
    same "dropped in bf16 on the emulated device" "$work/emulated.out/last" "$work/two.out/last"
    [ -s "$work/asked" ] && [ -z "$(comm -13 "$work/first" "$work/asked")" ] && ok ||
        bad "products that recomputation asks otherwise: $(comm -13 "$work/first" "$work/asked" | head -2)"
    grep ' align.* \(64\|128\) ' "$work/asked" >"$work/odd" && bad "aligned otherwise: $(head -1 "$work/odd")" || ok
elif grep -q NVRTC "$work/probe.log"; then
    echo "skipped the emulated device: $(head -1 "$work/probe.log")"
else
    bad "no program for sm_90a: $(head -1 "$work/probe.log")"
fi
finish
