#!/usr/bin/python3
"""Reference values in bf16 and f16 for test_parity: the models of generate.py under torch.autocast.

    python3 tests/parity/narrow.py      (PyTorch 2.3 or later: autocast of f16 on the CPU)

Weights and data are those of tests/parity/NAME.safetensors, which generate.py wrote with the values in double
precision. Parameters are f32; torch.autocast says which ops compute in the narrow type: products do, norms,
softmax and the loss do not. Gradients of f16 are those of the loss times 1024, divided by it.

tests/parity/narrow.safetensors:

    TYPE.NAME.off.PATH   f64, how far the gradient of the first batch's loss, before clipping, is from the one
                         in double precision, by its norm
    TYPE.NAME.losses     f64 [steps]
"""
import json
import os
import struct
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import generate

NAMES = ["gpt2", "llama", "bytes", "vit"]
TYPES = {"bf16": (torch.bfloat16, 1.0), "f16": (torch.float16, 1024.0)}
NUMPY = {"F32": np.float32, "F64": np.float64, "I32": np.int32}


def rope(x, base):
    """generate.rope, in f32."""
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32),
                        base ** (-torch.arange(half, dtype=torch.float32) / half))
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class Stored:
    """The parameters of a file, as leaves of f32."""

    def __init__(self, tensors):
        self.now = {k[6:]: torch.tensor(v, requires_grad=True) for k, v in tensors.items() if k.startswith("param.")}

    def get(self, path, shape, mean=0.0, sd=0.1):
        assert self.now[path].shape == shape
        return self.now[path]


def read(name):
    with open(os.path.join(generate.HERE, name + ".safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    header.pop("__metadata__")
    return {k: np.frombuffer(data[v["data_offsets"][0]:v["data_offsets"][1]], NUMPY[v["dtype"]]).reshape(v["shape"]).copy()
            for k, v in header.items()}


def run(name, kind):
    model, _, d, make_optimizer, rate = generate.MODELS[name]
    dtype, scale = TYPES[kind]
    tensors = read(name)
    p = Stored(tensors)
    data = [tensors[k] for k in ("tokens", "targets", "image", "label") if k in tensors]
    optimizer = make_optimizer(p.now)
    losses, grads = [], {}
    for step in range(generate.STEPS):
        optimizer.zero_grad()
        inputs = [torch.tensor(x[step]) for x in data]
        with torch.autocast("cpu", dtype=dtype):
            loss = model(p, d, *[x if x.is_floating_point() else x.long() for x in inputs])
        assert loss.dtype == torch.float32
        (loss * scale).backward()
        losses.append(loss.item())
        for w in p.now.values():
            w.grad /= scale
        if step == 0:
            grads = {k: w.grad.numpy().copy() for k, w in p.now.items()}
        torch.nn.utils.clip_grad_norm_(p.now.values(), d["clip"])
        for g in optimizer.param_groups:
            g["lr"] = rate(step + 1)
        optimizer.step()
    off = {k: np.linalg.norm(g - tensors["grad." + k]) / np.linalg.norm(tensors["grad." + k]) for k, g in grads.items()}
    drift = np.abs(np.array(losses) - tensors["losses"]) / tensors["losses"]
    print(f"{kind} {name}: from double the first loss is off by {drift[0]:.1e}, those of {generate.STEPS} steps by "
          f"{drift.max():.1e}, gradients by {sorted(off.values())[0]:.1e} to {max(off.values()):.1e} ({max(off, key=off.get)})")
    out = {f"{kind}.{name}.off.{k}": np.array(x, np.float64) for k, x in off.items()}
    out[f"{kind}.{name}.losses"] = np.array(losses)
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    generate.rope = rope
    tensors = {}
    for kind in TYPES:
        for name in NAMES:
            tensors.update(run(name, kind))
    generate.write_safetensors(os.path.join(generate.HERE, "narrow.safetensors"), tensors, {"torch": torch.__version__})
