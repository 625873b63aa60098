#!/usr/bin/python3
"""Reference traces of loss scales for test_scale: 5000 steps of tests/models/scale.sn in PyTorch, in f32.

    python3 tests/parity/scale.py      (PyTorch 2.3 or later: torch.amp.GradScaler on the CPU)

In some steps the data makes the loss, or gradients alone, infinite or NaN; in others a gradient is so large
that it overflows above some scale. Traces of two kinds:

    torch_*     torch.amp.GradScaler itself: scale, unscale_, clip_grad_norm_, step, update
    megatron_*  Megatron-LM's rule, from its description (class Hysteresis below); the same model and data

tests/parity/scale.safetensors:

    gain, slope, push, lift  f32 [steps, batch], the model's inputs
    NAME.scale             i8 [steps], the power of two, after each step
    NAME.run, NAME.done    i16 [steps], finite steps since the scale last changed or since the last other one;
                           steps that were taken
    metadata "NAME"        the -D options of the trace
"""
import json
import os
import struct

import numpy as np
import torch

STEPS, BATCH = 5000, 2
HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {"float32": "F32", "int16": "I16", "int8": "I8"}


class Hysteresis:
    """Bad steps are borne `hysteresis` times before the scale falls, counted since it last grew."""

    def __init__(self, init, growth, backoff, every, hysteresis, least):
        self.scale, self.growth, self.backoff = torch.tensor(init, dtype=torch.float32), growth, backoff
        self.every, self.hysteresis, self.least = every, hysteresis, least
        self.run, self.left = 0, hysteresis

    def update(self, found):
        if found:
            self.run = 0
            self.left -= 1
            if self.left <= 0:
                self.scale = torch.clamp(self.scale * self.backoff, min=self.least)
        else:
            self.run += 1
            if self.run == self.every:
                self.run, self.left = 0, self.hysteresis
                self.scale = self.scale * self.growth


# NAME: (init, growth, backoff, every, hysteresis, least)
TRACES = {
    "torch_default": (65536.0, 2.0, 0.5, 2000, 1, 0.0),
    "torch_large": (2.0**100, 2.0, 0.5, 20, 1, 0.0),
    "torch_steep": (2.0**120, 4.0, 0.25, 7, 1, 0.0),
    "megatron_default": (2.0**32, 2.0, 0.5, 1000, 2, 1.0),
    "megatron_large": (2.0**90, 2.0, 0.5, 20, 2, 1.0),
    "megatron_least": (16.0, 2.0, 0.5, 30, 3, 8.0),
}
OPTIONS = ["init", "growth", "backoff", "every", "hysteresis", "least"]


def draw():
    """Mostly numbers; a long quiet time, short bursts, and one that is long."""
    rng = np.random.RandomState(12)
    gain, slope, lift = (np.ones((STEPS, BATCH), np.float32) for _ in range(3))
    push = rng.choice([-1, 1], (STEPS, BATCH)).astype(np.float32)
    big = rng.random_sample((STEPS, BATCH)) < 0.05
    push[big] *= np.float32(10) ** rng.randint(1, 17, big.sum())
    bad = rng.random_sample(STEPS) < np.where((np.arange(STEPS) // 100) % 3 == 0, 0.06, 0.004)
    bad[1000:3300] = False
    bad[4200:4215] = True
    kinds = [(gain, np.inf), (gain, -np.inf), (gain, np.nan), (slope, 0), (lift, 3e38), (push, np.inf), (push, np.nan)]
    for step in np.flatnonzero(bad):
        for sample in range(BATCH):
            if sample == step % BATCH or rng.random_sample() < 0.3:
                array, value = kinds[rng.randint(len(kinds))]
                array[step, sample] = value
    return {"gain": gain, "slope": slope, "push": push, "lift": lift}


def trace(name, data):
    init, growth, backoff, every, hysteresis, least = TRACES[name]
    inputs = [data[k] for k in ("gain", "slope", "push", "lift")]
    w, v, a = torch.ones(4), torch.ones(()), torch.zeros(())
    params = [x.requires_grad_() for x in (w, v, a)]
    adam = torch.optim.AdamW(params, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    ours = Hysteresis(*TRACES[name])
    theirs = torch.amp.GradScaler("cpu", init_scale=init, growth_factor=growth, backoff_factor=backoff,
                                  growth_interval=every)
    scales, runs, done, count, silent = [], [], [], 0, 0
    for step in range(STEPS):
        adam.zero_grad()
        loss = 0
        for sample in range(BATCH):
            gain, slope, push, lift = (torch.tensor(x[step, sample]) for x in inputs)
            one = (gain * (w * w).sum() + torch.sqrt(slope * torch.exp(v)) + push * (lift * (a / lift))) / BATCH
            loss += one.item()
            scale = ours.scale if name.startswith("megatron") else theirs.scale(torch.ones(()))
            (one * scale).backward()
        found = not all(torch.isfinite(x.grad).all() for x in params)
        silent += found and bool(np.isfinite(loss))
        assert found or np.isfinite(loss)
        if name.startswith("megatron"):
            if not found:
                for x in params:
                    x.grad *= 1 / scale
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                adam.step()
            ours.update(found)
            scales.append(ours.scale.item()), runs.append(ours.run)
        else:
            theirs.unscale_(adam)
            norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
            assert found or torch.isfinite(norm)
            theirs.step(adam)
            theirs.update()
            scales.append(theirs.get_scale()), runs.append(theirs._growth_tracker.item())
        count += not found
        done.append(count)
    assert count == int(adam.state[w]["step"].item())
    print(f"{name}: {STEPS - count} skipped, {silent} of them with a finite loss; "
          f"scale 2^{np.log2(min(scales)):.0f} to 2^{np.log2(max(scales)):.0f}, last {scales[-1]:g}")
    power = np.log2(scales)
    assert (power == np.rint(power)).all()
    return {name + ".scale": power.astype(np.int8), name + ".run": np.array(runs, np.int16),
            name + ".done": np.array(done, np.int16)}


def write(path, tensors, metadata):
    order = sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k))
    header, at = {"__metadata__": metadata}, 0
    for k in order:
        t = tensors[k]
        header[k] = {"dtype": DTYPES[t.dtype.name], "shape": t.shape, "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for k in order:
            f.write(tensors[k].tobytes())


if __name__ == "__main__":
    torch.set_num_threads(1)
    tensors = draw()
    for wanted in TRACES:
        tensors.update(trace(wanted, tensors))
    defines = {name: " ".join(f"precision.loss_scale.{k}={v!r}" for k, v in zip(OPTIONS, values))
               for name, values in TRACES.items()}
    write(os.path.join(HERE, "scale.safetensors"), tensors, {**defines, "torch": torch.__version__})
