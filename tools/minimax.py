#!/usr/bin/env python3
"""Derives the polynomial coefficients of ir/scalar.c.

Each fit is minimax: g(x) ~ sum c[i] x^i with the error weighted by w(x). After the fit of all coefficients the lowest free one is rounded to f32 and the rest is fitted
again, so that the rounding of one coefficient is taken up by the others. Needs mpmath and numpy.

    python3 tools/minimax.py            prints every table with its error
"""
import struct

import numpy as np
from mpmath import mp, mpf, exp, log, sin, cos, erf, erfc, sqrt, pi

mp.dps = 60


def f32(x):
    """Nearest f32 of an mpf (ties do not matter here)."""
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def fit(y, x, w, fixed, count):
    """Lawson's iteration: least squares whose weights follow the error tends to the minimax fit.

    Unlike a Remez exchange it does not mind that the basis x^k .. x^n left over after fixing the
    first coefficients vanishes at 0. Returns all coefficients and the largest weighted error.
    """
    k = len(fixed)
    rest = y - sum(c * x**i for i, c in enumerate(fixed))
    scale = np.abs(x).max()
    basis = np.stack([(x / scale) ** i for i in range(k, count)], axis=1)
    weight = np.ones_like(x)
    best, least = None, np.inf
    for _ in range(300):
        root = np.sqrt(weight) * w
        c, *_ = np.linalg.lstsq(basis * root[:, None], rest * root, rcond=None)
        err = np.abs(w * (basis @ c - rest))
        if err.max() < least:
            best, least = c, err.max()
        weight *= err + 1e-3 * err.max()
        weight /= weight.sum()
    return list(fixed) + [b / scale**i for i, b in enumerate(best, k)], least


def table(name, g, w, lo, hi, count):
    lo, hi = mpf(lo), mpf(hi)
    points = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(pi * (i + mpf(1) / 2) / 400) for i in range(400)]
    x = np.array([float(p) for p in points])
    y = np.array([float(g(mpf(p))) for p in x])
    wx = np.array([float(w(mpf(p))) for p in x])
    fixed = []
    while len(fixed) < count:
        c, ideal = fit(y, x, wx, fixed, count)
        if not fixed:
            print(f"{name}: before rounding 2^{np.log2(ideal):.1f}", end="")
        fixed.append(float(f32(c[len(fixed)])))
    err = np.abs(wx * (sum(c * x**i for i, c in enumerate(fixed)) - y)).max()
    print(f", after 2^{np.log2(err):.1f}")
    print("   ", ", ".join(f"{c:.9g}f" for c in fixed))


def split(name, x, parts):
    out = []
    for _ in range(parts):
        out.append(f32(x))
        x -= out[-1]
    print(f"{name}:", ", ".join(f"{float(c):.9g}f" for c in out))


tiny = mpf(10) ** -12


def series(f, at0):
    """f with a removable singularity at 0."""
    return lambda x: f(x) if abs(x) > tiny else mpf(at0)


if __name__ == "__main__":
    ln2 = log(mpf(2))
    split("ln2", ln2, 3)
    split("log2(e)", 1 / ln2, 2)
    split("pi/2", pi / 2, 4)
    split("2/pi", 2 / pi, 1)
    split("2/ln2", 2 / ln2, 2)
    split("2/(3 ln2)", 2 / (3 * ln2), 2)
    # e^r = 1 + r + r^2 q(r)
    h = ln2 / 2 * mpf("1.002")
    table("exp", series(lambda r: (exp(r) - 1 - r) / r**2, 0.5), lambda r: r**2 + mpf(10) ** -6, -h, h, 5)
    # log(1 + f) = f + f^2 q(f)
    table("log", series(lambda f: (log(1 + f) - f) / f**2, -0.5),
          lambda f: abs(f) + mpf("0.01"), -mpf(1) / 3, mpf(1) / 3, 9)
    # log2(1 + f) = s (c0 + c1 z + z^2 q(z)), s = f / (2 + f), z = s^2
    table("log2", series(lambda z: (sum(2 / ln2 / (2 * i + 1) * z ** (i - 2) for i in range(2, 40))), 2 / ln2 / 5),
          lambda z: z**2 + mpf(10) ** -5, mpf(0), mpf("0.0402"), 3)
    # 2^r = 1 + r q(r)
    table("exp2", series(lambda r: (mpf(2) ** r - 1) / r, ln2), lambda r: abs(r) + mpf("0.01"), -mpf("0.501"), mpf("0.501"), 7)
    q = pi / 4 * mpf("1.001")
    # sin r = r + r z s(z); cos r = 1 - z/2 + z^2 c(z); z = r^2
    table("sin", series(lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z, -mpf(1) / 6), lambda z: z + mpf(10) ** -4, mpf(0), q**2, 3)
    table("cos", lambda z: sum((-1) ** i * z ** (i - 2) / mp.factorial(2 * i) for i in range(2, 20)),
          lambda z: z**2 + mpf(10) ** -4, mpf(0), q**2, 3)
    # tanh x = x + x z t(z), |x| <= 5/8, z = x^2
    table("tanh", series(lambda z: (mp.tanh(sqrt(z)) / sqrt(z) - 1) / z, -mpf(1) / 3), lambda z: z + mpf(10) ** -4,
          mpf(0), mpf("0.392"), 5)
    # erf x = x + x p(z), |x| <= 0.93, z = x^2
    table("erf near", lambda z: 2 / sqrt(pi) * sum((-z) ** i / (mp.factorial(i) * (2 * i + 1)) for i in range(40)) - 1,
          lambda z: mpf(1), mpf(0), mpf("0.875"), 7)
    # erfc t = e^q(t), 0.9 <= t <= 4: the error of e^q counts against erf
    table("erfc", lambda t: log(erfc(t)), lambda t: erfc(t) / erf(t), mpf("0.92"), mpf("4"), 9)
