#!/usr/bin/python3
"""Reference values for test_parity: the shipped models written again, in PyTorch.

    /usr/bin/python3 tests/parity/generate.py [NAME...]      (Debian's python3-torch, on the CPU)

For each model it draws f32 weights and token batches from a fixed seed, computes the loss and the
gradient of every parameter by torch's autograd in double precision, and then the losses of 20 steps
of torch's own optimizer with the plan's clipping and schedule. Double precision, because the
reference is the mathematics and not another rounding of it.

The result is tests/parity/NAME.safetensors:

    param.PATH  f32, before the first step, in the axis order in which the model declares it
    grad.PATH   f32, of the first batch's loss, before clipping
    the model's inputs, by name, of all steps:
      tokens, targets  i32 [steps, batch, seq];  weight  f32 likewise
      image  f32 [steps, batch, row, col];  label  i32 [steps, batch]
    losses      f64 [steps]
    after.PATH  f64 [steps, shape], of optimizers alone: the parameter after each step
    metadata "defines": the -D options that give the model these sizes

The models here use other words than the .sn files on purpose (einsum, F.layer_norm, F.cross_entropy,
scaled dot products with repeated keys, complex numbers for rotations): a mistake must be made twice
to go unnoticed.
"""
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

STEPS = 20
HERE = os.path.dirname(os.path.abspath(__file__))


class Params:
    """Draws parameters on first use, so that a model's code is its list of parameters."""

    def __init__(self, seed):
        self.rng = np.random.RandomState(seed)
        self.first, self.now = {}, {}

    def get(self, path, shape, mean=0.0, sd=0.1):
        if path not in self.now:
            drawn = (mean + sd * self.rng.standard_normal(shape)).astype(np.float32)
            self.first[path] = drawn
            self.now[path] = torch.tensor(drawn, dtype=torch.float64, requires_grad=True)
        return self.now[path]


def causal(seq):
    return torch.ones(seq, seq, dtype=torch.bool).tril()


def attend(q, k, v):
    """q k v: [batch, head, seq, hdim]."""
    seq, hdim = q.shape[-2:]
    s = (q @ k.transpose(-1, -2) / math.sqrt(hdim)).masked_fill(~causal(seq), -math.inf)
    return s.softmax(-1) @ v


def rope(x, base):
    """x: [batch, head, seq, hdim]; feature i is the real and i + hdim/2 the imaginary part."""
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float64),
                        base ** (-torch.arange(half, dtype=torch.float64) / half))
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1)


def rmsnorm(x, scale):
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * scale


def mean_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def gpt2(p, d, tokens, targets):
    dim, head = d["dim"], d["head"]
    hdim = dim // head

    def norm(x, path):
        scale, shift = p.get(path + ".scale", (dim,), 1), p.get(path + ".shift", (dim,))
        return F.layer_norm(x, (dim,), scale, shift)

    wte = p.get("wte", (d["vocab"], dim), sd=0.2)
    x = F.embedding(tokens, wte) + p.get("wpe", (d["ctx"], dim))[: tokens.shape[1]]
    for layer in range(d["layer"]):
        h = f"h.{layer}."
        y = norm(x, h + "ln_1")
        q, k, v = (torch.einsum("bsd,dhe->bhse", y, p.get(h + "attn.w" + n, (dim, head, hdim), sd=0.2))
                   + p.get(h + "attn.b" + n, (head, hdim))[:, None] for n in "qkv")
        y = torch.einsum("bhse,hed->bsd", attend(q, k, v), p.get(h + "attn.wo", (head, hdim, dim)))
        x = x + y + p.get(h + "attn.bo", (dim,))
        y = norm(x, h + "ln_2") @ p.get(h + "mlp.w1", (dim, 4 * dim)) + p.get(h + "mlp.b1", (4 * dim,))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y ** 3)))
        x = x + y @ p.get(h + "mlp.w2", (4 * dim, dim)) + p.get(h + "mlp.b2", (dim,))
    return mean_loss(norm(x, "ln_f") @ wte.T, targets)


def llama(p, d, tokens, targets):
    dim, kv, group, ff = d["dim"], d["kv"], d["group"], d["ff"]
    hdim = dim // (kv * group)
    x = F.embedding(tokens, p.get("embed", (d["vocab"], dim), sd=0.2))
    for layer in range(d["layer"]):
        h = f"h.{layer}."
        y = rmsnorm(x, p.get(h + "norm_1.scale", (dim,), 1))
        wq = p.get(h + "attn.wq", (dim, kv, group, hdim), sd=0.2).flatten(1, 2)
        q = rope(torch.einsum("bsd,dhe->bhse", y, wq), 10000)
        wk = p.get(h + "attn.wk", (dim, kv, hdim), sd=0.2)
        k = rope(torch.einsum("bsd,dhe->bhse", y, wk), 10000)
        v = torch.einsum("bsd,dhe->bhse", y, p.get(h + "attn.wv", (dim, kv, hdim)))
        y = attend(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))
        wo = p.get(h + "attn.wo", (kv, group, hdim, dim)).flatten(0, 1)
        x = x + torch.einsum("bhse,hed->bsd", y, wo)
        y = rmsnorm(x, p.get(h + "norm_2.scale", (dim,), 1))
        y = F.silu(y @ p.get(h + "mlp.gate", (dim, ff))) * (y @ p.get(h + "mlp.up", (dim, ff)))
        x = x + y @ p.get(h + "mlp.down", (ff, dim))
    x = rmsnorm(x, p.get("norm.scale", (dim,), 1))
    return mean_loss(x @ p.get("head", (d["vocab"], dim), sd=0.2).T, targets)


def bytes_(p, d, tokens, targets):
    dim, head = d["dim"], d["head"]
    hdim = dim // head
    embed = p.get("embed", (d["vocab"], dim), sd=0.2)
    x = F.embedding(tokens, embed)
    for layer in range(d["layer"]):
        h = f"h.{layer}."
        y = rmsnorm(x, p.get(h + "norm_1.scale", (dim,), 1))
        q, k, v = (torch.einsum("bsd,dhe->bhse", y, p.get(h + "attn.w" + n, (dim, head, hdim), sd=0.2))
                   for n in "qkv")
        y = attend(rope(q, 10000), rope(k, 10000), v)
        x = x + torch.einsum("bhse,hed->bsd", y, p.get(h + "attn.wo", (head, hdim, dim)))
        y = rmsnorm(x, p.get(h + "norm_2.scale", (dim,), 1)) @ p.get(h + "mlp.up", (dim, 4 * dim))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y ** 3)))
        x = x + y @ p.get(h + "mlp.down", (4 * dim, dim))
    return mean_loss(rmsnorm(x, p.get("norm.scale", (dim,), 1)) @ embed.T, targets)


def mlp(p, d, tokens, targets):
    n, dim, hidden, vocab = d["n"], d["dim"], d["hidden"], d["vocab"]
    window = F.pad(tokens, (n - 1, 0)).unfold(1, n, 1)  # byte 0 before the start
    window = F.embedding(window, p.get("embed", (vocab, dim), sd=0.3)).flatten(2)
    w = p.get("fc_1.w", (n * dim, hidden), sd=0.2)
    x = torch.tanh(window @ w + p.get("fc_1.b", (hidden,)))
    return mean_loss(x @ p.get("fc_2.w", (hidden, vocab)) + p.get("fc_2.b", (vocab,)), targets)


def vit(p, d, image, label):
    dim, head, py, px = d["dim"], d["head"], d["py"], d["px"]
    hdim = dim // head

    def norm(x, path):
        scale, shift = p.get(path + ".scale", (dim,), 1), p.get(path + ".shift", (dim,))
        return F.layer_norm(x, (dim,), scale, shift)

    kernel = p.get("embed", (py, px, dim)).permute(2, 0, 1)[:, None]  # patches as a strided convolution
    x = F.conv2d(image[:, None], kernel, stride=(py, px)).flatten(2).transpose(1, 2)
    x = torch.cat([p.get("first", (dim,)).expand(len(x), 1, dim), x], 1)
    x = x + p.get("place", (x.shape[1], dim))
    for layer in range(d["layer"]):
        h = f"h.{layer}."
        y = norm(x, h + "ln_1")
        q, k, v = (torch.einsum("bsd,dhe->bhse", y, p.get(h + "attn.w" + n, (dim, head, hdim), sd=0.2))
                   for n in "qkv")
        y = (q @ k.transpose(-1, -2) / math.sqrt(hdim)).softmax(-1) @ v
        x = x + torch.einsum("bhse,hed->bsd", y, p.get(h + "attn.wo", (head, hdim, dim)))
        y = norm(x, h + "ln_2") @ p.get(h + "mlp.w1", (dim, 4 * dim)) + p.get(h + "mlp.b1", (4 * dim,))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y ** 3)))
        x = x + y @ p.get(h + "mlp.w2", (4 * dim, dim)) + p.get(h + "mlp.b2", (dim,))
    logits = norm(x[:, 0], "ln_f") @ p.get("top.w", (dim, d["class"])) + p.get("top.b", (d["class"],))
    return F.cross_entropy(logits, label, label_smoothing=0.1)


def cnn(p, d, image, label):
    chan, more = d["chan"], d["more"]

    def norm(path):
        return p.get(path + ".scale", (chan,), 1), p.get(path + ".shift", (chan,))

    def kernel(path, *shape):  # Sinter's order is rows, columns, in, out; with groups these first
        return p.get(path + ".w", shape, sd=0.3)

    w = kernel("conv_1", 3, 3, 1, chan).permute(3, 2, 0, 1)
    x = F.conv2d(image[:, None], w, p.get("conv_1.b", (chan,)), stride=2, padding=1)
    x = F.silu(F.group_norm(x, 2, *norm("norm_1")))
    w = kernel("conv_2", 3, 3, 3, chan // 3, chan // 3).permute(0, 4, 3, 1, 2).flatten(0, 1)
    y = F.conv2d(x, w, padding=2, dilation=2, groups=3)
    scale, shift = norm("norm_2")
    x = x + F.hardswish(F.instance_norm(y, weight=scale, bias=shift))
    down = F.max_pool2d(x, 3, 2, 1)
    w = kernel("conv_3", 2, 3, 3, chan // 2, chan // 2).permute(0, 3, 4, 1, 2).flatten(0, 1)
    x = x + F.conv_transpose2d(down, w, p.get("conv_3.b", (chan,)), stride=2, padding=1, output_padding=(1, 0), groups=2)
    x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False).flatten(2)
    w = kernel("conv_4", 3, chan, more).permute(2, 1, 0)
    z = F.mish(F.conv1d(x, w, p.get("conv_4.b", (more,)), stride=2))
    w = kernel("conv_5", 3, more, more).permute(1, 2, 0)
    z = F.elu(F.conv_transpose1d(z, w, p.get("conv_5.b", (more,)), stride=2))
    logits = z.mean(-1) @ p.get("top.w", (more, d["class"]), sd=0.5) + p.get("top.b", (d["class"],))
    return F.cross_entropy(logits, label)


def weighted(p, d, tokens, targets, weight):
    vocab, dim, hidden = d["vocab"], d["dim"], d["hidden"]
    embed = p.get("embed", (vocab, dim), sd=0.3)
    x = F.embedding(tokens, embed)
    y = rmsnorm(x, p.get("norm.scale", (dim,), 1))
    y = torch.tanh(y @ p.get("up.w", (dim, hidden), sd=0.2) + p.get("up.b", (hidden,)))
    x = x + y @ p.get("down.w", (hidden, dim), sd=0.2) + p.get("down.b", (dim,))
    each = F.cross_entropy((x @ embed.T).flatten(0, 1), targets.flatten(), reduction="none")
    return (each * weight.flatten()).sum() / weight.sum()


def cosine(peak, warmup, steps, floor):
    """The rate of step 1, 2, ..."""
    def rate(step):
        if step < warmup:
            return peak * step / warmup
        t = min(1.0, (step - 1 - warmup) / (steps - warmup)) if step > warmup else 0.0
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * t)))
    return rate


def linear(peak, warmup, steps):
    """The rate of step 1, 2, ... as torch's LambdaLR would be given it."""
    def rate(step):
        done = min(1, max(0, (step - 1 - warmup) / (steps - warmup)))
        return peak * (step / warmup if step < warmup else 1 - done)
    return rate


class Both:
    """Two of torch's optimizers as one; each group has a 'rate', a function of the step."""

    def __init__(self, *all):
        self.all = all
        self.param_groups = [g for o in all for g in o.param_groups]

    def zero_grad(self):
        for o in self.all:
            o.zero_grad()

    def step(self):
        for o in self.all:
            o.step()


def groups(params):
    """The plan of tests/models/groups.sn."""
    base, table, down = cosine(1e-2, 4, 20, 0.1), linear(3e-3, 2, 12), lambda step: 0.05
    half = lambda rate: lambda step: 0.5 * rate(step)
    params["up.b"].requires_grad_(False)

    def group(names, rate, decay):
        return {"params": [params[k] for k in names], "weight_decay": decay, "rate": rate}
    adam = torch.optim.AdamW([group(["up.w"], base, 0.1), group(["embed"], table, 0.1),
                              group(["norm.scale"], half(base), 0.0), group(["down.b"], half(down), 0.0)],
                             lr=0.0, betas=(0.9, 0.95), eps=1e-8)
    twice = lambda step: 2 * down(step)
    return Both(adam, torch.optim.SGD([group(["down.w"], twice, 0.0)], lr=0.0, momentum=0.9))


def adamw(decayed, decay=0.1, betas=(0.9, 0.95)):
    def make(params):
        groups = [{"params": [w for k, w in params.items() if decayed(k)], "weight_decay": decay},
                  {"params": [w for k, w in params.items() if not decayed(k)], "weight_decay": 0.0}]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, eps=1e-8)
    return make


def last(path):
    return path.split(".")[-1]


LR = {"lr.peak": 5e-3, "lr.warmup": 4, "lr.steps": 20, "lr.floor": 0.1}
SCHEDULE = cosine(5e-3, 4, 20, 0.1)
SIZES = {"size.batch": 4, "size.seq": 16}
# name: (model, seed, -D options, optimizer, rate of a step). The bounds of the gradient's norm are such
# that some steps are clipped and some are not.
MODELS = {
    "gpt2": (gpt2, 11, {"layer": 2, "dim": 32, "head": 4, "vocab": 67, "ctx": 19, "clip": 2.7,
                    **SIZES, **LR},
             adamw(lambda k: last(k)[0] != "b" and last(k) not in ("scale", "shift")), SCHEDULE),
    "llama": (llama, 12, {"layer": 2, "dim": 32, "kv": 2, "group": 2, "ff": 48, "vocab": 67, "clip": 2.8,
                      **SIZES, **LR}, adamw(lambda k: last(k) != "scale"), SCHEDULE),
    "bytes": (bytes_, 13, {"layer": 2, "dim": 32, "head": 4, "vocab": 67, "clip": 2.5, **SIZES, **LR},
              adamw(lambda k: last(k) != "scale"), SCHEDULE),
    "mlp": (mlp, 14, {"vocab": 67, "dim": 8, "n": 4, "hidden": 24, **SIZES, "lr.peak": 0.5},
            lambda params: torch.optim.SGD(params.values(), lr=0.0, momentum=0.9), lambda step: 0.5),
    "weighted": (weighted, 15, {"vocab": 31, "dim": 16, "hidden": 40, "size.batch": 4, "size.seq": 8,
                                "lr.peak": 1e-2, "clip": 2.2},
                 adamw(lambda k: True), lambda step: 1e-2),
    "groups": (weighted, 17, {"vocab": 31, "dim": 16, "hidden": 40, "size.batch": 4, "size.seq": 8,
                            "clip": 2.6}, groups, None),
    "vit": (vit, 16, {"row": 8, "col": 12, "py": 4, "px": 4, "class": 5, "dim": 16, "head": 2, "layer": 2,
                      "size.batch": 4, "clip": 4, **LR},
            adamw(lambda k: True, 0.05, (0.9, 0.999)), SCHEDULE),
    "cnn": (cnn, 18, {"row": 11, "col": 9, "class": 5, "chan": 6, "more": 8, "size.batch": 4, "clip": 1.5},
            adamw(lambda k: True, 0.05, (0.9, 0.999)), SCHEDULE),
}


def draw_tokens(rng, vocab, shape):
    """Something to learn: most targets are a fixed function of the token, one in four is noise."""
    tokens = rng.randint(0, vocab, shape)
    noise = rng.randint(0, vocab, shape)
    targets = np.where(rng.random_sample(shape) < 0.25, noise, (tokens * 3 + 1) % vocab)
    return {"tokens": tokens.astype(np.int32), "targets": targets.astype(np.int32)}


def draw_images(rng, classes, shape, rows, cols):
    """A pattern for each class, and noise."""
    label = rng.randint(0, classes, shape)
    pattern = rng.standard_normal((classes, rows, cols))
    image = pattern[label] + 0.5 * rng.standard_normal((*shape, rows, cols))
    return {"image": image.astype(np.float32), "label": label.astype(np.int32)}


def draw_weights(rng, steps, batch, seq):
    """Uneven: most are 0 or 1, some between; in each step one sample has none at all."""
    w = rng.choice([0.0, 0.0, 0.25, 1.0, 1.0], size=(steps, batch, seq)).astype(np.float32)
    w[np.arange(steps), np.arange(steps) % batch] = 0
    return w


def generate(name):
    model, seed, d, make_optimizer, rate = MODELS[name]
    rng = np.random.RandomState(1000 + seed)
    if model in (vit, cnn):
        data = draw_images(rng, d["class"], (STEPS, d["size.batch"]), d["row"], d["col"])
    else:
        data = draw_tokens(rng, d["vocab"], (STEPS, d["size.batch"], d["size.seq"]))
    if model is weighted:
        data["weight"] = draw_weights(rng, *data["tokens"].shape)
    p = Params(seed)

    def loss_of(step):
        real = [torch.tensor(v[step]) for v in data.values()]
        return model(p, d, *[v.double() if v.is_floating_point() else v.long() for v in real])

    loss_of(0)  # draws the parameters
    first = {k: v.copy() for k, v in p.first.items()}
    optimizer = make_optimizer(p.now)
    grads, losses, clipped = {}, [], 0
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            grads = {k: v.grad.numpy().astype(np.float32) for k, v in p.now.items() if v.requires_grad}
        if "clip" in d:
            clipped += torch.nn.utils.clip_grad_norm_(p.now.values(), d["clip"]).item() > d["clip"]
        for g in optimizer.param_groups:
            g["lr"] = g.get("rate", rate)(step + 1)
        optimizer.step()
    tensors = {"losses": np.array(losses)}
    tensors.update({"param." + k: v for k, v in first.items()})
    tensors.update({"grad." + k: v for k, v in grads.items()})
    tensors.update(data)
    path = os.path.join(HERE, name + ".safetensors")
    write_safetensors(path, tensors, {"defines": " ".join(f"{k}={v}" for k, v in d.items()),
                                      "torch": torch.__version__})
    print(f"{name}: loss {losses[0]:.6f} -> {losses[-1]:.6f}, clipped {clipped} of {STEPS} steps, "
          f"{len(first)} parameters, {os.path.getsize(path)} bytes")


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of You et al., 'Large Batch Optimization for Deep Learning: Training BERT in 76 minutes'
    (ICLR 2020), with phi(x) = x and Adam's corrections for the start; torch has none. A parameter of three
    axes is a stack of maps, each with its own norms."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0):
        super().__init__(params, {"lr": lr})
        self.betas, self.eps, self.decay, self.count = betas, eps, weight_decay, 0

    @torch.no_grad()
    def step(self):
        self.count += 1
        for g in self.param_groups:
            for w in g["params"]:
                m, v = self.state.setdefault(w, {"m": torch.zeros_like(w), "v": torch.zeros_like(w)}).values()
                m.mul_(self.betas[0]).add_(w.grad * (1 - self.betas[0]))
                v.mul_(self.betas[1]).add_(w.grad ** 2 * (1 - self.betas[1]))
                u = m / (1 - self.betas[0] ** self.count)
                u = u / (torch.sqrt(v / (1 - self.betas[1] ** self.count)) + self.eps) + self.decay * w
                axes = (-2, -1) if w.dim() > 1 else tuple(range(w.dim()))
                norm = lambda x: x.pow(2).sum(axes, keepdim=True).sqrt() if axes else x.abs()
                trust = norm(w) / norm(u)
                w -= g["lr"] * torch.where((norm(w) > 0) & (norm(u) > 0), trust, torch.ones_like(trust)) * u


# The cases of tests/models/optimizers.sn.
O = torch.optim
OPTIMIZERS = {
    "sgd_plain": lambda w: O.SGD(w, 1),
    "sgd_decay": lambda w: O.SGD(w, 1, weight_decay=0.1),
    "sgd_momentum": lambda w: O.SGD(w, 1, momentum=0.9, weight_decay=0.1),
    "sgd_dampening": lambda w: O.SGD(w, 1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "sgd_nesterov": lambda w: O.SGD(w, 1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw_decay": lambda w: O.AdamW(w, 1, weight_decay=0.1),
    "adam_plain": lambda w: O.Adam(w, 1),
    "adam_decay": lambda w: O.Adam(w, 1, betas=(0.8, 0.99), weight_decay=0.1),
    # without foreach, torch 1.13 has a factor twice (mu_product * mu * mu_next); later ones have it once
    "nadam_plain": lambda w: O.NAdam(w, 1, foreach=True),
    "nadam_decay": lambda w: O.NAdam(w, 1, weight_decay=0.1, momentum_decay=0.1, foreach=True),
    "radam_plain": lambda w: O.RAdam(w, 1),
    "radam_decay": lambda w: O.RAdam(w, 1, betas=(0.9, 0.9), weight_decay=0.1),
    "adamax_decay": lambda w: O.Adamax(w, 1, weight_decay=0.1),
    "rmsprop_plain": lambda w: O.RMSprop(w, 1),
    "rmsprop_momentum": lambda w: O.RMSprop(w, 1, alpha=0.9, momentum=0.9, weight_decay=0.1),
    "rmsprop_centered": lambda w: O.RMSprop(w, 1, centered=True, momentum=0.5, weight_decay=0.1),
    "adagrad_plain": lambda w: O.Adagrad(w, 1),
    "adagrad_decay": lambda w: O.Adagrad(w, 1, weight_decay=0.1, lr_decay=0.2, initial_accumulator_value=0.5),
    "adadelta_plain": lambda w: O.Adadelta(w, 1),
    "adadelta_decay": lambda w: O.Adadelta(w, 1, rho=0.8, weight_decay=0.1),
    "lamb_plain": lambda w: Lamb(w, 1),
    "lamb_decay": lambda w: Lamb(w, 1, betas=(0.8, 0.99), weight_decay=0.1),
}


def optimizers():
    """Parameters after each step of each optimizer, the gradients given. Some elements have gradients that are
    far from 1, or 0 throughout or at first; the norm of all must stay below 1.8e19."""
    steps, rng = 10, np.random.RandomState(18)
    shapes = {"a": (3, 5), "k": (2, 3, 5), "b": (8,), "s": ()}
    grads = {k: rng.standard_normal((steps, *s)).astype(np.float32) for k, s in shapes.items()}
    grads["b"][:, :4] *= np.float32([0, 1e-20, 1e18, 1e-6])
    grads["b"][:4, 4] = 0
    grads["b"][3:, 5] = 0
    grads["k"][:, 0, :, :2] *= np.float32(1e8)
    tensors = {"g" + k: v for k, v in grads.items()}
    rate = linear(0.1, 3, 100)
    losses = np.zeros(steps)
    for case, make in OPTIMIZERS.items():
        first = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
        first["k"] = first["k"] * np.float32([[[0.0]], [[1]]])  # the first map is 0
        now = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in first.items()}
        optimizer = make(list(now.values()))
        after = {k: [] for k in now}
        for step in range(steps):
            for k, w in now.items():
                w.grad = torch.tensor(grads[k][step], dtype=torch.float64)
                losses[step] += (w * w.grad).sum().item()
            for g in optimizer.param_groups:
                g["lr"] = rate(step + 1)
            optimizer.step()
            for k, w in now.items():
                after[k].append(w.detach().numpy().copy())
        tensors.update({f"param.{case}.{k}": v for k, v in first.items()})
        tensors.update({f"after.{case}.{k}": np.array(v) for k, v in after.items()})
    tensors["losses"] = losses
    path = os.path.join(HERE, "optimizers.safetensors")
    write_safetensors(path, tensors, {"defines": "size.batch=1", "torch": torch.__version__})
    print(f"optimizers: {len(OPTIMIZERS)} cases of {steps} steps, {os.path.getsize(path)} bytes")


DTYPES = {"float64": "F64", "float32": "F32", "int32": "I32"}


def write_safetensors(path, tensors, metadata):
    order = sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k))
    header, at = {"__metadata__": metadata}, 0
    for k in order:
        t = tensors[k]
        place = [at, at + t.nbytes]
        header[k] = {"dtype": DTYPES[t.dtype.name], "shape": t.shape, "data_offsets": place}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for k in order:
            f.write(np.ascontiguousarray(tensors[k]).tobytes())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[1:] or [*MODELS, "optimizers"]:
        optimizers() if wanted == "optimizers" else generate(wanted)
