#!/bin/sh
# A file that a command refuses shrinks to what matters, and still is refused.
. "$(dirname "$0")/common.sh"
"$sinter" dump "$root/models/mlp.sn" -o "$work/model.ir"
# "Fails", with exit code 3, on files that hold a logarithm once simplified.
printf '%s\n' '#!/bin/sh' "\"$sinter\" opt \"\$1\" --passes=simplify,dce | grep -q ' = log ' && exit 3" \
    'exit 0' >"$work/fails"
chmod +x "$work/fails"
"$build/reduce" "$work/model.ir" "$work/fails" >/dev/null || bad "reduce ended with $?"
code=0
"$work/fails" "$work/model.ir.small.ir" || code=$?
[ "$code" = 3 ] && ok || bad "the small file does not fail any more"
lines=$(grep -c ' = ' "$work/model.ir.small.ir" || true)
grep -q '^state' "$work/model.ir.small.ir" && bad "states that nothing reads are left" || ok
[ "$(grep -c '^  %' "$work/model.ir.small.ir")" -le 6 ] && ok || bad "the small file has $lines lines"
"$build/reduce" "$work/model.ir" true >/dev/null 2>&1 && bad "a command that succeeds was accepted" || ok
finish
