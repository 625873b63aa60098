#!/bin/sh
# What a run saves is whole and not lost, whatever goes wrong: a folder that cannot be written to or has
# another run in it, a damaged checkpoint, a full disk under the log, bad data in the middle, memory that
# runs out at any allocation.
. "$(dirname "$0")/common.sh"
corpus
# shellcheck disable=SC2086
"$sinter" build "$root/models/bytes.sn" -D layer=1 -D dim=16 -D head=2 -D size.seq=8 -D size.batch=2 -D micro=2 -o "$work/exe"
exe=$work/exe
# says CODE TEXT COMMAND...: exit code, and TEXT in what it says; what it says stays in $work/said.
says() {
    code=$1
    text=$2
    shift 2
    rc=0
    timeout 60 "$@" >"$work/said" 2>&1 </dev/null || rc=$?
    if [ "$rc" = "$code" ] && grep -qF -- "$text" "$work/said"; then ok; else
        bad "exit code $rc, not $code, or no '$text': $*: $(tail -2 "$work/said")"
    fi
}
silent() { if grep -qF -- "$1" "$work/said"; then bad "it says '$1'"; else ok; fi; }
run="$exe --data $work/text --eval-batches 1 --threads 2"
train "$exe" "$work/whole" --steps 6 --save-every 2 --keep 0
whole=$work/whole/step-00000006.safetensors

# ---- --out is looked at before the first step -------------------------------------------------------
says 1 "Not a directory" $run --steps 2 --out "$work/text/run"
silent "step 1"
says 1 "Not a directory" $run --steps 2 --out "$work/text"
silent "step 1"
says 0 "nothing was kept of the 2 steps: there was no --out" $run --steps 2
says 0 "saved" $run --steps 2 --out "$work/kept"
silent "nothing was kept"
says 1 "No such file" $run --resume "$work/absent" --steps 2
[ -e "$work/absent" ] && bad "a folder to resume from was made"

# ---- standard descriptors that are closed: no file gets their numbers, nothing is printed into one ------
rc=0
$run --steps 6 --save-every 2 --out "$work/closed" --log "$work/closed" <&- >&- 2>&- || rc=$?
[ $rc = 3 ] && ok || bad "all descriptors closed: exit code $rc"
same "all descriptors closed" "$whole" "$work/closed/step-00000006.safetensors"
if [ "$(grep -c . "$work/closed/.lock")" = 1 ] && ! grep -qv '^{.*}$' "$work/closed/metrics.jsonl"; then ok; else
    bad "it printed into a file"
fi

# ---- one run at a time; readers may come -------------------------------------------------------------
$run --steps 100000000 --out "$work/busy" --save-every 200 --keep 1 >"$work/busy.log" 2>&1 &
pid=$!
when eval 'ls "$work"/busy/step-*'
says 1 "another run saves in '$work/busy': process $pid on" $run --steps 2 --out "$work/busy"
says 1 "another run saves in" $run --resume "$work/busy" --steps 2
i=0
while [ $i -lt 5 ]; do
    says 0 "" "$exe" --resume "$work/busy" --generate abc --tokens 1
    i=$((i + 1))
done
says 0 "validation loss" $run --resume "$work/busy" --steps 0
kill -9 $pid
wait $pid 2>/dev/null || true
last=$(ls "$work"/busy/step-*.safetensors | tail -1 | sed 's/.*step-0*//; s/\.safetensors//')
says 0 "resumed from" $run --resume "$work/busy" --steps $((last + 1)) --keep 1
[ "$(find "$work/busy" -name '*.tmp' | wc -l)" = 0 ] && ok || bad "temporary files stay behind"

# ---- a damaged checkpoint: the one before, the same bits ----------------------------------------------
damage() { # FILE: its last byte is another
    cp "$1" "$work/undamaged"
    size=$(wc -c <"$1")
    { head -c $((size - 1)) "$work/undamaged"; printf '\125'; } >"$1"
}
cp -r "$work/whole" "$work/hurt"
rm "$work/hurt/last"
damage "$work/hurt/step-00000006.safetensors"
says 1 "is damaged: its checksum is" $run --resume "$work/hurt/step-00000006.safetensors" --steps 6
says 0 "the one before it is taken" "$exe" --resume "$work/hurt" --generate abc --tokens 1
says 0 "resumed from $work/hurt/step-00000004.safetensors" $run --resume "$work/hurt" --steps 6
grep -q "warning: .*is damaged and now called" "$work/said" && ok || bad "no word of the damaged one's name"
same "resumed from the one before" "$whole" "$work/hurt/step-00000006.safetensors"
[ -f "$work/hurt/step-00000006.safetensors.damaged" ] && ok || bad "the damaged one is gone"
damage "$work/hurt/step-00000006.safetensors"
says 0 "now called" $run --resume "$work/hurt/step-00000004.safetensors" --out "$work/hurt" --steps 6
same "resumed from a file beside a damaged one" "$whole" "$work/hurt/step-00000006.safetensors"
says 1 "holds a checkpoint of step 6" $run --resume "$work/hurt/step-00000004.safetensors" --out "$work/hurt" --steps 6

# ---- --out gone in the middle: warnings, and exit 3 at the end as for every save that fails ---------------
$run --steps 100000000 --out "$work/gone" --save-every 200 >"$work/gone.log" 2>&1 &
pid=$!
when eval 'ls "$work"/gone/step-*'
# held meanwhile: it would make the folder anew between the two
kill -STOP $pid
when grep '^State:.T' /proc/$pid/status
mv "$work/gone" "$work/moved" && : >"$work/gone"
kill $pid
kill -CONT $pid
rc=0
wait $pid || rc=$?
[ $rc = 3 ] && grep -q "error: .*Not a directory" "$work/gone.log" && ok || bad "--out gone: $rc: $(tail -1 "$work/gone.log")"

# ---- a full disk under the log ------------------------------------------------------------------------
if [ -e /dev/full ]; then
    mkdir "$work/log"
    ln -s /dev/full "$work/log/metrics.jsonl"
    says 3 "7 lines of the log were not written" $run --steps 6 --out "$work/logged" --log "$work/log"
    [ "$(grep -c 'warning: cannot write to' "$work/said")" = 1 ] && ok || bad "not one warning of the log"
    same "the run beside a log that cannot be written" "$whole" "$work/logged/step-00000006.safetensors"
fi

# ---- bad data in the middle: what was learned is saved first -------------------------------------------
awk 'BEGIN { for (i = 0; i < 4000; i++) printf "%c%c", i == 400 ? 1 : 97 + i % 20, i == 400 ? 1 : 0 }' >"$work/ids" </dev/null
if [ "$(wc -c <"$work/ids")" = 8000 ]; then
    ids="$exe --set data.kind=tokens --set data.shuffle=false --set data.width=2 --eval-batches 1 --threads 2"
    says 1 "$work/ids" $ids --data "$work/ids" --steps 100 --out "$work/mid"
    grep -q "^step [0-9]*  saved" "$work/said" && ok || bad "bad data: nothing was saved"
    last=$(ls "$work"/mid/step-*.safetensors | tail -1)
    n=$(echo "$last" | sed 's/.*step-0*//; s/\.safetensors//')
    [ "${n:-0}" -gt 10 ] && ok || bad "bad data: saved after step ${n:-0}"
    says 1 "$work/ids" $ids --data "$work/ids" --steps 100 --out "$work/every" --save-every "$n"
    same "saved after bad data" "$last" "$work/every/$(basename "$last")"
fi

# ---- memory runs out ------------------------------------------------------------------------------------
# Allocation n fails, alone or with all later ones, for every n of a run (each seventeenth one in the short
# test): it says so and ends with 3, or it does all it was to do; a file under a final name is whole.
fail=$build/libfailing_alloc.so
if [ -f "$fail" ]; then
    starve() { # LABEL CHECKPOINT OPTIONS...
        label=$1
        file=$2
        shift 2
        rm -rf "$work/all"
        FAIL_COUNT=$work/count LD_PRELOAD=$fail $run "$@" --out "$work/all" >/dev/null 2>&1
        all=$(cat "$work/count")
        [ "$all" -gt 100 ] && ok || bad "$label: only $all allocations"
        for on in FAIL_NOT FAIL_ON; do
            n=$((1 + ${#label} % step))
            while [ "$n" -le "$all" ]; do
                rc=0
                env $on=1 FAIL_AT="$n" LD_PRELOAD="$fail" $run "$@" --out "$work/starved" --log "$work/starved" >"$work/said" 2>"$work/err" || rc=$?
                if [ $rc != 0 ] && [ $rc != 3 ]; then bad "$label, $on $n: exit code $rc: $(tail -1 "$work/err")"; fi
                if [ $rc = 3 ] && ! grep -q "error: ." "$work/err"; then bad "$label, $on $n: no message"; fi
                if [ $rc = 0 ] || [ -e "$work/starved/$file" ]; then same "$label, $on $n" "$work/all/$file" "$work/starved/$file"; fi
                rm -rf "$work/starved"
                n=$((n + step))
            done
        done
    }
    step=17
    [ "$long" = 1 ] && step=1
    starve new step-00000002.safetensors --steps 2
    starve resumed step-00000004.safetensors --resume "$work/whole/step-00000002.safetensors" --steps 4
    # What writes to its standard output: the same text, or exit 3. EVERY: which allocations fail.
    starve_text() { # LABEL EVERY COMMAND...
        label=$1
        every=$2
        shift 2
        FAIL_COUNT=$work/count LD_PRELOAD=$fail "$@" >"$work/wanted" 2>/dev/null || bad "$label: it fails with all memory"
        all=$(cat "$work/count")
        for on in FAIL_NOT FAIL_ON; do
            n=$((1 + all % every))
            while [ "$n" -le "$all" ]; do
                rc=0
                env $on=1 FAIL_AT="$n" LD_PRELOAD="$fail" "$@" >"$work/said" 2>"$work/err" || rc=$?
                if [ $rc = 0 ]; then same "$label, $on $n" "$work/wanted" "$work/said"; fi
                if [ $rc != 0 ] && { [ $rc != 3 ] || ! grep -q "error: ." "$work/err"; }; then
                    bad "$label, $on $n: exit code $rc: $(tail -1 "$work/err")"
                fi
                n=$((n + every))
            done
        done
    }
    starve_text generate $step "$exe" --resume "$work/whole" --generate abc --tokens 3
    if nm "$sinter" 2>/dev/null | grep -q __asan_init; then # wants to be loaded first itself
        echo "skipped the compiler without memory: it has sanitizers"
        finish
        exit
    fi
    starve_text dump 3 "$sinter" dump "$root/models/mlp.sn" --plan
    # LLVM's own allocations: most of a build's
    starve_text build 40009 "$sinter" build "$root/models/mlp.sn" -o "$work/built"
    [ "$all" -gt 80000 ] && ok || bad "a build of only $all allocations"
else
    echo "skipped memory that runs out: no $fail"
fi
finish
