#!/bin/sh
# Attention kept whole (the pass recognise) gives the bits of attention taken apart: every model of
# tests/e2e/attend, trained with and without, for any number of threads and every instruction set, with odd
# sizes; rows and sums longer than a segment of 4096; and what is formed and refused, by model.
. "$(dirname "$0")/common.sh"
corpus
head -c 5000 "$work/text" >"$work/few"
all=$("$sinter" passes | awk '{printf "%s%s", s, $1; s=","}')
apart=$(echo "$all" | tr ',' '\n' | grep -vx recognise | paste -sd,)
# compare NAME FILE OPTIONS...: the checkpoints of both, what they predict, and other threads and instruction sets
compare() {
    name=$1
    file=$2
    shift 2
    "$sinter" build "$file" "$@" -o "$work/$name" || bad "build $name"
    "$sinter" build "$file" "$@" --passes="$apart" -o "$work/$name-apart" || bad "build $name apart"
    "$sinter" dump --plan "$file" "$@" | grep -q '  attend ' && ok || bad "$name: no attention is kept whole"
    train "$work/$name-apart" "$work/$name-apart.out" --steps 3 --threads 2
    for t in $threads; do
        train "$work/$name" "$work/$name-$t.out" --steps 3 --threads "$t"
        same "$name with $t threads" "$work/$name-apart.out/last" "$work/$name-$t.out/last"
    done
    for kind in "" -apart; do # what it gives for data, from the same weights
        "$work/$name$kind" --resume "$work/$name-apart.out" --data "$work/few" --predict "$work/$name$kind.given" \
            >"$work/said" 2>&1 || bad "$name$kind predicts nothing: $(tail -1 "$work/said")"
    done
    same "$name's predictions" "$work/$name-apart.given" "$work/$name.given"
    [ "$more" = 1 ] || return 0
    for cpu in x86-64-v3 x86-64-v4; do
        "$sinter" build "$file" "$@" --cpu $cpu -o "$work/$name-$cpu"
        if "$work/$name-$cpu" --check-cpu >/dev/null 2>&1; then
            train "$work/$name-$cpu" "$work/$name-$cpu.out" --steps 3 --threads 3
            same "$name for $cpu" "$work/$name-apart.out/last" "$work/$name-$cpu.out/last"
        else
            echo "skipped $name for $cpu: this machine cannot run it"
        fi
    done
    rm -rf "$work/$name"*
}
models=$root/tests/e2e/attend
threads="1 4"
more=0
for file in "$models"/*.sn; do
    name=$(basename "$file" .sn)
    case $name in
    latent | grouped) more=1 threads="1 2 3 4" ;;
    *) more=$long threads="1 4" ;;
    esac
    compare "$name" "$file"
    case $name in crossed | refused) continue ;; esac # whole in parts
    "$sinter" explain "$file" >"$work/explained"
    "$sinter" dump --plan "$file" | sed -n '/^section micro/,/^section update/p' >"$work/plan"
    grep -E 'gemm +%[0-9]+ ([2-9]|[0-9]{2,}) x ([0-9]+) x \2 x' "$work/plan" && bad "$name stores scores" || ok
    if grep -q 'recognise  yes  attention .* x 2' "$work/explained" && ! grep -q 'recognise  no' "$work/explained"; then
        ok
    else
        bad "$name: $(grep recognise "$work/explained")"
    fi
done
for file in "$models"/mixed/*.sn; do # some are, beside some that cannot be
    compare "$(basename "$file" .sn)" "$file"
done
# What cannot be kept whole says why: the first line of the model.
for file in "$models"/refused/*.sn; do
    why=$(sed -n '1s/^# refused: //p' "$file")
    "$sinter" explain "$file" >"$work/explained"
    grep 'recognise  no   attention .*kept decomposed' "$work/explained" | grep -qF "$why" && ok ||
        bad "$file: $(grep recognise "$work/explained")"
done
# Keys that a mask of indices hides are not computed; a mask of data hides none.
hidden() { # FILE PERCENT OPTIONS...
    file=$1
    percent=$2
    shift 2
    seen=$("$sinter" dump --plan "$models/$file.sn" "$@" | sed -n 's/.* parts, \([0-9]*\) % of the keys.*/\1/p' | sort -u)
    [ "$seen" = "$percent" ] && ok || bad "$file: $(echo $seen) % of the keys, not $percent"
}
hidden causal 52 -D size.seq=2000
hidden window 6 -D size.seq=2000
hidden full 100 -D size.seq=2000
hidden sink 52 -D size.seq=2000
hidden segments 52 -D size.seq=2000
threads="1 3"
more=0
hdims="5 64" seqs="49 129" # tests/unit/test_attend.c has all kinds
[ "$long" = 0 ] || hdims="1 5 16 48 64 80 256" seqs="2 48 49 128 129 300"
for hdim in $hdims; do # features of a panel, of several, and a part of one
    compare "hdim$hdim" "$models/causal.sn" -D hdim=$hdim -D head=2 -D layer=1 -D size.seq=50
done
for seq in $seqs; do # strips and blocks of keys, whole and not
    compare "seq$seq" "$models/window.sn" -D size.seq=$seq -D layer=1 -D head=2
done
compare rows "$models/causal.sn" -D size.seq=4100 -D head=1 -D layer=1 -D size.batch=1 -D micro=1 -D dim=8 -D hdim=4
compare groups "$models/grouped.sn" -D size.seq=2100 -D head=1 -D layer=1 -D size.batch=1 -D micro=1 -D dim=8 -D hdim=16
# A bias for each row and key, whose derivative sums more samples than one chunk has.
compare chunks "$models/bias.sn" -D size.batch=70 -D micro=70 -D layer=1 -D size.seq=9
finish
