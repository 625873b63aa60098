#!/bin/sh
# Rates by group: each schedule has scalars of its own, which the plan, -D, --set and checkpoints carry;
# --lr is that of no group, --steps is the length of every schedule that is as long as the run.
. "$(dirname "$0")/common.sh"
corpus
cat >"$work/model.sn" <<'MODEL'
axis vocab = 256, dim = 8, batch, seq
model groups(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.5)
  output logits = linear[dim, vocab](rmsnorm[dim](embed[vocab: tokens]) as norm) as top
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
}
train {
  data      text("input.txt", split = 0.9)
  size      batch = 4, seq = 8
  optimizer adamw
  optimizer sgd, rate = 0.1: top.b
  lr        cosine(peak = 0.01, warmup = 2, steps = 40)
  lr        cosine(peak = 0.02, warmup = 2, steps = 40): embed
  lr        linear(peak = 0.05, warmup = 1, steps = 12): norm
}
MODEL
"$sinter" build "$work/model.sn" -o "$work/exe" || bad "build"
scalars() { # FILE NAME=VALUE...: what the checkpoint holds, as f32
    file=$1
    shift
    for pair; do
        have=$(grep -ao "\"scalar.${pair%=*}\":\"[^\"]*" "$file" | sed 's/.*"//')
        awk -v a="$have" -v b="${pair#*=}" 'BEGIN { exit !(a != "" && (a - b) ^ 2 <= (1e-7 * b) ^ 2) }' &&
            ok || bad "$file: $pair, found '$have'"
    done
}
train "$work/exe" "$work/plain" --steps 6 --log "$work/plain"
scalars "$work/plain/last" lr.peak=0.01 lr.steps=6 lr.embed.peak=0.02 lr.embed.steps=6 lr.norm.peak=0.05 lr.norm.steps=12
# every line of the log has all rates; in step 2 they are at their peak
grep -q '"step":2,.*"lr":0.00999.*"lr.embed":0.01999.*"lr.norm":0.05' "$work/plain/metrics.jsonl" && ok || bad "rates in the log"
grep -q "^step 1/6 .*lr 5.00e-03  lr.embed 1.00e-02  lr.norm 5.00e-02" "$work/plain.log" && ok || bad "rates in the output"
# --lr, --set and -D by name; the others stay
train "$work/exe" "$work/set" --steps 6 --lr 0.04 --set lr.embed.peak=0.08 --set lr.norm.steps=5
scalars "$work/set/last" lr.peak=0.04 lr.embed.peak=0.08 lr.norm.peak=0.05 lr.norm.steps=5 lr.steps=6
"$sinter" build "$work/model.sn" -o "$work/other" -D lr.peak=0.04 -D lr.embed.peak=0.08 -D lr.norm.steps=5 -D steps=6 || bad "build with -D"
train "$work/other" "$work/defined"
scalars "$work/defined/last" lr.peak=0.04 lr.embed.peak=0.08 lr.norm.steps=5 lr.embed.steps=6 lr.steps=6
tensors() { tail -c 9000 "$1" >"$1.end"; } # behind the names: the same weights and moments
tensors "$work/set/last"
tensors "$work/defined/last"
same "--set and -D" "$work/set/last.end" "$work/defined/last.end"
# resuming: interrupted or not, the same bits; another length is that of the schedules as long as the run
train "$work/exe" "$work/half" --steps 3 --set lr.steps=6 --set lr.embed.steps=6
train "$work/exe" "$work/half" --resume "$work/half" --steps 6
tensors "$work/plain/last"
tensors "$work/half/last"
same "resumed" "$work/plain/last.end" "$work/half/last.end"
train "$work/exe" "$work/plain" --resume "$work/plain" --steps 9
scalars "$work/plain/last" lr.steps=9 lr.embed.steps=9 lr.norm.steps=12
listed=$("$work/exe" --info | grep -c "scalar     lr.embed") # peak, warmup, steps, floor
[ "$listed" = 4 ] && ok || bad "--info lists $listed scalars of the group"
# a group's rate that is no number: the step changes nothing, and the message names it
code=0
"$work/exe" --data "$work/text" --steps 6 --set lr.embed.peak=3e38 --set lr.embed.floor=-3e38 --set lr.embed.warmup=0 >"$work/log" 2>&1 || code=$?
[ $code = 1 ] && grep -q "the learning rate 'lr.embed' is .*inf in step .*: training has diverged; the step changed nothing" "$work/log" &&
    ok || bad "exit $code: $(tail -1 "$work/log")"
# so does a finite rate that a factor of an optimizer line takes beyond all numbers
sed 's/rate = 0.1/rate = 3e38/' "$work/model.sn" >"$work/factor.sn"
"$sinter" build "$work/factor.sn" -o "$work/other" || bad "build with a factor"
code=0
"$work/other" --data "$work/text" --steps 6 --lr 100 >"$work/log" 2>&1 || code=$?
[ $code = 1 ] && grep -q "the learning rate is inf in step 1: training has diverged; the step changed nothing" "$work/log" &&
    ok || bad "exit $code: $(tail -1 "$work/log")"
# what is no scalar of this program, or no value of one
code=0
"$work/exe" --data "$work/text" --set lr.embde.peak=1 >"$work/log" 2>&1 || code=$?
[ $code = 2 ] && grep -q "did you mean 'lr.embed.peak'" "$work/log" && ok || bad "exit $code: $(tail -1 "$work/log")"
for wrong in lr.embed.peak=-1 lr.embed.steps=1.5 lr.norm.warmup=x; do
    code=0
    "$work/exe" --data "$work/text" --set $wrong >"$work/log" 2>&1 || code=$?
    [ $code = 2 ] && grep -q -- "--set ${wrong%=*} takes" "$work/log" && ok || bad "$wrong: exit $code, $(tail -1 "$work/log")"
done
code=0
"$sinter" build "$work/model.sn" -o "$work/other" -D lr.embed.peak=-1 >"$work/log" 2>&1 || code=$?
[ $code = 1 ] && grep -q "D lr.embed.peak=-1: expected a finite number of at least 0" "$work/log" && ok || bad "exit $code: $(tail -1 "$work/log")"
# without a rate of all parameters --lr has nothing to set
sed '/steps = 40)$/d; s/: embed$/: embed, top/' "$work/model.sn" >"$work/only.sn"
"$sinter" build "$work/only.sn" -o "$work/other" || bad "build without a rate of all"
code=0
"$work/other" --data "$work/text" --lr 0.1 >"$work/log" 2>&1 || code=$?
[ $code = 2 ] && grep -q "no learning rate of all parameters" "$work/log" && ok || bad "exit $code: $(tail -1 "$work/log")"
train "$work/other" "$work/only" --steps 4
scalars "$work/only/last" lr.embed.steps=4 lr.norm.steps=12
# an option of an optimizer that is true or false, by -D as in the plan
momentum() { sed "s/optimizer adamw/optimizer sgd($1)/; s/optimizer sgd,/optimizer sgd($1),/" "$work/model.sn" >"$work/true.sn"; }
momentum "momentum = 0.9, nesterov = true"
"$sinter" build "$work/true.sn" -o "$work/exe" && train "$work/exe" "$work/true" --steps 3
momentum "momentum = 0.9"
"$sinter" build "$work/true.sn" -o "$work/exe" -D optimizer.nesterov=true && train "$work/exe" "$work/flag" --steps 3
"$sinter" build "$work/true.sn" -o "$work/exe" && train "$work/exe" "$work/false" --steps 3
same "a flag by -D" "$work/true/last" "$work/flag/last"
if cmp -s "$work/true/last" "$work/false/last"; then bad "nesterov changes nothing"; else ok; fi
finish
