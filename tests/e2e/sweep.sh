#!/bin/sh
# Rounds of a classifier (the pass sweep): every model of tests/e2e/sweep has them, in a step and in an
# evaluation, with the same bits for any number of threads, instruction set and device, fused or not; no value of
# rows x classes is whole, equal rounds have one kernel, sums are added up in place; what has no rounds says why.
# That they compute what the model says is tests/unit/test_sweep.c's.
. "$(dirname "$0")/common.sh"
corpus
models=$root/tests/e2e/sweep
cuda=sm_90a
"$sinter" build "$models/tied.sn" --target $cuda -o "$work/probe" >"$work/probe.log" 2>&1 || {
    grep -q NVRTC "$work/probe.log" || bad "no program for $cuda: $(head -1 "$work/probe.log")"
    echo "skipped the emulated device: $(head -1 "$work/probe.log")"
    cuda=
}
for file in "$models"/*.sn; do
    name=$(basename "$file" .sn)
    want=$(sed -n '1s/^# rounds: //p' "$file")
    "$sinter" explain "$file" >"$work/explained"
    [ "$(grep -c "sweep  *yes  rounds.*: $want," "$work/explained")" -ge 2 ] && ok ||
        bad "$name: $(grep ' sweep ' "$work/explained")"
    more=$long
    case $name in tied | smooth) more=1 ;; esac
    target=cpu
    [ "$cuda" ] && [ "$more" = 1 ] && target=cpu,$cuda
    "$sinter" build "$file" --target $target --verify-each -o "$work/$name" || bad "build $name"
    SINTER_DEVICE=cpu train "$work/$name" "$work/$name-1" --threads 1
    SINTER_DEVICE=cpu train "$work/$name" "$work/$name-4" --threads 4
    same "$name with 4 threads" "$work/$name-1/last" "$work/$name-4/last"
    [ "$more" = 1 ] || continue
    if [ "$cuda" ]; then
        SINTER_DEVICE=emu:$cuda train "$work/$name" "$work/$name-emu"
        same "$name on $cuda" "$work/$name-1/last" "$work/$name-emu/last"
    fi
    for options in "--cpu x86-64-v3" "--cpu x86-64-v4" --no-fuse; do
        # shellcheck disable=SC2086
        "$sinter" build "$file" $options -o "$work/other" || bad "build $name $options"
        "$work/other" --check-cpu >/dev/null 2>&1 || {
            echo "skipped $options: this machine cannot run it"
            continue
        }
        rm -rf "$work/other.out"
        train "$work/other" "$work/other.out" --threads 3
        same "$name $options" "$work/$name-1/last" "$work/other.out/last"
    done
done
# One round is none.
for options in "sweep.above=1e6" "sweep.rows=1000000"; do
    "$sinter" build "$models/tied.sn" -D $options -o "$work/one"
    rm -rf "$work/$options"
    train "$work/one" "$work/$options"
done
same "one round" "$work/sweep.above=1e6/last" "$work/sweep.rows=1000000/last"
cmp -s "$work/sweep.above=1e6/last" "$work/tied-1/last" && bad "rounds add nothing up" || ok
# In the plan of a step: 48 rows of 256 in 3 rounds of 16.
"$sinter" dump --plan "$models/zloss.sn" -D sweep.rows=16 | sed -n '/^section micro/,/^section update/p' >"$work/plan"
[ "$(grep -c 'gemm .* 1 x 16 x 256 x 12' "$work/plan")" = 3 ] && ok || bad "rounds: $(grep gemm "$work/plan")"
grep -E '48 x 256|256 x 48' "$work/plan" && bad "rows x classes are whole" || ok
[ "$(grep 'kernel .* rows.d.logits' "$work/plan" | cut -d' ' -f6 | sort -u | wc -l)" = 1 ] && ok ||
    bad "a kernel for each round: $(grep 'rows.d.logits' "$work/plan")"
grep '  copy ' "$work/plan" && bad "a sum is copied" || ok
# A dump goes on where it was written: rounds are made once.
"$sinter" dump "$models/longer.sn" --dump-dir "$work/dumps" >/dev/null
"$sinter" dump "$models/longer.sn" --plan -o "$work/whole.plan"
for pass in recognise sweep chunk; do
    "$sinter" dump "$work/dumps/"*-$pass.ir --plan -o "$work/again.plan"
    same "resumed after $pass" "$work/whole.plan" "$work/again.plan"
done
# What has no rounds says why: the first line of the model.
for file in "$models"/refused/*.sn; do
    why=$(sed -n '1s/^# refused: //p' "$file")
    "$sinter" explain "$file" | sed -n '/^micro/,/^update/p' >"$work/explained"
    grep 'sweep  *no   rounds .*kept whole' "$work/explained" | grep -qF "$why" && ok ||
        bad "$file: $(grep ' sweep ' "$work/explained")"
done
# GPT-2 in full: a step's temporaries without and with rounds, and what is too small for them.
temporaries() { "$sinter" explain "$root/models/gpt2.sn" "$@" | sed -n 's/^micro .* \([0-9.]* .iB\)$/\1/p'; }
[ "$(temporaries -D size.seq=1024 -D micro=1)" = "635.4 MiB" ] && ok || bad "GPT-2: $(temporaries -D size.seq=1024 -D micro=1)"
[ "$(temporaries -D size.seq=64 -D micro=4)" = "$(temporaries -D size.seq=64 -D micro=4 -D sweep.above=1e6)" ] && ok ||
    bad "GPT-2 at 4 x 64 has rounds"
finish
