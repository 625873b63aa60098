#!/bin/sh
# Several ranks as processes (runtime/comm): the same sums on every transport, started in every way; whatever ends,
# hangs or was started otherwise is named, the others end by themselves, and no process is left behind.
. "$(dirname "$0")/common.sh"
ranks=$build/ranks
unset SINTER_RANK SINTER_WORLD SINTER_SOCKETS RANK WORLD_SIZE MASTER_ADDR MASTER_PORT || true

# Every process of a run writes its number down.
alive() {
    while read -r p; do
        kill -0 "$p" 2>/dev/null && echo "$p"
    done <"$work/pids" || true
}
gone() { [ -z "$(alive)" ]; }
# run STATUS ARGS...: output in $work/out; the exit status is that, in time, and nobody is left
run() {
    want=$1
    shift
    got=0
    : >"$work/pids"
    COMM_PIDS=$work/pids timeout -k 5 60 "$ranks" "$@" >"$work/out" 2>&1 || got=$?
    [ "$got" = "$want" ] && ok || bad "$*: status $got, not $want: $(cat "$work/out")"
    gone && ok || bad "$*: processes $(alive) are left"
}
# says LINE: a whole line of the output; NODE stands for this machine's name
node=$(uname -n | sed 's/\..*//')
says() {
    line=$(echo "$1" | sed "s/NODE/$node/g")
    grep -qxF -- "$line" "$work/out" && ok || bad "no line '$line' in: $(cat "$work/out")"
}
matches() { if grep -qE -- "^$1\$" "$work/out"; then ok; else bad "no line '$1' in: $(cat "$work/out")"; fi; }
bits() { sed -n 's/.*, bits \([0-9a-f]*\),.*/\1/p' "$work/out"; }

# ---- sums --------------------------------------------------------------------------------------------
sizes="1 2 3"
[ "$long" = 1 ] && sizes="1 2 3 4 5 8"
for n in $sizes; do
    run 0 --ranks "$n"
    matches "$n ranks, (shm|alone): all sums are right, bits [0-9a-f]{16}, 1 machine, [0-9]+ threads"
    bits >"$work/bits.$n"
done

# ---- over MPI: the same bits ---------------------------------------------------------------------------
mpi=
if command -v mpirun >/dev/null && mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
    # Open MPI frees not all of its own at its end, which a build with sanitizers would tell.
    mpi="env ASAN_OPTIONS=detect_leaks=0 mpirun --oversubscribe"
    [ "$(id -u)" = 0 ] && mpi="$mpi --allow-run-as-root"
    counts=3
    [ "$long" = 1 ] && counts="2 3 4 8"
    for n in $counts; do
        $mpi -np "$n" "$ranks" --engine mpi --seconds 60 >"$work/out" 2>&1 || bad "mpirun -np $n: $(cat "$work/out")"
        matches "$n ranks, mpi: all sums are right, .*"
        bits >"$work/bits"
        same "bits of $n ranks" "$work/bits" "$work/bits.$n"
    done
    # Shared memory between ranks that mpirun started; where rank 0 listens they tell each other.
    $mpi -np 2 "$ranks" --seconds 60 >"$work/out" 2>&1 || bad "mpirun, shm: $(cat "$work/out")"
    matches "2 ranks, shm: all sums are right, .*"
    if $mpi -np 3 "$ranks" --engine mpi --seconds 2 --do sleep:between@1 >"$work/out" 2>&1; then
        bad "a rank sleeps and mpirun is content"
    fi
    matches "rank 1 .*: no all_reduce 'f32 0 1' .* ranks 0 2 wait since [2-9] s"
else
    echo "skipped what runs under Open MPI: no mpirun of Open MPI (Debian: openmpi-bin)"
fi

# ---- over TCP: as torchrun and others start them ---------------------------------------------------------
# A port that nobody has.
port=$((20000 + $$ % 20000))
between=: # a command, when rank 0 is started
# each N ARGS...: N ranks with the variables of torchrun; statuses in $work/status.R, output in $work/out.R
each() {
    n=$1
    shift
    pids=
    for r in $(seq 0 $((n - 1))); do
        (
            got=0
            RANK=$r WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 SINTER_PORT=$port \
                timeout -k 5 60 "$ranks" "$@" >"$work/out.$r" 2>&1 || got=$?
            echo $got >"$work/status.$r"
        ) &
        pids="$pids $!"
        if [ "$r" = 0 ]; then $between; fi
    done
    # shellcheck disable=SC2086 # a list
    wait $pids
    cat "$work"/out.[0-9] >"$work/out"
    cat "$work"/status.[0-9] | tr '\n' ' ' >"$work/statuses"
    rm "$work"/out.[0-9] "$work"/status.[0-9]
}
statuses() { [ "$(cat "$work/statuses")" = "$1 " ] && ok || bad "statuses $(cat "$work/statuses") not $1: $(cat "$work/out")"; }

each 2
statuses "0 0"
bits >"$work/bits"
same "bits over TCP" "$work/bits" "$work/bits.2"
# Strangers at the port: one says nothing, one something else, one half a message. They harm nobody.
strangers() {
    for what in silent http half; do
        SINTER_PORT=$port "$ranks" --stranger $what --seconds 1 &
        come="${come:-} $!"
    done
    sleep 0.5
}
between=strangers
each 3
between=:
statuses "0 0 0"
for p in $come; do
    wait "$p" && ok || bad "nobody listened to a stranger"
done
# Two runs at one port.
SINTER_RANK=0 SINTER_WORLD=2 SINTER_LOCAL=0 SINTER_LOCALS=2 SINTER_PORT=$port "$ranks" --seconds 3 >"$work/first" 2>&1 &
first=$!
sleep 0.3
status=0
RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 SINTER_PORT=$port "$ranks" >"$work/out" 2>&1 || status=$?
[ $status = 1 ] && ok || bad "a port that is taken: status $status"
says "port $port of this machine is taken: another run or program has it; SINTER_PORT gives another one, the same on all ranks"
wait $first && bad "rank 1 never came, and rank 0 is content"
cp "$work/first" "$work/out"
says "rank 1 did not come within 3 s"
status=0
RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 SINTER_PORT=$port "$ranks" --seconds 0.5 >"$work/out" 2>&1 || status=$?
[ $status = 1 ] && ok || bad "no rank 0: status $status"
matches "\[rank 1 .*\] no rank 0 at 127.0.0.1, port $port, for [01] s: Connection refused"
each 3 --seconds 5 --fact seed=7@2 --fact plan=1
statuses "1 4 4"
says "rank 2 (NODE) was not started as rank 0 was: seed: 7 instead of 1"

# ---- started wrongly ----------------------------------------------------------------------------------
RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=1000 run 2 --ranks 2
says "ranks: rank 0 of 2 was started by torchrun: without --ranks"
RANK=0 run 2
says "ranks: RANK is set and WORLD_SIZE is not: set both, or neither"

# ---- failures under the launcher ------------------------------------------------------------------------
run 1 --ranks 3 --fact seed=7@1 --fact plan=8@1 --fact steps=10
says "rank 1 (NODE) was not started as rank 0 was: seed: 7 instead of 1, plan: 8 instead of 1"
run 137 --ranks 3 --do kill:first@2
says "rank 2 was ended by signal 9 (Killed)"
says "rank 2 (NODE) has ended before it said which run it is of"
run 137 --ranks 3 --do kill:first@0
run 137 --ranks 3 --do kill:between@1
matches "rank 1 \\($node\\) has ended without a word(; it was .*)?"
run 137 --ranks 3 --do kill:in@0
says "[rank 1 NODE] rank 0 (NODE) has ended without a word"
says "[rank 2 NODE] rank 0 (NODE) has ended without a word"
run 4 --ranks 2 --do half:between@1
matches "rank 1 \\($node\\) has ended in the middle of a message(; it was .*)?"
run 4 --ranks 2 --seconds 2 --do nonsense:between@1
matches "rank 1 \\($node\\) sends what is no message(; it was .*)?"
run 1 --ranks 3 --do fail:between@1
says "rank 1 (NODE): data.bin: a token is 70000 and the vocabulary has 50257"
run 3 --ranks 3 --do other:between@1
says "collective 1 differs: rank 0 does all_reduce 'f32 0 1' (ranks.c) of 4 bytes, rank 1 all_gather 'f32 0 1' (ranks.c) of 4 bytes"
run 4 --ranks 3 --seconds 1 --do sleep:between@2
matches "rank 2 \\($node\\): no all_reduce 'f32 0 1' \\(ranks.c\\), step 812 pass 2, group data 0-2: it is at 'update/grad_norm'; ranks 0 1 wait since [1-9] s"
run 4 --ranks 3 --seconds 1 --do stop:in@1
matches "rank 1 \\($node\\) has said nothing for [1-9] s(; it was .*)?"
run 4 --ranks 2 --seconds 1 --do stop:between@0
matches "\\[rank 1 $node\\] rank 0 \\($node\\) has said nothing for [1-9] s"
run 4 --ranks 3 --seconds 1 --do leave:in@2
if [ "$long" = 1 ]; then
    for what in kill stop leave half; do
        for when in first between in; do
            for rank in 0 1 2; do
                case $what in kill) want=137 ;; *) want=4 ;; esac
                run $want --ranks 3 --seconds 1 --do $what:$when@$rank
            done
        done
    done
fi

# A run that is stopped as a whole for longer than it would wait goes on.
: >"$work/pids"
COMM_PIDS=$work/pids "$ranks" --ranks 3 --seconds 2 --do nap:between@1 >"$work/out" 2>&1 &
pid=$!
all_there() { [ "$(alive | wc -l)" = 4 ]; } # three ranks and their parent
when all_there
sleep 0.5
# shellcheck disable=SC2046 # a list
kill -s STOP $(cat "$work/pids") && sleep 5 && kill -s CONT $(cat "$work/pids")
wait $pid && ok || bad "a run that was stopped for a while: $(cat "$work/out")"

# ---- signals of the launcher ----------------------------------------------------------------------------
# A signal reaches all ranks; the parent killed takes them along.
for signal in TERM KILL; do
    : >"$work/pids"
    COMM_PIDS=$work/pids "$ranks" --ranks 3 --do sleep:in@1 >"$work/out" 2>&1 &
    pid=$!
    when all_there
    all_there && ok || bad "not all ranks are there: $(cat "$work/pids")"
    sleep 0.3
    kill -s $signal $pid
    wait $pid && bad "SIG$signal, and the launcher is content"
    pid=$$
    when gone
    gone && ok || bad "SIG$signal: $(alive) are left"
done
finish
