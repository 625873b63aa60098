#!/bin/sh
# The library's reference as a user asks for it: all of it, one entry, a name that is misspelt.
. "$(dirname "$0")/common.sh"

# Every definition once, in the order of the text, a line each.
"$sinter" std >"$work/all" || bad "sinter std"
sed -n 's/^  \([a-z_0-9]*\)  *[^ ].*/\1/p' "$work/all" >"$work/names"
sed -n 's/^\(fn \|block \)\{0,1\}\([a-z_0-9]*\)\(\[.*\|(.*\| = .*\)$/\2/p' "$root/frontend/std.sn" >"$work/defined"
[ "$(wc -l <"$work/names")" -ge 36 ] || bad "only $(wc -l <"$work/names") names in 'sinter std'"
same "'sinter std' and the definitions" "$work/names" "$work/defined"

cat >"$work/entry" <<'END'
log_softmax[..a](x[..a, ..])
The logarithm of softmax.

  section  Along axes
  formula  x - logsumexp[..a](x)
  gives    [..a, ..]
  torch    F.log_softmax

fn log_softmax[..a](x[..a, ..]) {
  z = x - peak[..a](x)
  return z - log(max(sum[..a](exp(z)), 0.5))
}
END
"$sinter" std log_softmax >"$work/got" || bad "sinter std log_softmax"
same "'sinter std log_softmax'" "$work/got" "$work/entry"

for name in sofmax "" "$(printf '%3000s' x)"; do
    rc=0
    "$sinter" std "$name" >"$work/out" 2>"$work/said" || rc=$?
    [ "$rc" = 2 ] && [ ! -s "$work/out" ] && grep -q "^sinter: error: nothing in std is named '" "$work/said" && ok ||
        bad "'sinter std $name' gives $rc: $(cat "$work/said")"
done
"$sinter" std sofmax 2>&1 | grep -q "named 'sofmax'; did you mean 'softmax'?" && ok || bad "no suggestion for 'sofmax'"
"$sinter" std mse_loss 2>&1 | grep -q "did you mean 'squared_error'?" && ok || bad "no suggestion for PyTorch's 'mse_loss'"
for asked in torch.relu:relu RELU:relu torch.nn.BCELoss:binary_cross_entropy F.gelu:gelu; do
    "$sinter" std "${asked%:*}" 2>&1 | grep -q "did you mean '${asked#*:}'?" && ok || bad "no suggestion for '${asked%:*}'"
done
"$sinter" std exp 2>&1 | grep -q "'exp' is built in" && ok || bad "'exp' is not said to be built in"
finish
