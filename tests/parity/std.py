#!/usr/bin/python3
"""Reference values for test_std_torch: functions and layers of std.sn against PyTorch's own.

    /usr/bin/python3 tests/parity/std.py      (Debian's python3-torch, on the CPU)

A case is a few lines of a model and the same in torch: what it computes, as f64 from inputs that are f32,
and the gradients of sum(one * it) by torch's autograd, for a drawn 'one'. The result is tests/parity/std.safetensors:

    CASE/state/PATH   f32, of the inputs (parameters of the model) and of what blocks own
    CASE/grad/PATH    f64; that of 'one' is the value itself
    metadata CASE     "NAMES of std that it covers\nAXES\nPART WHOLE\nAXES of the value\nVALUE\nLINES before"

The bound of an element is PART of itself and WHOLE of the largest finite one of its tensor.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

from generate import HERE, write_safetensors

tensors, metadata = {}, {"torch": torch.__version__}
rng = np.random.RandomState(21)
INF = float("inf")


def draw(*shape, sd=1.0):
    return (sd * rng.standard_normal(shape)).astype(np.float32)


def perm(text_from, text_to, x):
    """Axes by letters, in another order."""
    return torch.einsum(f"{text_from}->{text_to}", x)


def case(name, covers, axes, states, value_axes, value, function, before="", part=1e-6, whole=1e-6, fixed=()):
    """states: {path: array}; function(states as f64 tensors) gives the value in the order of value_axes.
    'fixed' states have no gradient in torch; before declares all inputs, in the order of states."""
    t = {k: torch.tensor(v, dtype=torch.float64, requires_grad=k not in fixed) for k, v in states.items()}
    y = function(t)
    one = draw(*y.shape)
    (y * torch.tensor(one, dtype=torch.float64)).sum().backward()
    for k, v in states.items():
        tensors[f"{name}/state/{k}"] = v
        if k not in fixed:
            tensors[f"{name}/grad/{k}"] = t[k].grad.numpy()
    tensors[f"{name}/state/one"] = one
    tensors[f"{name}/grad/one"] = y.detach().numpy()
    assert name not in metadata, name
    metadata[name] = "\n".join([covers, axes, f"{part} {whole}", value_axes, value, before])


def param(**shapes):
    return "".join(f"param {k}[{v}] ~ 0\n" for k, v in shapes.items())


# ---- elementwise: far points in one row, drawn ones in others -------------------------------------

POINTS = np.array([0, -0.5, 1, -1, 2.9, -2.9, 3.1, -3.1, 7, -7, 30, -30, 100, -100, 1e4, -1e4], np.float32)
X = np.stack([POINTS, draw(16), draw(16, sd=4)])


def elementwise(name, call, function, covers=None, whole=1e-7, x=X):
    case(name, covers or name, "r = 3, n = 16", {"p": x}, "r, n", call, lambda t: function(t["p"]),
         param(p="r, n"), whole=whole)


elementwise("sign", "sign(p)", lambda x: torch.sign(x) + 0 * x)
elementwise("ceil", "ceil(p)", torch.ceil)
elementwise("square", "square(p)", torch.square)
elementwise("relu", "relu(p)", F.relu)
elementwise("leaky_relu", "leaky_relu(p, 0.2)", lambda x: F.leaky_relu(x, 0.2))
elementwise("sigmoid", "sigmoid(p)", torch.sigmoid)
elementwise("silu", "silu(p)", F.silu)
elementwise("gelu", "gelu(p)", lambda x: F.gelu(x, approximate="tanh"), whole=2e-6)
elementwise("gelu_erf", "gelu_erf(p)", F.gelu)
elementwise("softplus", "softplus(p)", lambda x: torch.logaddexp(x, 0 * x))
elementwise("logsigmoid", "logsigmoid(p)", F.logsigmoid)
elementwise("clamp", "clamp(p, -2, 3)", lambda x: torch.clamp(x, -2, 3))
elementwise("relu6", "relu6(p)", F.relu6)
elementwise("elu", "elu(p, alpha = 1.5)", lambda x: F.elu(x, 1.5))
elementwise("celu", "celu(p, alpha = 1.5)", lambda x: F.celu(x, 1.5))
elementwise("selu", "selu(p)", F.selu)
elementwise("mish", "mish(p)", F.mish)
elementwise("hardsigmoid", "hardsigmoid(p)", F.hardsigmoid)
elementwise("hardswish", "hardswish(p)", F.hardswish)
elementwise("softsign", "softsign(p)", F.softsign)
elementwise("tanhshrink", "tanhshrink(p)", F.tanhshrink)
elementwise("hardshrink", "hardshrink(p, 0.6)", lambda x: F.hardshrink(x, 0.6))
elementwise("softshrink", "softshrink(p, 0.6)", lambda x: F.softshrink(x, 0.6))
case("prelu", "prelu", "r = 3, n = 16", {"p": X, "prelu.slope": draw(16)}, "r, n", "prelu[n](p)",
     lambda t: F.prelu(t["p"], t["prelu.slope"]), param(p="r, n"))

# ---- along axes -----------------------------------------------------------------------------------

V = draw(4, 6, sd=3)


def along(name, call, function, value_axes="r, v", covers=None, **more):
    case(name, covers or name, "r = 4, v = 6, h = 3", {"p": V, **more.pop("states", {})}, value_axes, call, function,
         more.pop("before", param(p="r, v")), **more)


along("softmax", "softmax[v](p)", lambda t: F.softmax(t["p"], -1))
along("logsumexp", "logsumexp[v](p)", lambda t: torch.logsumexp(t["p"], -1), "r")
along("log_softmax", "log_softmax[v](p)", lambda t: F.log_softmax(t["p"], -1))
along("variance", "variance[v](p)", lambda t: torch.var(t["p"], -1, unbiased=False), "r")
along("normalize", "normalize[v](p)", lambda t: F.normalize(t["p"], dim=-1))
two = dict(states={"q": draw(4, 6)}, before=param(p="r, v", q="r, v"))
along("cosine_similarity", "cosine_similarity[v](p, q)", lambda t: F.cosine_similarity(t["p"], t["q"], -1), "r", **two)
along("distance", "distance[v](p, q)", lambda t: F.pairwise_distance(t["p"], t["q"]), "r", **two)
along("one_hot", "p * one_hot[v]((iota[r] * 5 + 1) % 6)",
      lambda t: t["p"] * F.one_hot((torch.arange(4) * 5 + 1) % 6, 6))
along("glu", "glu[v -> h](p)", lambda t: F.glu(t["p"], -1), "r, h")
along("swiglu", "swiglu[v -> h](p)", lambda t: F.silu(t["p"][:, :3]) * t["p"][:, 3:], "r, h")
along("geglu", "geglu[v -> h](p)", lambda t: t["p"][:, :3] * F.gelu(t["p"][:, 3:]), "r, h")
IGNORED = torch.tensor([0, 1, 4, 3])
along("weighted_mean", "weighted_mean[r](cross_entropy[v](p, (iota[r] * 3) % 5), real(iota[r] != 2))",
      lambda t: F.cross_entropy(t["p"], torch.tensor([0, 3, -100, 4])), "", covers="weighted_mean cross_entropy")

along("weighted_mean_of_none", "weighted_mean[v](p, 0 * real(iota[v]) + 0 * p)", lambda t: 0 * t["p"].sum(-1), "r",
      covers="weighted_mean")

# ---- norms ----------------------------------------------------------------------------------------

IMAGE = draw(3, 5, 4, 6)  # sample, row, col, channel
SIZES = "s = 3, row = 5, col = 4, chan = 6"
NCHW = "srcx->sxrc"


def norm(name, call, function, covers, own=()):
    states = {"p": IMAGE, **{f"n.{k}": draw(6) for k in own}}
    case(name, covers, SIZES, states, "s, row, col, chan", call, function, param(p="s, row, col, chan"), whole=2e-6)


def nchw(function):
    return lambda t: perm("sxrc", "srcx", function(perm("srcx", "sxrc", t["p"]), t))


own = ("scale", "shift")
norm("layernorm", "layernorm[chan](p) as n", lambda t: F.layer_norm(t["p"], (6,), t["n.scale"], t["n.shift"]),
     "layernorm", own)
norm("rmsnorm", "rmsnorm[chan](p) as n",
     lambda t: t["p"] / torch.sqrt(t["p"].square().mean(-1, keepdim=True) + 1e-5) * t["n.scale"], "rmsnorm", own[:1])
norm("batchnorm", "batchnorm[chan, s, row, col](p) as n",
     nchw(lambda x, t: F.batch_norm(x, None, None, t["n.scale"], t["n.shift"], training=True)), "batchnorm", own)
for g in 1, 2, 3, 6:
    norm(f"groupnorm_{g}", f"groupnorm[chan, row, col](p, groups = {g}) as n",
         nchw(lambda x, t, g=g: F.group_norm(x, g, t["n.scale"], t["n.shift"])), "groupnorm", own)
norm("instancenorm", "instancenorm[chan, row, col](p) as n", nchw(lambda x, t: F.instance_norm(x)), "instancenorm")
norm("instancenorm_affine", "instancenorm[chan, row, col](p, affine = true) as n",
     nchw(lambda x, t: F.instance_norm(x, weight=t["n.scale"], bias=t["n.shift"])), "instancenorm", own)

# ---- linear, embedding ----------------------------------------------------------------------------

for bias in True, False:
    states = {"p": V, "l.w": draw(6, 3)}
    if bias:
        states["l.b"] = draw(3)
    case(f"linear_{bias}".lower(), "linear", "r = 4, v = 6, h = 3", states, "r, h",
         f"linear[v -> h](p, bias = {str(bias).lower()}) as l",
         lambda t: F.linear(t["p"], t["l.w"].T, t.get("l.b")), param(p="r, v"))
ids = (torch.arange(4)[:, None] * 7 + torch.arange(3) * 3) % 5
IDS = "(iota[r] * 7 + iota[bag] * 3) % 5"
TABLE = "r = 4, bag = 3, v = 5, d = 2"
case("embedding", "embedding", TABLE, {"e.w": draw(5, 2)}, "r, bag, d", f"embedding[v -> d]({IDS}) as e",
     lambda t: F.embedding(ids, t["e.w"]))
KEEP = f"real({IDS} != 1)"  # PyTorch's padding_idx, of a row in which all are left out too
for mode in "sum", "mean", "max":
    case(f"bag_{mode}", "embedding_bag", TABLE, {"e.w": draw(5, 2)}, "r, d",
         f'embedding_bag[v, bag -> d]({IDS}, mode = "{mode}") as e',
         lambda t, m=mode: F.embedding_bag(ids, t["e.w"], mode=m))
    some = ids.clone()
    some[2] = 1
    case(f"bag_{mode}_ignored", "embedding_bag", TABLE, {"e.w": draw(5, 2)}, "r, d",
         f'embedding_bag[v, bag -> d](ids, real(ids != 1), mode = "{mode}") as e',
         lambda t, m=mode, i=some: F.embedding_bag(i, t["e.w"], mode=m, padding_idx=1),
         f"ids = max(0, min(4, where(iota[r] == 2, 1, {IDS})))\n")
case("bag_weighted", "embedding_bag", TABLE, {"weight": draw(4, 3), "e.w": draw(5, 2)}, "r, d",
     f"embedding_bag[v, bag -> d]({IDS}, weight) as e",
     lambda t: F.embedding_bag(ids, t["e.w"], mode="sum", per_sample_weights=t["weight"]), param(weight="r, bag"))


# ---- convolutions ---------------------------------------------------------------------------------

def call_options(o):
    return "".join(f", {k} = {str(v).lower()}" for k, v in o.items())


def out_of(n, size, stride=1, pad=0, dilation=1):
    return (n + 2 * pad - dilation * (size - 1) - 1) // stride + 1


def pair(o, key, default):
    a = o.get(key, default)
    return a, o.get(key + "_col", a)


def conv2d(tag, row, col, cin, cout, **o):
    """An optional 'extra' is what PyTorch calls output_padding, of a transposed one."""
    turned, extra = "extra" in o, o.pop("extra", None)
    (kr, kc), stride, pad, dilation = (pair(o, k, d) for k, d in (("size", 3), ("stride", 1), ("pad", 0), ("dilation", 1)))
    g, bias = o.get("groups", 1), o.get("bias", True)
    i, c = cin // g, cout // g
    w = draw(kr, kc, cin, cout) if g == 1 else draw(g, kr, kc, i, c)
    states = {"p": draw(2, row, col, cin), "c.w": w}
    if bias:
        states["c.b"] = draw(cout)

    def function(t):
        x = perm("srcx", "sxrc", t["p"])
        w = t["c.w"].reshape(g, kr, kc, i, c)
        if turned:
            k = perm("grcio", "giorc", w).reshape(cin, c, kr, kc)
            y = F.conv_transpose2d(x, k, t.get("c.b"), stride, pad, extra, g, dilation)
        else:
            k = perm("grcio", "goirc", w).reshape(cout, i, kr, kc)
            y = F.conv2d(x, k, t.get("c.b"), stride, pad, dilation, g)
        return perm("sxrc", "srcx", y)

    with torch.no_grad():
        _, r2, c2, _ = function({k: torch.tensor(v, dtype=torch.float64) for k, v in states.items()}).shape
    name = "conv_transpose2d" if turned else "conv2d"
    case(f"{name}_{tag}", f"{name} transposed" if turned else name,
         f"s = 2, row = {row}, col = {col}, cin = {cin}, row2 = {r2}, col2 = {c2}, cout = {cout}", states,
         "s, row2, col2, cout", f"{name}[row, col, cin -> row2, col2, cout](p{call_options(o)}) as c", function,
         param(p="s, row, col, cin"))


def conv1d(tag, n, cin, cout, **o):
    turned, extra = "extra" in o, o.pop("extra", None)
    size, stride, pad, dilation = (o.get(k, d) for k, d in (("size", 3), ("stride", 1), ("pad", 0), ("dilation", 1)))
    g, bias = o.get("groups", 1), o.get("bias", True)
    i, c = cin // g, cout // g
    states = {"p": draw(2, n, cin), "c.w": draw(size, cin, cout) if g == 1 else draw(g, size, i, c)}
    if bias:
        states["c.b"] = draw(cout)

    def function(t):
        x = perm("srx", "sxr", t["p"])
        w = t["c.w"].reshape(g, size, i, c)
        if turned:
            y = F.conv_transpose1d(x, perm("gkio", "giok", w).reshape(cin, c, size), t.get("c.b"), stride, pad, extra, g,
                                   dilation)
        else:
            y = F.conv1d(x, perm("gkio", "goik", w).reshape(cout, i, size), t.get("c.b"), stride, pad, dilation, g)
        return perm("sxr", "srx", y)

    with torch.no_grad():
        _, n2, _ = function({k: torch.tensor(v, dtype=torch.float64) for k, v in states.items()}).shape
    name = "conv_transpose1d" if turned else "conv1d"
    case(f"{name}_{tag}", f"{name} transposed" if turned else name,
         f"s = 2, pos = {n}, cin = {cin}, pos2 = {n2}, cout = {cout}", states, "s, pos2, cout",
         f"{name}[pos, cin -> pos2, cout](p{call_options(o)}) as c", function, param(p="s, pos, cin"))


conv2d("plain", 7, 5, 2, 3)
conv2d("same", 7, 5, 2, 3, pad=1)
conv2d("even", 7, 6, 2, 3, size=4, stride=2, pad=1)
conv2d("stride_3", 11, 8, 2, 2, stride=3, pad=1)
conv2d("dilated", 9, 8, 2, 3, dilation=2, pad=2, stride=2)
conv2d("oblong", 7, 6, 2, 3, size=3, size_col=2, stride=2, stride_col=1, pad=0, pad_col=1, dilation=1, dilation_col=3)
conv2d("groups", 6, 5, 4, 6, groups=2, pad=1)
conv2d("depthwise", 7, 5, 4, 4, groups=4, pad=2, size=5, stride=2, bias=False)
conv2d("depthwise_more", 5, 5, 3, 6, groups=3, pad=1)
conv2d("point", 4, 5, 5, 3, size=1)
conv2d("point_stride", 5, 5, 2, 3, size=1, stride=2, bias=False)
conv2d("whole", 4, 3, 2, 3, size=4, size_col=3)
conv2d("wide_pad", 3, 3, 1, 2, size=3, pad=4, stride=2)
conv1d("plain", 9, 2, 3)
conv1d("even", 9, 2, 3, size=4, stride=3, pad=2)
conv1d("dilated", 10, 2, 3, size=2, dilation=3, pad=3, bias=False)
conv1d("groups", 8, 6, 4, size=3, stride=2, groups=2)
conv2d("plain", 4, 3, 2, 3, extra=0)
conv2d("stride", 4, 3, 2, 3, extra=0, stride=2, pad=1)
conv2d("longer", 4, 3, 2, 3, extra=1, stride=2, pad=1)
conv2d("stride_3", 3, 4, 2, 2, extra=(2, 1), stride=3, size=4, pad=1)
conv2d("dilated", 4, 4, 2, 2, extra=(1, 0), stride=1, dilation=2, pad=1)
conv2d("oblong", 4, 3, 2, 2, extra=(0, 1), size=3, size_col=2, stride=1, stride_col=2, pad=1, pad_col=0)
conv2d("groups", 3, 4, 4, 6, extra=0, stride=2, groups=2, size=2)
conv2d("depthwise", 3, 4, 3, 3, extra=0, stride=2, groups=3, size=4, pad=1, bias=False)
conv1d("plain", 5, 2, 3, extra=0)
conv1d("stride", 5, 2, 3, extra=2, size=5, stride=3, pad=2)
conv1d("groups", 5, 4, 2, extra=0, size=2, stride=3, groups=2, dilation=2, bias=False)


# ---- pooling --------------------------------------------------------------------------------------

def pool2d(tag, name, function, row, col, **o):
    size = kr, kc = pair(o, "size", 2)
    stride = pair(o, "stride", kr) if "stride" in o else size
    pad, dilation = pair(o, "pad", 0), pair(o, "dilation", 1)
    r2, c2 = (out_of(n, k, s, p, d) for n, k, s, p, d in zip((row, col), size, stride, pad, dilation))
    case(f"{name}_{tag}", f"{name} windows avg_pool1d" if name[0] == "a" else f"{name} windows",
         f"s = 2, row = {row}, col = {col}, ch = 3, row2 = {r2}, col2 = {c2}", {"p": draw(2, row, col, 3)},
         "s, row2, col2, ch", f"{name}[row, col -> row2, col2](p{call_options(o)})",
         lambda t: perm("sxrc", "srcx", function(perm("srcx", "sxrc", t["p"]), size, stride, pad, dilation)),
         param(p="s, row, col, ch"))


def pool1d(tag, name, function, n, **o):
    size = o.get("size", 2)
    stride, pad, dilation = o.get("stride", size), o.get("pad", 0), o.get("dilation", 1)
    n2 = out_of(n, size, stride, pad, dilation)
    case(f"{name}_{tag}", f"{name} windows", f"s = 2, pos = {n}, ch = 3, pos2 = {n2}", {"p": draw(2, n, 3)},
         "s, pos2, ch", f"{name}[pos -> pos2](p{call_options(o)})",
         lambda t: perm("sxr", "srx", function(perm("srx", "sxr", t["p"]), size, stride, pad, dilation)),
         param(p="s, pos, ch"))


def avg(dim, count=True):
    f = F.avg_pool2d if dim == 2 else F.avg_pool1d
    return lambda x, size, stride, pad, dilation: f(x, size, stride, pad, False, count)


pool2d("plain", "max_pool2d", F.max_pool2d, 6, 4)
pool2d("odd", "max_pool2d", F.max_pool2d, 7, 5)
pool2d("pad", "max_pool2d", F.max_pool2d, 7, 6, size=3, stride=2, pad=1)
pool2d("dilated", "max_pool2d", F.max_pool2d, 9, 8, size=3, stride=2, pad=1, dilation=2)
pool2d("oblong", "max_pool2d", F.max_pool2d, 6, 7, size=3, size_col=2, stride=1, stride_col=3, pad=1, pad_col=0)
pool2d("by_size", "max_pool2d", F.max_pool2d, 7, 6, size=3, size_col=2)
pool1d("plain", "max_pool1d", F.max_pool1d, 8)
pool1d("pad", "max_pool1d", F.max_pool1d, 8, size=4, stride=3, pad=2)
pool2d("plain", "avg_pool2d", avg(2), 6, 4)
pool2d("odd", "avg_pool2d", avg(2), 7, 5, size=3)
pool2d("pad", "avg_pool2d", avg(2), 7, 6, size=3, stride=2, pad=1)
pool2d("inside", "avg_pool2d", avg(2, False), 7, 6, size=3, stride=2, pad=1, count_pad=False)
pool2d("oblong", "avg_pool2d", avg(2, False), 6, 7, size=3, size_col=2, stride=1, stride_col=3, pad=1, pad_col=0,
       count_pad=False)
pool2d("by_size", "avg_pool2d", avg(2), 7, 6, size=3, size_col=2)
pool1d("plain", "avg_pool1d", avg(1), 8)
pool1d("inside", "avg_pool1d", avg(1, False), 8, size=4, stride=3, pad=2, count_pad=False)
case("global_pool", "", SIZES, {"p": IMAGE}, "s, chan", "mean[row, col](p)",
     lambda t: F.adaptive_avg_pool2d(perm("srcx", "sxrc", t["p"]), 1)[:, :, 0, 0], param(p="s, row, col, chan"))

# ---- losses: row 0 holds far logits, row 1 drawn ones ---------------------------------------------

LOGIT = np.stack([np.array([100, -100, 100, -100, 1e4, -1e4, 0, 30, -30, 88], np.float32), draw(10, sd=3)])
YES = np.stack([np.array([1, 0, 0, 1, 1, 1, 0, 0.25, 0.75, 1], np.float32),
                (rng.random_sample(10) > 0.5).astype(np.float32)])
SIGN = np.where(YES > 0.5, 1, -1).astype(np.float32)
PAIR = param(p="r, n", q="r, n")


def loss(name, call, function, p=LOGIT, q=YES, fixed=("q",), covers=None, whole=1e-7, part=1e-6, **more):
    states = {"p": p, "q": q, **more.get("states", {})}
    case(name, covers or name.split("__")[0], "r = 2, n = 10", states, "r, n", call, function,
         PAIR + "".join(f"param {k}[r, n] ~ 0\n" for k in more.get("states", {})), part=part, whole=whole, fixed=fixed)


loss("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits(p, q)",
     lambda t: F.binary_cross_entropy_with_logits(t["p"], t["q"], reduction="none"), whole=1e-10)
loss("binary_cross_entropy_with_logits__weight", "binary_cross_entropy_with_logits(p, q, pos_weight = 3)",
     lambda t: F.binary_cross_entropy_with_logits(t["p"], t["q"], reduction="none", pos_weight=torch.tensor(3.0)),
     whole=1e-10)
SHARE = np.stack([np.array([0.99, 0.01, 1e-11, 1 - 2.0**-24, 0.5, 1e-4, 0.999, 0.3, 0.7, 0.9], np.float32),
                  rng.random_sample(10).astype(np.float32)])
SURE = np.stack([np.array([1, 0, 0, 1, 1, 0, 1, 0.25, 0.75, 0], np.float32), YES[1]])
loss("binary_cross_entropy", "binary_cross_entropy(p, q)",
     lambda t: F.binary_cross_entropy(t["p"], t["q"], reduction="none"), p=SHARE, q=SURE)
EDGE = np.where(np.arange(10) < 5, 0, 1) + 0 * LOGIT  # torch's gradient there is its own
loss("binary_cross_entropy__edge", "second * binary_cross_entropy(p, q)",
     lambda t: t["second"] * F.binary_cross_entropy(t["p"], t["q"], reduction="none"), p=EDGE.astype(np.float32), q=YES,
     fixed=("p", "q"), states={"second": draw(2, 10)})
loss("absolute_error", "absolute_error(p, q)", lambda t: F.l1_loss(t["p"], t["q"], reduction="none"), fixed=())
loss("squared_error", "squared_error(p, q)", lambda t: F.mse_loss(t["p"], t["q"], reduction="none"), fixed=())
for delta in 1.0, 2.5:
    loss(f"huber__{delta:g}", f"huber(p, q, delta = {delta})",
         lambda t, d=delta: F.huber_loss(t["p"], t["q"], reduction="none", delta=d), fixed=())
for beta in 1.0, 0.5, 0.0:
    loss(f"smooth_l1__{beta:g}", f"smooth_l1(p, q, beta = {beta})",
         lambda t, b=beta: F.smooth_l1_loss(t["p"], t["q"], reduction="none", beta=b), q=YES + np.float32(0.125), fixed=())
loss("hinge", "hinge(p, q)", lambda t: torch.clamp(1 - t["p"] * t["q"], min=0), q=SIGN)
loss("soft_margin", "soft_margin(p, q)", lambda t: torch.logaddexp(-t["p"] * t["q"], 0 * t["p"]), q=SIGN, whole=1e-10)
loss("hinge_embedding", "hinge_embedding(p, q, margin = 2)",
     lambda t: F.hinge_embedding_loss(t["p"], t["q"], margin=2.0, reduction="none"), q=SIGN)
loss("margin_ranking", "margin_ranking(p, second, q, margin = 0.5)",
     lambda t: F.margin_ranking_loss(t["p"], t["second"], t["q"], margin=0.5, reduction="none"), q=SIGN,
     states={"second": draw(2, 10, sd=3)})
RATE = np.stack([np.array([20, -20, 80, -80, 0, 1, 2, 3, -100, 5], np.float32), draw(10)])
COUNT = np.stack([np.array([0, 0, 3, 5, 0, 1, 2, 30, 4, 1000], np.float32), np.arange(10).astype(np.float32)])
POSITIVE = np.abs(RATE).astype(np.float32)
for full in False, True:
    word = str(full).lower()
    loss(f"poisson_nll__{word}", f"poisson_nll(p, q, full = {word})",
         lambda t, f=full: F.poisson_nll_loss(t["p"], t["q"], True, f, reduction="none"), p=RATE, q=COUNT)
    loss(f"poisson_nll__rate_{word}", f"poisson_nll(p, q, log_input = false, full = {word})",
         lambda t, f=full: F.poisson_nll_loss(t["p"], t["q"], False, f, reduction="none"), p=POSITIVE, q=COUNT)
    loss(f"gaussian_nll__{word}", f"gaussian_nll(p, q, var, full = {word})",
         lambda t, f=full: F.gaussian_nll_loss(t["p"], t["q"], t["var"], full=f, reduction="none"),
         states={"var": (0.01 + np.abs(draw(2, 10))).astype(np.float32)}, fixed=())


def focal(t, alpha, gamma):
    """torchvision.ops.sigmoid_focal_loss, in torch's words."""
    p = torch.sigmoid(t["p"])
    each = F.binary_cross_entropy_with_logits(t["p"], t["q"], reduction="none")
    each = each * (p * (1 - t["q"]) + (1 - p) * t["q"]) ** gamma
    return each if alpha < 0 else (alpha * t["q"] + (1 - alpha) * (1 - t["q"])) * each


NEAR = np.stack([np.array([30, -30, 30, -30, 15, -15, 0, 3, -3, 8], np.float32), LOGIT[1]])
loss("focal", "focal(p, q)", lambda t: focal(t, 0.25, 2), p=NEAR, part=2e-6)
loss("focal__open", "focal(p, q, alpha = -1, gamma = 1.5)", lambda t: focal(t, -1, 1.5), p=NEAR, part=4e-6)

HARD = np.concatenate([V, np.array([[100, -100, 0, 100, 1e4, 3], [0, 0, 0, 0, 0, 0], [-1e4, -100, -INF, 1, 2, 3],
                                    [1e4, -1e4, 0, 1, 2, 3]], np.float32)])
TARGET, target = "(iota[r] * 5 + 1) % 6", (torch.arange(8) * 5 + 1) % 6


def classes(name, call, function, p=HARD, **more):
    case(name, name.split("__")[0], "r = 8, v = 6", {"p": p}, "r", call, lambda t: function(t["p"]), param(p="r, v"),
         **more)


classes("cross_entropy", f"cross_entropy[v](p, {TARGET})", lambda x: F.cross_entropy(x, target, reduction="none"))
classes("cross_entropy__smooth", f"cross_entropy[v](p, {TARGET}, smooth = 0.1)",
        lambda x: F.cross_entropy(x, target, reduction="none", label_smoothing=0.1),
        p=np.where(np.isinf(HARD), 0, HARD).astype(np.float32))
classes("nll", f"nll[v](p, {TARGET})", lambda x: F.nll_loss(x, target, reduction="none"),
        p=np.where(np.isinf(HARD), 0, HARD).astype(np.float32))
FINITE = draw(8, 6, sd=2)
for power in 1, 2:
    classes(f"multi_margin__{power}", f"multi_margin[v](p, {TARGET}, margin = 1.5, power = {power})",
            lambda x, p=power: F.multi_margin_loss(x, target, p=p, margin=1.5, reduction="none"), p=FINITE)
three = {"p": V, "q": draw(4, 6), "s": draw(4, 6)}
case("triplet", "triplet distance", "r = 4, v = 6", three, "r", "triplet[v](p, q, s, margin = 2)",
     lambda t: F.triplet_margin_loss(t["p"], t["q"], t["s"], margin=2.0, reduction="none"),
     param(p="r, v", q="r, v", s="r, v"))
case("cosine_embedding", "cosine_embedding cosine_similarity", "r = 4, v = 6", {"p": V, "q": V + draw(4, 6)}, "r",
     "cosine_embedding[v](p, q, where(iota[r] % 2 == 0, 1, -1), margin = 0.2)",
     lambda t: F.cosine_embedding_loss(t["p"], t["q"], torch.tensor([1, -1, 1, -1]), margin=0.2, reduction="none"),
     param(p="r, v", q="r, v"))
case("kl", "kl", "r = 4, v = 6", {"p": V, "q": draw(4, 6)}, "r", "kl[v](log_softmax[v](p), log_softmax[v](q))",
     lambda t: F.kl_div(F.log_softmax(t["q"], -1), F.log_softmax(t["p"], -1), log_target=True, reduction="none").sum(-1),
     param(p="r, v", q="r, v"))

# ---- infinities: of each argument alone and of two at once -----------------------------------------
# Where torch has no number the test compares nothing.

ENDS = np.array([INF, -INF, 3e38, -3e38] + [1, -2] * 4, np.float32)


def pairs(a, b):
    """Each of a with each of b."""
    return np.repeat(a, len(b)).astype(np.float32), np.tile(b, len(a)).astype(np.float32)


def ends(name, call, function, covers=None, fixed=(), **states):
    n = len(next(iter(states.values())))
    case(f"{name}__ends", covers or name, f"n = {n}", states, "n", call, lambda t: function(*t.values()),
         param(**{k: "n" for k in states}), fixed=fixed)


for name, call, function in [
    ("sign", "sign(p)", lambda x: torch.sign(x) + 0 * torch.clamp(x, -1, 1)), ("ceil", "ceil(p)", torch.ceil),
    ("square", "square(p)", torch.square), ("relu", "relu(p)", F.relu),
    ("leaky_relu", "leaky_relu(p, 0.2)", lambda x: F.leaky_relu(x, 0.2)), ("sigmoid", "sigmoid(p)", torch.sigmoid),
    ("silu", "silu(p)", F.silu), ("gelu", "gelu(p)", lambda x: F.gelu(x, approximate="tanh")),
    ("gelu_erf", "gelu_erf(p)", F.gelu), ("softplus", "softplus(p)", F.softplus),
    ("logsigmoid", "logsigmoid(p)", F.logsigmoid), ("clamp", "clamp(p, -2.5, 3)", lambda x: torch.clamp(x, -2.5, 3)),
    ("relu6", "relu6(p)", F.relu6), ("elu", "elu(p, alpha = 1.5)", lambda x: F.elu(x, 1.5)),
    ("celu", "celu(p, alpha = 1.5)", lambda x: F.celu(x, 1.5)), ("selu", "selu(p)", F.selu), ("mish", "mish(p)", F.mish),
    ("hardsigmoid", "hardsigmoid(p)", F.hardsigmoid), ("hardswish", "hardswish(p)", F.hardswish),
    ("softsign", "softsign(p)", F.softsign), ("tanhshrink", "tanhshrink(p)", F.tanhshrink),
    ("hardshrink", "hardshrink(p, 0.6)", lambda x: F.hardshrink(x, 0.6)),
    ("softshrink", "softshrink(p, 0.6)", lambda x: F.softshrink(x, 0.6)),
    ("softcap", "softcap(p, 30)", lambda x: 30 * torch.tanh(x / 30)),
]:
    # the cube in gelu is beyond f32 at 3e38
    ends(name, call, function, p=ENDS[np.isinf(ENDS) | (np.abs(ENDS) < 3)] if name == "gelu" else ENDS)
ends("erfinv", "erfinv(p)", torch.erfinv, p=np.array([1, -1, 0, 0.999, -0.999], np.float32))

SOME, LABEL, SIDE = [INF, -INF, 100, -3], [0, 1, 0.25], [1, -1]
by_label, by_side, by_any = (dict(zip("pq", pairs(SOME, q))) for q in (LABEL, SIDE, SOME))
none = dict(reduction="none")
ends("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits(p, q)",
     lambda p, q: F.binary_cross_entropy_with_logits(p, q, **none), fixed=("q",), **by_label)
ends("focal", "focal(p, q)", lambda p, q: focal({"p": p, "q": q}, 0.25, 2), fixed=("q",), **by_label)
for name, call, function in [
    ("hinge", "hinge(p, q)", lambda p, q: torch.clamp(1 - p * q, min=0)),
    ("soft_margin", "soft_margin(p, q)", lambda p, q: F.softplus(-p * q)),
    ("hinge_embedding", "hinge_embedding(p, q)", lambda p, q: F.hinge_embedding_loss(p, q, **none)),
]:
    ends(name, call, function, fixed=("q",), **by_side)
for name, call, function in [
    ("absolute_error", "absolute_error(p, q)", lambda p, q: F.l1_loss(p, q, **none)),
    ("squared_error", "squared_error(p, q)", lambda p, q: F.mse_loss(p, q, **none)),
    ("huber", "huber(p, q, 2)", lambda p, q: F.huber_loss(p, q, delta=2.0, **none)),
    ("smooth_l1", "smooth_l1(p, q, 0.5)", lambda p, q: F.smooth_l1_loss(p, q, beta=0.5, **none)),
    ("margin_ranking", "margin_ranking(p, q, 1, margin = 0.5)",
     lambda p, q: F.margin_ranking_loss(p, q, torch.ones_like(p), margin=0.5, **none)),
]:
    ends(name, call, function, **by_any)
rate = dict(zip("pq", pairs([INF, -INF, 90, -90], [0, 1, 5])))
for full in "false", "true":
    ends(f"poisson_nll__{full}", f"poisson_nll(p, q, full = {full})", covers="poisson_nll", fixed=("q",),
         function=lambda p, q, f=full == "true": F.poisson_nll_loss(p, q, True, f, **none), **rate)
rate["p"] = np.abs(rate["p"])
ends("poisson_nll__rate", "poisson_nll(p, q, log_input = false)", lambda p, q: F.poisson_nll_loss(p, q, False, **none),
     covers="poisson_nll", fixed=("q",), **rate)
ends("gaussian_nll", "gaussian_nll(p, 1, q)", lambda p, q: F.gaussian_nll_loss(p, torch.ones_like(p), q, **none),
     **dict(zip("pq", pairs(SOME, [INF, 1, 2]))))

ROWS = np.array([[INF, 1, 2, 3], [-INF, 1, 2, 3], [3, 1, 2, -INF], [INF, -INF, 0, 1], [-INF, -INF, -INF, 2],
                 [3, 1, -2, 1]], np.float32)
FIRST = torch.zeros(6, dtype=torch.long)
OTHERS = np.tile(np.array([1, -2, 0.5, 2], np.float32), (6, 1))
for name, call, function, axes in [
    ("softmax", "softmax[v](p)", lambda x, y: F.softmax(x, -1), "r, v"),
    ("logsumexp", "logsumexp[v](p)", lambda x, y: torch.logsumexp(x, -1), "r"),
    ("log_softmax", "log_softmax[v](p)", lambda x, y: F.log_softmax(x, -1), "r, v"),
    ("variance", "variance[v](p)", lambda x, y: torch.var(x, -1, unbiased=False), "r"),
    ("normalize", "normalize[v](p)", lambda x, y: F.normalize(x, dim=-1), "r, v"),
    ("cosine_similarity", "cosine_similarity[v](p, q)", lambda x, y: F.cosine_similarity(x, y, -1), "r"),
    ("distance", "distance[v](p, q)", F.pairwise_distance, "r"),
    ("cross_entropy", "cross_entropy[v](p, 0 * iota[r])", lambda x, y: F.cross_entropy(x, FIRST, **none), "r"),
    ("nll", "nll[v](p, 0 * iota[r])", lambda x, y: F.nll_loss(x, FIRST, **none), "r"),
    ("multi_margin", "multi_margin[v](p, 0 * iota[r])", lambda x, y: F.multi_margin_loss(x, FIRST, **none), "r"),
    ("triplet", "triplet[v](p, q, -q, margin = 9)",
     lambda x, y: F.triplet_margin_loss(x, y, -y, margin=9.0, **none), "r"),
    ("cosine_embedding", "cosine_embedding[v](p, q, 1)",
     lambda x, y: F.cosine_embedding_loss(x, y, torch.ones(6), **none), "r"),
]:
    # torch leaves a NaN out of multi_margin's sum; the variance of a row with inf is NaN, whatever its gradient is
    rows = np.where(np.arange(6)[:, None] == 4, 0, ROWS) if name == "multi_margin" else ROWS
    case(f"{name}__ends", name, "r = 6, v = 4", {"p": rows, "q": OTHERS}, axes, call,
         lambda t, f=function: f(t["p"], t["q"]) + 0 * t["q"].sum(-1, keepdim=axes != "r"), param(p="r, v", q="r, v"),
         fixed=("p" if name == "variance" else "q",))

path = os.path.join(HERE, "std.safetensors")
write_safetensors(path, tensors, metadata)
print(f"{len(metadata) - 1} cases, {len(tensors)} tensors, {os.path.getsize(path)} bytes")
