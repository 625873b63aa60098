#!/bin/sh
# Values that wait for the backward pass on the host: the same bytes of every state, less memory of the device; as
# graphs and command by command, in several orders of the streams, with accumulation and recomputation. On the CPU
# names change nothing, and the moments may live in a file.
. "$(dirname "$0")/common.sh"
corpus
place() { "$1" --info | awk -v what="$2" '$1 == "memory" && $2 == what {print $3}'; }
sed 's/layer = 2/layer = 4/' "$root/tests/e2e/attend/causal.sn" >"$work/base.sn"
build() { # NAME LINE ARGS...
    name=$1 line=$2
    shift 2
    sed "s|^train {|&\n  $line|" "$work/base.sn" >"$work/$name.sn"
    "$sinter" build "$work/$name.sn" "$@" -o "$work/$name" --verify-each >"$work/$name.said" 2>&1
}

# the CPU: the same plan, a note in the ledger
build plain "" && ok || bad "plain: $(head -1 "$work/plain.said")"
cp "$work/plain" "$work/without"
train "$work/without" "$work/cpu.out" --steps 3
build line "offload : x" && ok || bad "cpu: $(head -1 "$work/line.said")"
train "$work/line" "$work/line.out" --steps 3
same "the CPU with a line 'offload'" "$work/cpu.out/last" "$work/line.out/last"
[ "$(place "$work/line" temporary)" = "$(place "$work/without" temporary)" ] && ok || bad "offload on the CPU changes memory"
"$sinter" explain "$work/line.sn" | grep -q "offload .*this device's memory is the host's" && ok || bad "no note on the CPU"

# moments in a file: the same bytes, also when the run is killed and resumed; no file stays; no room, no run
mkdir "$work/disk"
build moments "offload moments = \"$work/disk\"" && ok || bad "moments: $(head -1 "$work/moments.said")"
train "$work/moments" "$work/moments.out" --steps 1
train "$work/without" "$work/file.out" --steps 3 --set offload.moments="$work/disk"
same "moments in a file" "$work/cpu.out/last" "$work/file.out/last"
"$work/without" --data "$work/text" --steps 100000 --save-every 1 --eval-batches 2 --out "$work/killed.out" --set offload.moments="$work/disk" >"$work/killed.log" 2>&1 &
pid=$!
some_step() { ls "$work/killed.out"/step-*.safetensors; } # older ones are removed
when some_step
grep -q "rw-s.*$work/disk/.*(deleted)" /proc/$pid/maps && ok || bad "the moments are in no file"
kill -9 $pid
wait $pid 2>/dev/null || true
[ -z "$(ls -A "$work/disk")" ] && ok || bad "a file is left in the folder of the moments"
at=$(ls "$work/killed.out" | sed -n 's/^step-0*\([0-9]*\).safetensors/\1/p' | tail -1)
train "$work/without" "$work/to.out" --steps $((at + 2))
train "$work/without" "$work/killed.out" --resume "$work/killed.out" --steps $((at + 2)) --set offload.moments="$work/disk"
same "killed and resumed" "$work/to.out/last" "$work/killed.out/last"
# refused STATUS WORDS COMMAND...
refused() {
    status=$1 words=$2
    shift 2
    got=0
    "$@" --data "$work/text" --steps 1 >"$work/said" 2>&1 || got=$?
    [ $got = "$status" ] && grep -q "$words" "$work/said" && ok || bad "exit $got, not $status: $(tail -1 "$work/said")"
}
refused 1 "no file for the moments in '$work/nowhere'" "$work/without" --set offload.moments="$work/nowhere"
refused 1 "no file for the moments in '$work/text'" "$work/without" --set offload.moments="$work/text"
(
    trap '' XFSZ
    ulimit -f 32
    refused 3 "GiB of moments in '$work/disk'" "$work/without" --set offload.moments="$work/disk"
    [ "$failed" = 0 ]
) && ok || bad "no room: $(tail -1 "$work/said")"

if ! build plain "" --target sm_90a; then
    grep -q NVRTC "$work/plain.said" || bad "no program for sm_90a: $(head -1 "$work/plain.said")"
    echo "skipped the emulated device: $(head -1 "$work/plain.said")"
    finish
    exit
fi
export SINTER_DEVICE=emu:sm_90a
train "$work/plain" "$work/plain.out" --steps 3
same "the CPU's bytes" "$work/cpu.out/last" "$work/plain.out/last"
all=$(place "$work/plain" temporary)
[ -z "$(place "$work/plain" host)" ] && ok || bad "memory of the host without a line"
# compare LABEL LINE: checkpoint and memory against the plan without it
compare() {
    label=$1 line=$2
    build again "$line" --target sm_90a && ok || bad "$label: $(head -1 "$work/again.said")"
    rm -rf "$work/again.out"
    train "$work/again" "$work/again.out" --steps 3
    same "$label" "$work/plain.out/last" "$work/again.out/last"
    [ "$(place "$work/again" temporary)" -lt "$all" ] && ok || bad "$label saves nothing of $all"
    [ "$(place "$work/again" host)" -gt 0 ] && ok || bad "$label: nothing on the host"
}
compare "the residual stream" "offload : x"
"$sinter" explain "$work/again.sn" --target sm_90a | grep -q 'offload .*links .* values, .* ms out at .* predicted to wait' && ok || bad "no line of the links"
for seed in 2 3; do
    rm -rf "$work/again.out"
    SINTER_EMU_SEED=$seed train "$work/again" "$work/again.out" --steps 3
    same "seed $seed" "$work/plain.out/last" "$work/again.out/last"
done
rm -rf "$work/again.out"
SINTER_CUDA_GRAPHS=off train "$work/again" "$work/again.out" --steps 3
same "command by command" "$work/plain.out/last" "$work/again.out/last"
"$work/again" --data "$work/text" --steps 1 --profile --out "$work/profile.out" >"$work/profile.log" 2>&1 && ok || bad "profile: $(tail -1 "$work/profile.log")"
compare "everything" "offload : *"
build again "offload : x; recompute budget(1GiB)" --target sm_90a && ok || bad "a budget: $(head -1 "$work/again.said")"
build again "offload : attn.p" --target sm_90a && bad "a value that nothing keeps"
grep -q "error: 'attn.p' names no value that waits in memory for the backward pass" "$work/again.said" && ok || bad "$(head -1 "$work/again.said")"
[ "$long" = 0 ] || compare "with recomputation" "offload : x; recompute every(1)"
finish
