#!/bin/sh
# Data in files of MNIST's and NumPy's format gives the bits that the same numbers in a safetensors file give:
# plain and compressed, in either order of bytes, by order and by name. Fashion-MNIST itself is read where it
# is installed.
. "$(dirname "$0")/common.sh"
n=40
cat >"$work/model.sn" <<'MODEL'
axis batch, row = 2, col = 3, class = 3, flat = row * col
model small(image: real[batch, row, col], label: class[batch]) {
  output logits = linear[flat -> class]((image / 255)[row * col -> flat]) as fc
  loss = mean[batch](cross_entropy[class](logits, label))
  metric accuracy = mean[batch](real(argmax[class](logits) == label))
}
train {
  data      npy("image.npy", "label.npy", split = 0.75)
  size      batch = 6
  micro     batch = 3
  optimizer adamw
  lr        constant(0.01)
}
MODEL
# bytes COUNT FACTOR MODULUS: byte i is i * FACTOR % MODULUS
bytes() {
    i=0
    while [ $i -lt "$1" ]; do
        printf '%b' "\\0$(printf '%03o' $((i * $2 % $3)))"
        i=$((i + 1))
    done
}
bytes $((n * 6)) 37 251 >"$work/image"
bytes $n 7 3 >"$work/label"
# as 32-bit numbers, big-endian
while read -r x; do printf '%b' "\\0\\0\\0\\0$(printf '%03o' "$x")"; done <<LABELS >"$work/label32"
$(od -An -v -tu1 -w1 "$work/label")
LABELS
tensors() { { printf '%b' "\\0$(printf '%03o' ${#2})\\0\\0\\0\\0\\0\\0\\0" && printf '%s' "$2" && cat; } >"$1"; }
npy() { { printf '\223NUMPY\1\0' && printf '%b' "\\0$(printf '%03o' ${#2})\\0" && printf '%s' "$2" && cat; } >"$1"; }
header="{\"image\":{\"dtype\":\"U8\",\"shape\":[$n,2,3],\"data_offsets\":[0,$((n * 6))]},\"label\":{\"dtype\":\"U8\",\"shape\":[$n],\"data_offsets\":[$((n * 6)),$((n * 7))]}}"
cat "$work/image" "$work/label" | tensors "$work/all.safetensors" "$header"
npy "$work/image.npy" "{'descr': '|u1', 'fortran_order': False, 'shape': ($n, 2, 3), }" <"$work/image"
npy "$work/label.npy" "{'descr': '>i4', 'fortran_order': False, 'shape': ($n,), }" <"$work/label32"
{ printf '\0\0\10\3\0\0\0\50\0\0\0\2\0\0\0\3' && cat "$work/image"; } | gzip >"$work/images.gz"
{ printf '\0\0\14\1\0\0\0\50' && cat "$work/label32"; } >"$work/labels"

"$sinter" build "$work/model.sn" -o "$work/exe" || bad "build"
run() { # NAME ARGS...
    name=$1
    shift
    "$work/exe" --steps 5 --out "$work/$name" "$@" >"$work/$name.log" 2>&1 || bad "$name: $(tail -1 "$work/$name.log")"
    [ "$name" = tensors ] || same "$name" "$work/tensors/step-00000005.safetensors" "$work/$name/step-00000005.safetensors"
}
sums() { # the checkpoints' metadata names the kind of data; their tensors are compared
    head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    tail -c +$((head + 9)) "$1" | cksum
}
run_as() {
    name=$1
    shift
    "$work/exe" --steps 5 --out "$work/$name" "$@" >"$work/$name.log" 2>&1 || bad "$name: $(tail -1 "$work/$name.log")"
    [ "$(sums "$work/$name/step-00000005.safetensors")" = "$(sums "$work/tensors/step-00000005.safetensors")" ] && ok ||
        bad "$name: other bits than from a safetensors file"
}
run tensors --set data.kind=tensors --data "$work/all.safetensors"
run_as npy --data "$work/image.npy,$work/label.npy"
run_as names --data "label=$work/label.npy,image=$work/image.npy"
run_as idx --set data.kind=idx --data "$work/images.gz,$work/labels"
(cd "$work" && ./exe --steps 5 --out plan >plan.log 2>&1) || bad "the plan's own files: $(tail -1 "$work/plan.log")"
[ "$(sums "$work/plan/step-00000005.safetensors")" = "$(sums "$work/tensors/step-00000005.safetensors")" ] && ok || bad "the plan's own files: other bits"
# it goes on with the data that it had, however that is stored, and with no other
"$work/exe" --resume "$work/npy" --steps 6 --set data.kind=idx --data "$work/images.gz,$work/labels" >"$work/log" 2>&1 && ok ||
    bad "resume: $(tail -1 "$work/log")"
npy "$work/label8.npy" "{'descr': '|u1', 'fortran_order': False, 'shape': ($n,), }" <"$work/label"
"$work/exe" --resume "$work/npy" --steps 6 --data "$work/image.npy,$work/label8.npy" >"$work/log" 2>&1 && bad "resumed with labels of another type"
grep -q "not what the checkpoint was trained on" "$work/log" && ok || bad "said: $(tail -1 "$work/log")"
# labels are not needed for what is predicted
"$work/exe" --resume "$work/npy" --data "$work/image.npy" --predict "$work/out.safetensors" >"$work/log" 2>&1 && ok ||
    bad "predict: $(tail -1 "$work/log")"

refuse() { # TEXT ARGS...
    text=$1 rc=0
    shift
    "$work/exe" --steps 1 "$@" >"$work/said" 2>&1 || rc=$?
    [ $rc = 1 ] && grep -qF -- "$text" "$work/said" && ok || bad "$*: $rc, not '$text': $(tail -1 "$work/said")"
}
refuse "takes [samples, row = 2, col = 3]" --data "$work/label.npy,$work/image.npy"
refuse "has no tensor 'label'" --data "$work/image.npy"
refuse "the model has 2 inputs" --data "$work/image.npy,$work/label.npy,$work/label.npy"
refuse "No such file" --data "$work/image.npy,$work/absent"
refuse "an npy file" --set data.kind=idx --data "$work/image.npy,$work/label.npy"
refuse "it is data npy(...)" --set data.kind=tensors --data "$work/image.npy"
sed 's/"label.npy"/"label.npy", "more.npy"/' "$work/model.sn" >"$work/more.sn"
"$sinter" check "$work/more.sn" >"$work/said" 2>&1 && bad "a third file"
grep -q "more.sn:8:.*'small' has 2 inputs, and this is file 3" "$work/said" && ok || bad "said: $(head -1 "$work/said")"

fashion=/usr/share/datasets/fashion-mnist
if [ -f $fashion/t10k-images-idx3-ubyte.gz ]; then
    "$sinter" build "$root/models/fashion.sn" -o "$work/fashion"
    "$work/fashion" --steps 3 --eval-batches 1 --data $fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz >"$work/log" 2>&1 ||
        bad "Fashion-MNIST: $(tail -1 "$work/log")"
    grep -q "9000 training and 1000 validation samples" "$work/log" && grep -q "^step 3/3 .*accuracy 0\." "$work/log" && ok ||
        bad "Fashion-MNIST: $(tail -2 "$work/log")"
else
    echo "skipped Fashion-MNIST itself: the package dataset-fashion-mnist is not installed"
fi
finish
