// Attention, forward, in one pass over the keys: a block has BM rows, a warp 16 of them, and walks tiles of BN keys.
//
//   for each tile of keys that the mask leaves:             the next one is on its way (STAGES = 2)
//     c = q k^T                                             fragments of 16 x 8 in registers
//     s = score(c); top = max(top, s); e = exp(s - top)     what is there already is scaled to the new top
//     sum += e; out += weight(e) v                          weight(e) is rounded: the left operand as it lies
//   f = exp(top - shift(top)): store finish(f out, top, f sum)
//
// The sum over keys is finished after the last tile: weight(e) is e times what rows do not decide. Sums run over keys in
// increasing order, nothing is added by two threads: one device gives one result. P is the attention:
//
//   struct P {
//       typedef bf16 T;                           // of q, k, v: bf16 or f16
//       typedef float Out;                        // of the result: float, bf16 or f16
//       static constexpr u32 ROWS, KEYS, OUTER;   // OUTER: elements of the other axes, `z` below
//       static constexpr u32 D, E;                // of a row of q and k, of a row of v: multiples of 8
//       static constexpr u32 BM, BN, STAGES;      // STAGES: 1 or 2
//       static constexpr i64 Q_ROW, K_ROW, V_ROW, O_ROW;          // from row to row, in elements
//       static i64 q(u32 z), k(u32 z), v(u32 z), o(u32 z);        // where the first row is
//       struct Row;                               // what is known of a row before its scores are
//       Row row(u32 z, u32 m) const;
//       // Which of the rows m0 .. m1 see which of the keys k0 .. k1: TILE_none, TILE_some, TILE_all.
//       int tile(u32 m0, u32 m1, u32 k0, u32 k1) const;
//       // ALL: every key is seen.
//       template <bool ALL> float score(const Row &, u32 z, u32 m, u32 k, float c) const;
//       template <bool ALL> float weight(const Row &, u32 z, u32 m, u32 k, float e) const;
//       float shift(const Row &, u32 z, u32 m, float top) const;  // what is subtracted from the scores of a row
//       float finish(const Row &, u32 z, u32 m, u32 e, float sum_of_products, float top, float sum) const;
//       void keep(u32 z, u32 m, float top, float sum);            // stores what the backward pass reads
//   };
//
// A grid of one block for each BM rows of each z, 2 BM threads each, AttendShape<P>::SHARED bytes of shared memory.
// Needs mma.cuh.

enum { TILE_none, TILE_some, TILE_all };
#define LOWEST __uint_as_float(0xff800000u) // -inf

template <class P> struct AttendShape {
    static constexpr u32 Q = P::BM * Rows16<P::D>::PITCH, K = P::BN * Rows16<P::D>::PITCH;
    static constexpr u32 V = P::BN * Rows16<P::E>::PITCH, SHARED = Q + P::STAGES * (K + V);
    static constexpr u32 TILES = (P::KEYS + P::BN - 1) / P::BN;
};

// The first tile of keys from `i` on that one of the rows sees, or behind the last one.
template <class P> __device__ __forceinline__ u32 next_keys(const P &p, u32 m0, u32 m1, u32 i) {
    constexpr u32 TILES = (P::KEYS + P::BN - 1) / P::BN;
    while (i < TILES && p.tile(m0, m1, i * P::BN, min((i + 1) * P::BN, P::KEYS) - 1) == TILE_none)
        i++;
    return i;
}

// The scores of a tile, their maxima with `top`.
template <bool ALL, class P, u32 N>
__device__ __forceinline__ void attend_scores(const P &p, const typename P::Row (&row)[2], u32 z,
                                              const u32 (&m)[2], u32 k0, float (&c)[N][4],
                                              float (&top)[2]) {
    const u32 t = threadIdx.x % 4;
#pragma unroll
    for (u32 j = 0; j < N; j++)
#pragma unroll
        for (u32 x = 0; x < 4; x++) {
            const u32 h = x >> 1, k = k0 + j * 8 + 2 * t + (x & 1);
            const bool there = ALL || P::KEYS % P::BN == 0 || k < P::KEYS;
            c[j][x] = p.template score<ALL>(row[h], z, m[h], there ? k : P::KEYS - 1, c[j][x]);
            if (!there) c[j][x] = LOWEST;
            top[h] = max_nan(top[h], c[j][x]);
        }
}

// Scores become e, and e the packed left operand of the next product.
template <bool ALL, class P, u32 N>
__device__ __forceinline__ void attend_weights(const P &p, const typename P::Row (&row)[2], u32 z,
                                               const u32 (&m)[2], u32 k0, const float (&c)[N][4],
                                               const float (&base)[2], float (&sum)[2],
                                               u32 (&packed)[N][2]) {
    const u32 t = threadIdx.x % 4;
#pragma unroll
    for (u32 j = 0; j < N; j++)
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            float w[2];
#pragma unroll
            for (u32 x = 0; x < 2; x++) {
                const u32 k = k0 + j * 8 + 2 * t + x;
                const bool there = ALL || P::KEYS % P::BN == 0 || k < P::KEYS;
                const float e = exp_fast(c[j][2 * h + x] - base[h]);
                sum[h] += e;
                w[x] = p.template weight<ALL>(row[h], z, m[h], there ? k : P::KEYS - 1, e);
                if (!there) w[x] = 0;
            }
            packed[j][h] = Mma<typename P::T>::pack(w[0], w[1]);
        }
}

template <class P>
__device__ __forceinline__ void attend(const Env *env, u32 place, P &p, const typename P::T *q,
                                       const typename P::T *k, const typename P::T *v,
                                       typename P::Out *o) {
    typedef AttendShape<P> S;
    constexpr u32 THREADS = 2 * P::BM, N = P::BN / 8, C = Rows16<P::E>::CHUNKS;
    extern __shared__ __align__(128) char attend_shared[];
    const u32 sq = (u32)__cvta_generic_to_shared(attend_shared), sk = sq + S::Q;
    const u32 sv = sk + P::STAGES * S::K;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    // rows that see many keys first
    const u32 z = blockIdx.x % P::OUTER;
    const u32 m0 = ((P::ROWS + P::BM - 1) / P::BM - 1 - blockIdx.x / P::OUTER) * P::BM;
    const u32 m1 = min(m0 + P::BM, P::ROWS) - 1;
    q += P::q(z), k += P::k(z), v += P::v(z), o += P::o(z);
    const u32 at[2] = {m0 + warp * 16 + g, m0 + warp * 16 + g + 8};
    const u32 m[2] = {min(at[0], P::ROWS - 1), min(at[1], P::ROWS - 1)};
    const typename P::Row row[2] = {p.row(z, m[0]), p.row(z, m[1])};
    float out[C][4] = {}, top[2] = {LOWEST, LOWEST}, sum[2] = {};
    const auto fetch = [&](u32 i, u32 stage) {
        Rows16<P::D>::template fetch<P::BN, THREADS>(sk + stage * S::K, k, P::K_ROW, i * P::BN,
                                                     P::KEYS);
        Rows16<P::E>::template fetch<P::BN, THREADS>(sv + stage * S::V, v, P::V_ROW, i * P::BN,
                                                     P::KEYS);
    };
    u32 i = next_keys(p, m0, m1, 0), stage = 0;
    Rows16<P::D>::template fetch<P::BM, THREADS>(sq, q, P::Q_ROW, m0, P::ROWS);
    if (i < S::TILES) fetch(i, 0);
    end_group();
#pragma unroll 1
    while (i < S::TILES) {
        const u32 next = next_keys(p, m0, m1, i + 1), k0 = i * P::BN;
        if (P::STAGES == 2 && next < S::TILES) fetch(next, stage ^ 1);
        if (P::STAGES == 2) end_group();
        wait_groups<P::STAGES - 1>();
        __syncthreads();
        float c[N][4] = {}, base[2], old[2] = {top[0], top[1]};
        multiply_rows<typename P::T, P::D>(c, sq, warp * 16, sk + stage * S::K);
        const bool all = k0 + P::BN <= P::KEYS && p.tile(m0, m1, k0, k0 + P::BN - 1) == TILE_all;
        if (all)
            attend_scores<true>(p, row, z, m, k0, c, top);
        else
            attend_scores<false>(p, row, z, m, k0, c, top);
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            top[h] = max_nan(top[h], __shfl_xor_sync(~0u, top[h], 1));
            top[h] = max_nan(top[h], __shfl_xor_sync(~0u, top[h], 2));
            base[h] = top[h] == LOWEST ? 0 : top[h]; // no key is seen yet: e is 0
            const float f = exp_fast(old[h] - base[h]);
            sum[h] *= f;
#pragma unroll
            for (u32 j = 0; j < C; j++) out[j][2 * h] *= f, out[j][2 * h + 1] *= f;
        }
        u32 w[N][2];
        if (all)
            attend_weights<true>(p, row, z, m, k0, c, base, sum, w);
        else
            attend_weights<false>(p, row, z, m, k0, c, base, sum, w);
        multiply_packed<typename P::T, P::E>(out, w, sv + stage * S::V);
        __syncthreads();
        if (P::STAGES == 1 && next < S::TILES) fetch(next, 0);
        if (P::STAGES == 1) end_group();
        if (P::STAGES == 2) stage ^= 1;
        i = next;
    }
    u64 bad = ~0ull;
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
        if (at[h] >= P::ROWS) continue;
        const float base = top[h] == LOWEST ? 0 : top[h];
        const float f = exp_fast(base - p.shift(row[h], z, m[h], top[h])), total = sum[h] * f;
        if (t == 0) p.keep(z, m[h], top[h], total);
#pragma unroll
        for (u32 j = 0; j < C; j++) {
            const u32 e = j * 8 + 2 * t;
            if (P::E % 16 != 0 && e >= P::E) continue;
            const i64 to = (i64)m[h] * P::O_ROW + e;
            const float a = p.finish(row[h], z, m[h], e, out[j][2 * h] * f, top[h], total);
            const float b = p.finish(row[h], z, m[h], e + 1, out[j][2 * h + 1] * f, top[h], total);
            store2(o + to, a, b);
            watch(bad, (u64)(P::o(z) + to), a);
            watch(bad, (u64)(P::o(z) + to + 1), b);
        }
    }
    report(env, place, bad);
}
