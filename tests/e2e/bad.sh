#!/bin/sh
# Bad input gives one plain message, the documented exit code, and never damages what exists: command
# lines, model text, data, checkpoints, a full disk.
. "$(dirname "$0")/common.sh"
corpus
esc=$(printf '\033')
# expect CODE TEXT COMMAND...: exit code, and a message that holds TEXT; never a crash, and nothing that a
# terminal takes for more than text.
expect() {
    code=$1
    text=$2
    shift 2
    rc=0
    "$@" >"$work/said" 2>&1 </dev/null || rc=$?
    if [ "$rc" != "$code" ]; then
        bad "exit code $rc instead of $code: $*: $(tail -1 "$work/said")"
    elif ! grep -qF -- "$text" "$work/said"; then
        bad "no '$text' in what '$*' said: $(tail -1 "$work/said")"
    elif grep -q "internal error\|Sanitizer" "$work/said"; then
        bad "an internal error: $*"
    elif grep -qF -- "$esc" "$work/said"; then
        bad "an escape: $*: $(tail -1 "$work/said" | cat -v)"
    else
        ok
    fi
}
model=$root/models/bytes.sn

# command lines
expect 2 "usage" "$sinter"
expect 2 "unknown command 'biuld'; did you mean 'build'?" "$sinter" biuld x.sn
expect 2 "unknown option '--kernel'; did you mean '--kernels'?" "$sinter" dump "$model" --kernel
expect 2 "option '--after' needs a value" "$sinter" dump "$model" --after=
expect 2 "option '-o' needs a value" "$sinter" build "$model" -o=
expect 2 "needs a file" "$sinter" check
expect 2 "unknown command 'x?[31m'" "$sinter" "x$esc[31m"
expect 2 "unknown option '--x?[31m'" "$sinter" check "$model" "--x$esc[31m"
expect 2 "unknown target 'x?[31m'" "$sinter" check "$model" --target "x$esc[31m"
expect 2 "named 'x?[31m'" "$sinter" std "x$esc[31m"
expect 1 "cannot write '$work/x?[31m/out'" "$sinter" dump "$model" -o "$work/x$esc[31m/out"
expect 2 "needs -o OUT" "$sinter" build "$model"
expect 2 "option '-D' needs a value: NAME=VALUE" "$sinter" check "$model" -D
expect 2 "unknown option '--kernel'; did you mean '--kernels', an option of 'dump'?" "$sinter" check "$model" --kernel
expect 2 "'check' does not take '--kernels', an option of 'dump'" "$sinter" check "$model" --kernels
expect 2 "'dump' does not take '--repeat', an option of 'bench'" "$sinter" dump "$model" --repeat=3
expect 2 "'fmt' does not take '-D', an option of 'build', 'run', 'check', 'params', 'explain', 'plan', 'verify', 'bench', 'dump' and 'opt'" "$sinter" fmt "$model" -Dlayer=3
expect 2 "option '--repeat' takes a whole number from 1 to 31, not '32'" "$sinter" bench "$model" --repeat 32
"$sinter" dump "$model" -o "$work/front.ir"
expect 1 "'$work/front.ir' is IR, whose sizes are fixed: plan the model" "$sinter" plan "$work/front.ir" --on cpu:1G
expect 2 "only 'run' takes arguments after '--'" "$sinter" build "$model" -o "$work/x" -- --data f
expect 2 "'ops' takes no '$model'" "$sinter" ops "$model"
expect 2 "one input at a time" "$sinter" check "$model" "$model"
expect 2 "unknown command 'biuld'; did you mean 'build'?" "$sinter" help biuld
expect 2 "unknown option '--fast'" "$sinter" check "$model" --fast
expect 2 "-D wants name=value" "$sinter" check "$model" -D layer
expect 2 "unknown target 'tpu'" "$sinter" build "$model" -o "$work/x" --target tpu
expect 2 "" "$sinter" build "$model" -o "$work/x" --cpu pentium
expect 1 "cannot read" "$sinter" check "$work/absent.sn"
expect 1 "cannot read" "$sinter" check "$work"
expect 1 "no pass is called 'fold'" "$sinter" dump "$model" --after fold
expect 1 "layers" "$sinter" check "$model" -D layers=3
"$sinter" dump "$model" -D lr.peak=x -D lr.peak=1 -D layer=x -D layer=2 >"$work/last" 2>&1 && ok || bad "the last -D of a name does not count"
mkfifo "$work/pipe"
expect 3 "not a regular file" "$sinter" build "$root/models/mlp.sn" -o "$work/pipe"
cat "$work/pipe" >"$work/piped" &
"$sinter" dump "$root/models/mlp.sn" -o "$work/pipe" || bad "a dump into a pipe"
wait $!
"$sinter" dump "$root/models/mlp.sn" >"$work/dumped"
same "a dump through a pipe" "$work/dumped" "$work/piped"
ln -s "$work/target" "$work/link"
printf '%070000d' 0 >"$work/target"
"$sinter" dump "$root/models/mlp.sn" -o "$work/link" || bad "a dump through a link"
same "a dump through a link" "$work/dumped" "$work/target"
if [ -p "$work/pipe" ]; then ok; else bad "a pipe was replaced by a file"; fi
expect 1 "the passes fuse and memplan come last" "$sinter" build "$model" --passes=simplify,dce -o "$work/x"
expect 1 "the passes fuse and memplan come last" "$sinter" dump "$model" --passes=memplan --plan
# a list of passes in an order that passes.def refuses: nothing of it runs; direct, and by what is required in turn
expect 1 "pass 'fuse' comes before 'chunk', which it requires" "$sinter" dump "$model" --passes=simplify,fuse,chunk
expect 1 "pass 'memplan' comes before 'fuse', which it requires" "$sinter" dump "$model" --passes=memplan,fuse --kernels
expect 1 "no pass is called 'fuze'" "$sinter" dump "$model" --passes=simplify,fuze
"$sinter" dump "$model" --passes=dce,autodiff,dce -o "$work/twice" && ok || bad "a pass twice in a list"

# model text
printf 'axis batch\nmodel m(x: real[batch]) { loss = sum[batch](x) \\\n }\n' >"$work/slash.sn"
expect 1 "slash.sn:2:" "$sinter" check "$work/slash.sn"
printf 'axis ba\001tch\n' >"$work/control.sn"
expect 1 "control.sn:1:" "$sinter" check "$work/control.sn"
printf 'axis b\0atch\n' >"$work/nul.sn"
expect 1 "nul.sn:1:" "$sinter" check "$work/nul.sn"
: >"$work/empty.sn"
expect 1 "" "$sinter" check "$work/empty.sn"
head -c 3000 /dev/urandom >"$work/noise.sn"
expect 1 "noise.sn" "$sinter" check "$work/noise.sn"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "("; }' >"$work/deep.sn"
expect 1 "deep.sn" "$sinter" check "$work/deep.sn"
printf 'func f {\n  %%0 = add %%1, %%2 : f32\n}\n' >"$work/bad.ir"
expect 1 "bad.ir:2:" "$sinter" dump "$work/bad.ir"

# check says what a build would refuse, in the same words; a file without a plan can be checked and dumped
check_as_build() { # NAME ARGS: of tests/diag or models
    name=$1
    shift
    "$sinter" check "$root/$name" "$@" >"$work/checked" 2>&1 && bad "check accepts $name $*"
    "$sinter" build "$root/$name" "$@" -o "$work/x" >"$work/built" 2>&1 && bad "build accepts $name $*"
    same "check and build of $name" "$work/checked" "$work/built"
}
check_as_build tests/diag/passes_view.sn
check_as_build tests/diag/passes_norm.sn
check_as_build models/convnet.sn -D micro=2
check_as_build models/convnet.sn -D micro=2 --target sm_90a
cat >"$work/huge.sn" <<'END'
axis a = 70000, b = 70000, n = 5, c = n * b, batch = 2
model m(x: real[batch], i: a[batch, n]) {
  param w[a, b] ~ 0
  loss = mean[batch](x) * sum[batch, c](abs(w[a: i][n * b -> c]))
}
train { data tensors("x"); optimizer sgd; lr constant(1); steps 1 }
END
expect 1 "huge.sn:4:27: error: this cannot be compiled yet: two computed indices" "$sinter" check "$work/huge.sn"
[ "$(grep -c "4:27: error" "$work/said")" = 1 ] && ok || bad "one line is refused twice"
expect 1 "there is no plan to train 'm' by" "$sinter" build "$root/tests/diag/no_plan.sn" -o "$work/x"
expect 1 "there is no plan to train 'm' by" "$sinter" run "$root/tests/diag/no_plan.sn"
expect 0 "section micro" "$sinter" dump "$root/tests/diag/no_plan.sn" --plan
"$sinter" dump "$root/tests/diag/no_plan.sn" >"$work/plain.ir"
expect 1 "there is no plan to train 'm' by" "$sinter" build "$work/plain.ir" -o "$work/x"

# 30,000 faults and things of one kind: each is looked at once, the first errors are shown, the rest counted
many() { # KIND LINE: a model whose body has the line 30,000 times, with its number for each &
    {
        printf 'axis d = 4, batch = 2\nmodel m(x: real[batch, d]) {\n  param w[d] ~ 1\n  y = x\n'
        seq 30000 | sed "s|.*|  $2|"
        printf '  loss = mean[batch](x @[d] w)\n}\n'
        echo 'train { data tensors("x"); optimizer sgd; lr constant(1); steps 1 }'
    } >"$work/$1.sn"
}
good() { if "$sinter" check "$work/$1.sn" >"$work/said" 2>&1; then ok; else bad "$1: $(head -1 "$work/said")"; fi; }
many unknown 'y& = unknown&'
expect 1 "29980 more errors not shown" "$sinter" check "$work/unknown.sn"
many syntax 'y& = = 3'
expect 1 "29980 more errors not shown" "$sinter" check "$work/syntax.sn"
many things 'loss l& = mean[batch](x @[d] w); axis a& = 3; z& = iota[a&]; output o& = x'
good things
many parameters 'param p&[d] ~ 1'
good parameters
# suggestions cost a walk over the names: the first hundred errors may get one
many near 'name& = nam&'
expect 1 "did you mean" "$sinter" check "$work/near.sn" --error-limit 0
near=$(grep -c "did you mean" "$work/said")
[ "$near" -le 100 ] && [ "$near" -gt 50 ] && ok || bad "$near suggestions"
expect 1 "29997 more errors not shown" "$sinter" check "$work/near.sn" --error-limit=3
expect 2 "option '--error-limit' takes a whole number from 0 to 2147483647, not 'x'" "$sinter" check "$work/near.sn" --error-limit=x
# what is nested without bound ends in a message, not in the stack: also in 2 MB of it
deep() { # NAME TEXT
    expect 1 "$2" sh -c "ulimit -s 2048; '$sinter' check '$work/$1.sn'"
}
awk 'BEGIN { for (i = 0; i < 50000; i++) printf "axis a%d = a%d\n", i, i + 1
    print "axis a50000 = 1, batch = 2\nmodel m(x: real[batch]) { loss = sum[batch](x) + a0 }" }' >"$work/chain.sn"
deep chain "more than 1000 expressions, calls and constants inside each other"
awk 'BEGIN { print "axis d = 4, batch = 2\nfn f0(x) = x"
    for (i = 1; i < 60; i++) {
        printf "fn f%d(x) = ", i
        for (k = 0; k < 190; k++) printf "x[d: "
        printf "f%d(x)", i - 1
        for (k = 0; k < 190; k++) printf "]"
        print ""
    }
    print "model m(x: real[batch, d]) { loss = sum[batch, d](f59(x)) }" }' >"$work/views.sn"
deep views "more than 1000 expressions, calls and constants inside each other"
many tuples 'y = (y, x)'
deep tuples "more than 64 tuples inside each other"

# a pipe or a device is no model: it is not opened, which could wait for ever; '-' is standard input
expect 1 "cannot read '$work/pipe': a pipe or a device, not a file; '-' reads standard input" timeout 20 "$sinter" check "$work/pipe"
expect 1 "a pipe or a device, not a file" timeout 20 "$sinter" fmt /dev/zero
if "$sinter" check - <"$root/models/mlp.sn"; then ok; else bad "standard input"; fi

# fmt -i replaces the file: it keeps its mode, links stay links, and what cannot be written stays as it was
expect 2 "needs a file, not standard input" "$sinter" fmt - -i
mkdir "$work/real" "$work/links"
tr -s ' ' <"$root/models/mlp.sn" >"$work/real/loose.sn"
cp "$work/real/loose.sn" "$work/loose.sn"
ln -s ../real/loose.sn "$work/links/to.sn"
chmod 640 "$work/real/loose.sn"
rc=0
said=$(sh -c "trap '' XFSZ; ulimit -f 0; '$sinter' fmt -i '$work/links/to.sn'" 2>&1) || rc=$?
[ "$rc" = 3 ] && ok || bad "fmt -i on a full disk: $rc, $said"
same "a file that cannot be rewritten" "$work/loose.sn" "$work/real/loose.sn"
"$sinter" fmt -i "$work/links/to.sn" || bad "fmt -i of a link"
"$sinter" fmt "$work/loose.sn" >"$work/neat.sn"
same "fmt -i and fmt" "$work/neat.sn" "$work/real/loose.sn"
cmp -s "$work/neat.sn" "$work/loose.sn" && bad "the file was neat before"
[ -L "$work/links/to.sn" ] && [ "$(stat -c %a "$work/real/loose.sn")" = 640 ] && ok || bad "fmt -i: the link or the mode"
[ "$(ls -A "$work/real" "$work/links" | wc -l)" = 5 ] && ok || bad "fmt -i left something behind: $(ls -A "$work/real" "$work/links")"

# a build that cannot be written leaves nothing behind
# shellcheck disable=SC2086
expect 1 "cannot write" "$sinter" build "$model" $small -o "$work/no/such/dir/exe"
expect 3 "cannot write" sh -c "trap '' XFSZ; ulimit -f 16; '$sinter' build '$model' $small -o '$work/limited'"
[ -e "$work/limited" ] && bad "half an executable under its final name"
mkdir "$work/bin"
expect 3 "" env PATH="$work/bin" "$sinter" build "$model" $small -o "$work/unlinked"
[ -e "$work/unlinked" ] && bad "an executable without a linker"
ls "$work"/*.tmp "$work"/*.o >/dev/null 2>&1 && bad "temporary files stay behind"

# shellcheck disable=SC2086
"$sinter" build "$model" $small -o "$work/exe"
exe=$work/exe
expect 2 "--stepz" "$exe" --stepz 3
expect 2 "'--x?[31m'" "$exe" "--x$esc[31m"
expect 1 "no file matches 'x?[31m'" "$exe" --data "x$esc[31m"
expect 2 "not an empty text" "$exe" --out "" --data "$work/text"
expect 2 "" "$exe" --steps many
expect 2 "" "$exe" --steps -5
expect 2 "" "$exe" --steps
expect 2 "" "$exe" --threads 0 --data "$work/text"
expect 2 "" "$exe" --lr nan --data "$work/text"
# every option of the table is tried by test_settings; here: they are what the program asks
expect 2 "--set data.stride takes a whole number from 1 to 2147483647, not '-1'" "$exe" --data "$work/text" --set data.stride=-1
expect 2 "--set data.split takes a number above 0 and at most 1, not '7'" "$exe" --data "$work/text" --set data.split=7
expect 2 "--set lr.peak takes a finite number of at least 0, not 'inf'" "$exe" --data "$work/text" --set lr.peak=inf
expect 2 "did you mean 'eval.every'?" "$exe" --data "$work/text" --set eval.evry=1
expect 2 "no 'batch'; --info lists" "$exe" --data "$work/text" --set batch=1
expect 2 "'micro' is fixed when the program is built" "$exe" --data "$work/text" --set micro=2
expect 2 "did you mean '--steps'?" "$exe" --data "$work/text" --step 2
expect 2 "SINTER_FIND_NAN takes on or off, not 'yes'" env SINTER_FIND_NAN=yes "$exe" --data "$work/text" --steps 1
expect 2 "SINTER_EMU_SEED takes a whole number" env SINTER_EMU_SEED=-1 "$exe" --data "$work/text" --steps 1
expect 2 "there is no device 'gpu'" env SINTER_DEVICE=gpu "$exe" --data "$work/text" --steps 1
expect 0 "saved" env SINTER_FIND_NAN= "$exe" --data "$work/text" --set steps=1 --set save.every=1 --eval-batches 1 --out "$work/set.out"
# what a dump says of the plan is checked when it is read, what a program holds of it when it starts
header() { # SED-COMMAND: the dump of a small model with another header
    "$sinter" dump "$root/models/mlp.sn" -D data.split=0.875 | sed "$1" >"$work/header.ir"
}
header 's/0\.875$/7/'
expect 1 "'data.split' takes a number above 0 and at most 1, found '7'" "$sinter" build "$work/header.ir" -o "$work/split"
header 's/^\/\/! micro .*/\/\/! micro x/'
expect 1 "'micro' takes a whole number from 1 to 2147483647, found 'x'" "$sinter" build "$work/header.ir" -o "$work/split"
header 's/^\/\/! scalar lr.peak .*/\/\/! scalar lr.peak fnan/'
expect 1 "'lr.peak' takes a finite number of at least 0, found 'nan'" "$sinter" build "$work/header.ir" -o "$work/split"
header ''
"$sinter" build "$work/header.ir" -o "$work/split" || bad "build of a dump"
sed 's/0\.875/7.875/' "$work/split" >"$work/damaged" && chmod +x "$work/damaged"
expect 1 "the plan's option 'data.split' takes a number above 0 and at most 1, not '7.875'" "$work/damaged" --data "$work/text"
expect 1 "absent" "$exe" --data "$work/absent" --steps 1
: >"$work/none"
expect 1 "none" "$exe" --data "$work/none" --steps 1
printf 'short' >"$work/short"
expect 1 "short" "$exe" --data "$work/short" --steps 1
expect 1 "" "$exe" --data "$work" --steps 1
expect 1 "" "$exe" --generate "" --resume "$work/absent"
# what is no file is refused, not opened: a pipe without a writer would wait for ever
now="timeout -s KILL 20"
expect 1 "pipe is not a file but a pipe" $now "$exe" --data "$work/pipe" --steps 1
expect 1 "pipe is not a file but a pipe" $now "$exe" --data "$work/pipe" --set data.kind=tensors --steps 1
expect 1 "pipe is not a file but a pipe" $now "$exe" --data "$work/text" --resume "$work/pipe" --steps 1
expect 1 "/dev/null is not a file but a device" $now "$exe" --data /dev/null --steps 1
printf 'use "pipe"\naxis n = 2\n' >"$work/uses.sn"
expect 1 "cannot read" $now "$sinter" check "$work/uses.sn"
# more files than descriptors: the soft limit is raised, the hard one is the machine's fault
mkdir "$work/many"
split -b 1000 -a 3 "$work/text" "$work/many/part-"
expect 0 "step 1/1" sh -c "ulimit -Sn 100; '$exe' --data '$work/many/part-*' --steps 1 --eval-batches 1"
expect 3 "300 files are more than this process may hold open" sh -c "ulimit -n 100; '$exe' --data '$work/many/part-*' --steps 1"

# tensors: every extent is compared in the declared order, what the model does not use is not looked at
cat >"$work/images.sn" <<'END'
axis batch, row = 2, col = 3, class = 10
model images(image: real[batch, row, col], label: class[batch]) {
  param w[row, col -> class] ~ 0
  loss = mean[batch](cross_entropy[class](image @[row, col] w, label))
}
train {
  data      tensors("images")
  size      batch = 4
  optimizer sgd
  lr        constant(1e-3)
}
END
"$sinter" build "$work/images.sn" -o "$work/images"
# tensors NAME HEADER BYTES: a safetensors file whose data is zeros
tensors() {
    { printf '%b' "\\0$(printf '%03o' ${#2})\\0\\0\\0\\0\\0\\0\\0" && printf '%s' "$2" && head -c "$3" /dev/zero; } >"$work/$1"
}
label='"label":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}'
tensors good.data "{$label,"'"image":{"dtype":"F16","shape":[8,2,3],"data_offsets":[8,104]},"other":{"dtype":"C64","shape":[1],"data_offsets":[104,112]}}' 112
expect 0 "8 training" "$work/images" --data "$work/good.data" --steps 3
expect 1 "of 8 samples none is for training (data.split 0.1)" "$work/images" --data "$work/good.data" --set data.split=0.1
tensors turned.data "{$label,"'"image":{"dtype":"U8","shape":[8,3,2],"data_offsets":[8,56]}}' 56
expect 1 "'image' is U8[8, 3, 2], but input 'image' takes [samples, row = 2, col = 3]; these are the same extents in another order" \
    "$work/images" --data "$work/turned.data" --steps 1
tensors empty.data "{$label,"'"image":{"dtype":"U8","shape":[4611686018427387904,0],"data_offsets":[8,8]}}' 8
expect 1 "'image' is U8[4611686018427387904, 0]" "$work/images" --data "$work/empty.data" --steps 1
tensors huge.data "{$label,"'"image":{"dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[8,8]}}' 8
expect 1 "'image' is too large" "$work/images" --data "$work/huge.data" --steps 1
tensors none.data '{"label":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"image":{"dtype":"U8","shape":[0,2,3],"data_offsets":[0,0]}}' 0
expect 1 "holds no samples" "$work/images" --data "$work/none.data" --steps 1
tensors real.data '{"label":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"image":{"dtype":"U8","shape":[8,2,3],"data_offsets":[32,80]}}' 80
expect 1 "'label' is F32, which does not fit input 'label'; what fits is I64 I32" "$work/images" --data "$work/real.data" --steps 1

# checkpoints: truncated, hostile, of another model
train "$exe" "$work/good" --steps 2
file=$(ls "$work"/good/step-*.safetensors)
for bytes in 0 4 8 100 2000; do
    head -c $bytes "$file" >"$work/cut.safetensors"
    expect 1 "cut.safetensors" "$exe" --data "$work/text" --resume "$work/cut.safetensors" --steps 3
done
size=$(wc -c <"$file")
head -c $((size - 1)) "$file" >"$work/cut.safetensors"
expect 1 "cut.safetensors" "$exe" --data "$work/text" --resume "$work/cut.safetensors" --steps 3
printf '\377\377\377\377\377\377\377\177{}' >"$work/huge.safetensors"
expect 1 "huge.safetensors" "$exe" --data "$work/text" --resume "$work/huge.safetensors" --steps 3
printf '\002\0\0\0\0\0\0\0{}' >"$work/nothing.safetensors"
expect 1 "nothing.safetensors" "$exe" --data "$work/text" --resume "$work/nothing.safetensors" --steps 3
"$sinter" build "$model" -D layer=1 -D dim=64 -D size.seq=32 -D size.batch=8 -D micro=4 -o "$work/other"
expect 1 "it is of another model: the model lacks 24 states: 'h.1." "$work/other" --data "$work/text" --resume "$file" --steps 3
sed '/^  optimizer .*:/d; s/^  optimizer .*/  optimizer lion()/' "$model" >"$work/lion.sn"
# shellcheck disable=SC2086
"$sinter" build "$work/lion.sn" $small -o "$work/lion"
expect 1 "it lacks 18 states: 'embed.lion.m'" "$work/lion" --data "$work/text" --resume "$file" --steps 3
expect 1 "the model lacks 36 states: 'embed.adamw.m'" "$work/lion" --data "$work/text" --resume "$file" --steps 3

# a run goes on with the data it had; with other data only when it is told to
expect 0 "step 2/2" "$exe" --data "$work/text" --out "$work/moved" --steps 2 --save-every 1 --eval-batches 1
cp "$work/text" "$work/copy"
expect 0 "step 3/3" "$exe" --data "$work/copy" --resume "$work/moved" --steps 3 --eval-batches 1
echo more >>"$work/copy"
expect 1 "is not what the checkpoint was trained on (it has grown: 300000 ids then, 300005 now; what was there is the same); --new-data" \
    "$exe" --data "$work/copy" --resume "$work/moved" --steps 4
expect 1 "(split: 0.9 then, 0.8 now; stride: 32 then, 16 now)" \
    "$exe" --data "$work/text" --resume "$work/moved" --steps 4 --set data.split=0.8 --set data.stride=16
expect 0 "note: other data than before (it has grown" \
    "$exe" --data "$work/copy" --resume "$work/moved" --steps 4 --new-data --eval-batches 1
expect 0 "step 5/5" "$exe" --data "$work/copy" --resume "$work/moved" --steps 5 --eval-batches 1
expect 1 "ids: 300005 then, 300000 now; the content differs" "$exe" --data "$work/text" --resume "$work/moved" --steps 6
sed 's/"sinter\.data"/"sinter.none"/; s/"xxh64/"xxh00/g' "$work/moved/step-00000005.safetensors" >"$work/old.safetensors"
expect 0 "note: the checkpoint does not say which data it was trained on" "$exe" --data "$work/text" --resume "$work/old.safetensors" --steps 6

# samples that depend on each other: a step is one micro-batch, whoever asks for more
cat >"$work/whole.sn" <<'END'
axis batch, seq, vocab = 256, dim = 8
model whole(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.02)
  x = embed[vocab: tokens]
  x = batchnorm[dim, batch, seq](x) as norm
  loss = mean[batch, seq](cross_entropy[vocab](x @[dim] embed, targets))
}
train {
  data      text("text", split = 0.9)
  size      batch = 4, seq = 16
  optimizer adamw
  lr        constant(1e-3)
  steps     2
}
END
"$sinter" build "$work/whole.sn" -o "$work/whole"
expect 2 "a step of this model is one micro-batch" "$work/whole" --data "$work/text" --accum 4
expect 2 "a step of this model is one micro-batch" "$work/whole" --data "$work/text" --set accum=4
expect 0 "validation loss" "$work/whole" --data "$work/text" --accum 1 --eval-batches 2 --out "$work/whole.out"
whole=$(ls "$work"/whole.out/step-*.safetensors)
sed 's/"sinter.accum":"1"/"sinter.accum":"4"/; s/"xxh64/"older/g' "$whole" >"$work/four.safetensors" # its checksum would say so
expect 1 "a step of this model is one micro-batch" "$work/whole" --data "$work/text" --resume "$work/four.safetensors" --steps 3
# a maximum over the batch binds evaluations too; what the plan asks for is cut to one micro-batch
sed 's/^  loss = /  metric top = max[batch, seq, dim](x)\n&/' "$work/whole.sn" >"$work/top.sn"
"$sinter" build "$work/top.sn" -o "$work/top"
expect 2 "an evaluation of this model is one micro-batch" "$work/top" --data "$work/text" --eval-batches 2
expect 0 "validation loss" "$work/top" --data "$work/text" --eval-batches 1
grep -o 'validation.*  top [^ ]*' "$work/said" >"$work/one"
expect 0 "validation loss" "$work/top" --data "$work/text"
grep -o 'validation.*  top [^ ]*' "$work/said" >"$work/most"
same "one micro-batch is the most" "$work/one" "$work/most"
expect 1 "folds over the batch and feeds back into it" "$sinter" build "$work/whole.sn" -D micro=2 -o "$work/cut"

# a full disk: the file size limit stands for it; the older checkpoint stays whole
cp -r "$work/good" "$work/full"
sum=$(cksum <"$work/full/$(basename "$file")")
rc=0
(
    ulimit -f 64
    "$exe" --data "$work/text" --resume "$work/full" --steps 4 --eval-batches 1
) >"$work/said" 2>&1 || rc=$?
[ "$rc" = 3 ] && ok || bad "full disk: exit code $rc: $(tail -1 "$work/said")"
[ "$sum" = "$(cksum <"$work/full/$(basename "$file")")" ] && ok || bad "the older checkpoint changed"
[ "$(ls "$work/full"/step-* | wc -l)" = 1 ] && ok || bad "half a checkpoint under a final name"
# what is printed must arrive: every command of both programs
full() { expect 3 "cannot write the output: No space left on device" sh -c "$1 >/dev/full"; }
if [ -e /dev/full ]; then
    for command in "dump '$model'" "dump '$model' --plan" "explain '$model'" "fmt '$model'" "--help" "--version" \
        "ops" "passes" "targets" "opt '$root/tests/passes/simplify/identities.ir' --passes=simplify" \
        "bench '$root/models/mlp.sn' --target sm_90a"; do
        full "'$sinter' $command"
    done
    for command in "--help" "--info" "--version" "--check-cpu" "--generate a --resume '$file' --tokens 2"; do
        full "'$exe' $command"
    done
fi
finish
