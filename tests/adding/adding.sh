#!/bin/sh
# Adding an op, a pass, an element type, a line of the plan: each patch of this folder applies to the tree by itself,
# touches no more files than 'counts' says, and all of them together build and do what they are for. What fails here
# is mended with renew.sh; docs/adding.md walks through the same places.
#
#   tests/adding/adding.sh BUILD_DIRECTORY
#
# ir/ and passes/ are built and tried with the interpreter; SINTER_LONG=1: everything, through the whole chain.
. "$(dirname "$0")/../e2e/common.sh"
here=$root/tests/adding
. "$here/copy.sh"
copy=$build/adding/tree
copy_tree "$root" "$copy"

# ---- each by itself: it applies, and the count does not rise -------------------------------------------
[ "$(wc -l <"$here/counts")" = "$(ls "$here"/*.patch | wc -l)" ] || bad "not a count for each patch"
while read -r name most; do
    n=$(touched "$here/$name.patch")
    if apply_patch "$copy" "$here/$name.patch" --check 2>"$work/why"; then ok; else
        bad "$name.patch no longer applies: sh tests/adding/renew.sh open $name"
        sed 's/^/    /' "$work/why"
    fi
    if [ "$n" -le "$most" ]; then ok; else bad "$name touches $n files, $most were enough"; fi
done <"$here/counts"
[ "$failed" = 0 ] || finish
for patch in "$here"/*.patch; do
    apply_patch "$copy" "$patch" || bad "$patch does not go with the others"
done

# ---- ir/ and passes/ with the op and the pass ----------------------------------------------------------
# Without optimisation and without a cache: what is built once only is built fastest so.
cmake -S "$copy" -B "$copy/build" -G Ninja -DCMAKE_C_FLAGS_RELEASE=-O0 -DONEDNN=OFF >"$work/log" 2>&1 ||
    bad "cmake: $(tail -5 "$work/log")"
# make TARGET...: in the copy
make() { ninja -C "$copy/build" "$@" >"$work/log" 2>&1; }
evaluate() { # its objects lie beside the libraries
    cc -std=gnu17 -O0 -I"$copy" "$here/evaluate.c" "$copy/build/libsn_passes.a" "$copy/build/libsn_ir.a" -lm \
        -o "$work/evaluate" && "$work/evaluate" "$@"
}
make libsn_passes.a libsn_ir.a || bad "the build: $(grep -m3 -E 'error|FAILED' "$work/log")"
cat >"$work/twice.ir" <<'END'
axis n = 4
state w : f32 param
func f {
  %0 = input : f32[n=4] {name=x}
  %1 = state {state=w}
  %2 = add %0, %1
  %3 = exp2 %2
  %4 = const : f32 {value=2}
  %5 = mul %3, %4
  %6 = reduce %5 {kind=sum, axes=(n), by=row}
  %7 = grad %6 {state=w}
  value y = %5
  value d = %7
}
END
evaluate "$work/twice.ir" simplify,dce,autodiff,tidy,twice >"$work/out" 2>&1 || bad "evaluate: $(cat "$work/out")"
# 2^(1 + i), and by w the sum of that times ln 2
grep -qx 'y 2 4 8 16' "$work/out" && grep -qx 'd 20.7944' "$work/out" && ok || bad "exp2: $(cat "$work/out")"
evaluate "$work/twice.ir" simplify,dce,autodiff,tidy >"$work/before" 2>&1 || bad "evaluate: $(cat "$work/before")"
muls() { grep '^ops' "$1" | tr ' ' '\n' | grep -cx mul || true; }
[ "$(muls "$work/out")" -lt "$(muls "$work/before")" ] && ok || bad "twice leaves the product: $(cat "$work/out")"
grep '^[yd] ' "$work/before" >"$work/want"
grep '^[yd] ' "$work/out" | cmp -s - "$work/want" && ok || bad "twice changes a value: $(cat "$work/out")"
"$sinter" opt "$work/twice.ir" --passes=dce >"$work/out" 2>&1 && bad "the tree has exp2 by itself" || ok

# ---- what is forgotten is named ------------------------------------------------------------------------
cp "$root/passes/gradients.c" "$copy/passes/gradients.c"
make libsn_passes.a && bad "an op without a gradient is built" || ok
grep -q 'gradient_exp2' "$work/log" && ok || bad "nothing says that gradient_exp2 is missing: $(tail -5 "$work/log")"
apply_patch "$copy" "$here/op.patch" --include=passes/gradients.c || bad "passes/gradients.c"
[ "$long" = 1 ] || { finish; exit; }

# ---- everything ----------------------------------------------------------------------------------------
make oracle sinter check docs tests/test_scalar tests/test_op_gradients ||
    bad "the build: $(grep -m3 -E 'error|FAILED' "$work/log")"
# proves LABEL COMMAND...: in the copy; an emulated device may be missing
proves() {
    label=$1
    shift
    status=0
    (cd "$copy" && "$@") >"$work/log" 2>&1 || status=$?
    case $status in 0 | 77) ok ;; *) bad "$label: $(tail -3 "$work/log")" ;; esac
}
of=$copy/build
proves "exp2: interpreter, kernels, native" "$of/oracle" tests/ops/exp2.ir
proves "exp2 on the emulated device" "$of/oracle" --emulated=sm_90a tests/ops/exp2.ir
proves "the bound of exp2" "$of/tests/test_scalar"
proves "the derivative of exp2" "$of/tests/test_op_gradients"
sed 's/tanh(/exp2(/' "$root/models/mlp.sn" >"$work/exp2.sn"
proves "exp2 in the language" "$of/sinter" check "$work/exp2.sn"
proves "u8: interpreter, kernels, native" "$of/oracle" tests/ops/u8.ir
proves "u8 on the emulated device" "$of/oracle" --emulated=sm_90a tests/ops/u8.ir
proves "twice" "$of/check" "$of/sinter" tests/passes/twice/product.ir
proves "log every" sh tests/e2e/progress.sh "$of"
proves "pages: ops" sh -c '"$1"/docs --ops | grep -q "^| .exp2. "' . "$of"
proves "pages: passes" sh -c '"$1"/docs --passes | grep -q ". .twice. "' . "$of"
proves "pages: lines" sh -c '"$1"/docs --lines | grep -q "log every"' . "$of"
# and none of it holds without the patches
"$sinter" check "$work/exp2.sn" >"$work/log" 2>&1 && bad "the language has exp2 by itself" || ok
for file in tests/ops/exp2.ir tests/ops/u8.ir; do
    "$build/oracle" "$copy/$file" >"$work/log" 2>&1 && bad "the tree passes $file by itself" || ok
done
"$build/check" "$sinter" "$copy/tests/passes/twice/product.ir" >"$work/log" 2>&1 && bad "the tree has 'twice'" || ok
finish
