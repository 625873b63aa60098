#!/bin/sh
# Every dump parses back, prints the same again, and builds the executable that the model builds.
. "$(dirname "$0")/common.sh"
for model in bytes mlp; do
    options=$small
    [ $model = mlp ] && options=
    # shellcheck disable=SC2086
    "$sinter" dump "$root/models/$model.sn" $options --dump-dir "$work/$model" >/dev/null
    for ir in "$work/$model"/*.ir; do
        pass=$(basename "$ir" .ir | sed 's/^[0-9]*-//')
        "$sinter" dump "$ir" -o "$work/again.ir" || bad "reading $ir"
        same "$model printed again after $pass" "$ir" "$work/again.ir"
        "$sinter" dump "$ir" --plan -o "$work/$pass.plan" || bad "resuming after $pass"
        [ -f "$work/first.plan" ] || cp "$work/$pass.plan" "$work/first.plan"
        same "$model: plan resumed after $pass" "$work/first.plan" "$work/$pass.plan"
    done
    rm -f "$work/first.plan"
    "$sinter" dump "$work/$model/$(ls "$work/$model" | head -1)" --kernels -o "$work/a.k"
    "$sinter" dump "$root/models/$model.sn" $options --kernels -o "$work/b.k"
    same "$model kernels" "$work/a.k" "$work/b.k"
done
# above each kernel stand its op and the commands that start it, with the model's line
line=$(grep -n 'return gelu' "$root/models/gpt2.sn" | cut -d: -f1)
"$sinter" dump "$root/models/gpt2.sn" -D layer=2 --target sm_90a --cuda -o "$work/gpt2.cu"
grep -A2 '^// k[0-9]*: map.h.0.mlp.gelu' "$work/gpt2.cu" | grep -q "^//   .*h.0.mlp.gelu, line $line: <<<(" && ok ||
    bad "no launch above a kernel"
[ "$(grep -c '^extern "C" __global__' "$work/gpt2.cu")" = "$(grep -A1 '^// k[0-9]*: ' "$work/gpt2.cu" | grep -c '^//   ')" ] && ok ||
    bad "a kernel without a launch above it"
# the page: every pass, the decisions and the memory plan, in one file that nothing in a model can break out of
"$sinter" dump "$root/models/mlp.sn" --html "$work/page.html" >"$work/said" 2>&1 || bad "page: $(cat "$work/said")"
[ ! -s "$work/said" ] && ok || bad "the page is printed too"
for pass in "front end" $("$sinter" passes | cut -d' ' -f1); do
    grep -q "^{\"name\":\"$pass\"," "$work/page.html" && ok || bad "no column for $pass"
done
kinds=$(sed -n 's/^"kinds":\[\(.*\)\],$/\1/p' "$work/page.html" | tr -d '"')
for kind in $("$sinter" dump "$root/models/mlp.sn" --after memplan | grep -o 'kind=[a-z]*, body' | sed 's/kind=\(.*\), body/\1/' | sort -u); do
    case ",$kinds," in *,"$kind",*) ok ;; *) bad "no colour for the kernels $kind" ;; esac
done
grep -q '"function":"micro","nodes":' "$work/page.html" && grep -q '"kind":"decision"' "$work/page.html" && ok ||
    bad "no memory plan or no decisions"
printf 'axis n = 8\nfunc step {\n  %%0 = input : f32[n=8] {name=x}\n  %%1 = exp %%0 : f32[n=8] "</script><b>"\n  output y = %%1\n}\n' >"$work/hostile.ir"
"$sinter" dump "$work/hostile.ir" --html "$work/hostile.html" || bad "page of a hostile name"
[ "$(sed -n '/id="data"/,/^<script>/p' "$work/hostile.html" | grep -c '</script>')" = 1 ] && ok || bad "a name ends the page's data"
"$sinter" dump "$root/models/mlp.sn" --html "$work/absent/page.html" >"$work/said" 2>&1 && bad "a page into no folder"
grep -q "cannot write '$work/absent/page.html': No such file" "$work/said" && ok || bad "said: $(cat "$work/said")"
# in a browser: its own script finds the value and fills the page
if [ "$long" = 1 ]; then
    browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
    if [ -n "$browser" ]; then
        "$sinter" dump "$root/models/gpt2.sn" -D layer=2 --html "$work/gpt2.html"
        page="file:"//"$work/gpt2.html#micro%2Fh.0.attn.softmax"
        "$browser" --headless=new --no-sandbox --disable-gpu --virtual-time-budget=8000 --window-size=1900,1100 \
            --dump-dom "$page" >"$work/dom" 2>/dev/null
        [ "$(grep -o 'class="[a-z ]* on"' "$work/dom" | wc -l)" -ge 20 ] && grep -q '<h3>decisions</h3>' "$work/dom" && ok ||
            bad "the page does not follow a value"
        "$browser" --headless=new --no-sandbox --disable-gpu --virtual-time-budget=8000 --window-size=1900,1100 \
            --screenshot="$work/page.png" "$page" >/dev/null 2>&1
        [ -s "$work/page.png" ] && ok || bad "no picture of the page"
    else
        echo "skipped: the page in a browser, which is not installed"
    fi
fi
# an internal error leaves the module before the failing pass, and the rest of the pipeline takes it
cd "$work"
rc=0
SINTER_BREAK_PASS=fuse "$sinter" check "$root/models/mlp.sn" >said 2>&1 || rc=$?
[ "$rc" = 0 ] && ok || bad "check runs no pass, exit code $rc"
SINTER_BREAK_PASS=fuse "$sinter" build "$root/models/mlp.sn" -o broken >said 2>&1 || rc=$?
[ "$rc" = 70 ] && ok || bad "an internal error has exit code $rc"
grep -q "sinter-repro-fuse.ir" said && ok || bad "no reproducer is named: $(tail -1 said)"
"$sinter" dump sinter-repro-fuse.ir --plan -o repro.plan && "$sinter" dump "$root/models/mlp.sn" --plan -o whole.plan
same "the reproducer resumes" repro.plan whole.plan
finish
