#!/bin/sh
# What 'sinter params' says holds of the executable and of its checkpoints; warnings do not stop a build.
# (Its table and the texts of the warnings are compared byte for byte: tests/params, tests/diag/warn_*.)
. "$(dirname "$0")/common.sh"
corpus
cat >"$work/model.sn" <<'END'
axis vocab = 256, dim = 8
axis batch, seq

model tiny(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.02), idle[dim] ~ 0
  state seen[dim] ~ 0
  x = embed[vocab: tokens]
  repeat 11 as h { x = x + linear[dim, dim2](x)[dim2 -> dim] }
  if training { seen = mean[batch, seq](x) }
  loss = mean[batch, seq](cross_entropy[vocab](x @[dim] embed, targets))
}
axis dim2 = dim

train {
  data      text("none")
  size      batch = 4, seq = 8
  optimizer adamw(decay = 0.1)
  optimizer sgd: b
  lr        cosine(peak = 1e-3, warmup = 1, steps = 9)
  freeze    : h.3
}
END
model=$work/model.sn
# ---- warnings: on stderr, by every command that reads the model, and it goes on ------------------------
for command in "check" "build -o $work/exe" "params" "dump"; do
    # shellcheck disable=SC2086
    "$sinter" $command "$model" >"$work/out" 2>"$work/err" || bad "$command: exit code $?"
    [ "$(grep -c "model.sn:5:45: warning: the loss does not depend on 'idle'" "$work/err")" = 1 ] && ok || bad "$command: $(cat "$work/err")"
    hidden=$(grep -c 'warning' "$work/out" || true)
    [ "$hidden" = 0 ] && ok || bad "$command: a warning on stdout"
done
sed 's/^  freeze    : h.3/  freeze    : h.3, idle/' "$model" >"$work/silent.sn"
"$sinter" build "$work/silent.sn" -o "$work/silent" 2>"$work/err" || bad "build"
[ ! -s "$work/err" ] && ok || bad "the warning is not silenced: $(cat "$work/err")"
# ---- the table against the executable and its checkpoint -----------------------------------------------
"$sinter" params "$model" >"$work/table" 2>/dev/null
total=$(sed -n 's/^parameters *\([0-9]*\) in .*/\1/p' "$work/table")
[ "$("$work/exe" --info | sed -n 's/^parameters //p')" = "$total" ] && ok || bad "not $total parameters"
"$work/exe" --data "$work/text" --steps 1 --out "$work/run" >/dev/null 2>&1 || bad "run"
"$sinter" params "$model" --json >"$work/json" 2>/dev/null
# name and shape of each, once from the file's header
head -c 100000 "$work"/run/step-*.safetensors | tr -d '\0' | grep -ao '"[^"]*":{"dtype":"F32","shape":\[[0-9,]*\]' |
    sed 's/^"\([^"]*\)".*"shape":\(.*\)/\1 \2/' | sort >"$work/kept"
sed 's/.*"name":"\([^"]*\)".*"shape":\(\[[0-9,]*\]\).*/\1 \2/' "$work/json" | sort >"$work/told"
[ "$(wc -l <"$work/kept")" -gt 40 ] && same "names and shapes" "$work/kept" "$work/told" || bad "no names in the checkpoint"
keys='^[{]"kind":"(parameter|moment|state)","name":"[^"]*","each":\[[^]]*\],"in":\[[^]]*\],"out":\[[^]]*\],"shape":\[[^]]*\],"count":[0-9]+,"frozen":(true|false),"optimizer":(null|"[^"]*"),"rate":(null|"[^"]*"),"group":(null|[0-9]+),"initial":"[^"]*"(,"of":"[^"]*")?[}]$'
grep -vE "$keys" "$work/json" >"$work/others" && bad "another object: $(head -1 "$work/others")" || ok
grep -q '"kind":"moment","name":"h.10.linear.w.adamw.v",.*"of":"h.10.linear.w"}' "$work/json" && ok || bad "a moment belongs to nothing"
grep -q '"name":"h.3.linear.w",.*"frozen":true,"optimizer":null,' "$work/json" && ok || bad "h.3 is not frozen"
# ---- rounds, -D, -o, errors ----------------------------------------------------------------------------
grep -qE '^h\.\*\.linear\.w .* 10 x 64  1$' "$work/table" && grep -qE '^h\.3\.linear\.w .* 64  frozen$' "$work/table" && ok || bad "rounds: $(cat "$work/table")"
"$sinter" params "$model" --all -o "$work/all" 2>/dev/null || bad "-o"
[ "$(grep -c '^h\.[0-9]*\.linear\.[wb] ' "$work/all")" = 22 ] && ok || bad "--all: $(cat "$work/all")"
"$sinter" params "$model" -D dim=16 -D optimizer.decay=0.2 -D optimizer.eps=1e-7 -D lr.peak=0.5 >"$work/table" 2>/dev/null
grep -q '^embed .*vocab=256 -> dim=16 ' "$work/table" && ok || bad "-D dim: $(cat "$work/table")"
grep -q 'adamw(decay = 0.1) with decay = 0.2, eps = 1e-7 .* with peak = 0.5 ' "$work/table" && ok || bad "-D of options: $(cat "$work/table")"
grep 'sgd with decay = 0.2' "$work/table" | grep -q ', eps = ' && bad "sgd has no eps" || ok
sed 's/embed\[vocab: tokens\]/nothing/' "$model" >"$work/wrong.sn"
rc=0
"$sinter" params "$work/wrong.sn" >"$work/out" 2>"$work/err" || rc=$?
[ $rc = 1 ] && [ ! -s "$work/out" ] && grep -q "unknown name 'nothing'" "$work/err" && ok || bad "an error: $rc"
# every stage of a dump still has its parameters
"$sinter" dump "$model" --after memplan -o "$work/last.ir" 2>/dev/null || bad "dump"
"$sinter" params "$work/last.ir" >"$work/table" || bad "params of a dump"
[ "$(sed -n 's/^parameters *\([0-9]*\) in .*/\1/p' "$work/table")" = "$total" ] && ok || bad "a dump has other parameters"
grep -q '^d\.' "$work/table" && bad "an accumulator is no state" || ok
finish
