"""The training step of GPT-2 in PyTorch, which `sinter bench --torch PYTHON` measures beside its own.

    PYTHON bench_torch.py LAYERS DIM HEADS FF VOCAB BATCH SEQ f32|bf16 THREADS compile|eager

The model of models/gpt2.sn with torch.nn.functional's scaled_dot_product_attention, AdamW in one kernel (fused),
the gradient clipped to norm 1; bf16: autocast. It says "ready VERSION" when it has run two steps, then takes a step for
each line that it reads and prints its seconds and the loss.
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, dim, heads, ff):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, ff), nn.Linear(ff, dim)

    def forward(self, x):
        batch, seq, dim = x.shape
        q, k, v = self.qkv(self.norm_1(x)).split(dim, dim=2)
        q, k, v = (t.view(batch, seq, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, seq, dim))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="none"))


class Gpt2(nn.Module):
    def __init__(self, layers, dim, heads, ff, vocab, seq):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(seq, dim)
        self.layers = nn.ModuleList(Block(dim, heads, ff) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        for p in self.parameters():
            nn.init.normal_(p, std=0.02) if p.dim() > 1 else None

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.norm(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main():
    layers, dim, heads, ff, vocab, batch, seq = (int(a) for a in sys.argv[1:8])
    narrow, threads, compiled = sys.argv[8] == "bf16", int(sys.argv[9]), sys.argv[10] == "compile"
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Gpt2(layers, dim, heads, ff, vocab, seq)
    wide = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": wide, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=True)
    loss_of = torch.compile(model) if compiled else model
    tokens = torch.randint(0, vocab, (batch, seq + 1))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = loss_of(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    step(), step()
    print("ready", torch.__version__, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = step()
        print(time.perf_counter() - start, loss, flush=True)


main()
