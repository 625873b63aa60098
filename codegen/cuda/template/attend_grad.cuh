// Attention, backward, from what the forward pass kept of each row: no fold over keys is left, so that a tile is made
// anew wherever it is needed. Two kernels, none of which adds to memory:
//
//   dq:      a block has BM rows and walks tiles of BN keys           dq += dc k
//   dk, dv:  a block has BM keys and walks tiles of BN rows,          dv += w^T dout, dk += dc^T q
//            for each member of the group that shares them            (tiles are made transposed: c^T = k q^T)
//
// cell() makes a weight and the derivative by the score's product of c = q k^T and dw = dout v^T. Where two accumulators
// do not fit in registers, dk and dv are a kernel each (DK, DV). P is as in attend.cuh, without score to keep, and:
//
//   struct P {
//       typedef float DQ, DK, DV;                            // elements of results: float, bf16 or f16
//       static constexpr bool HAS_DK, HAS_DV;                // of this kernel
//       static constexpr i64 G_ROW, DQ_ROW, DK_ROW, DV_ROW;  // G: the derivative by the attention's result
//       static i64 g(u32 z), dq(u32 z), dk(u32 y), dv(u32 y);
//       static constexpr u32 SHARED, MEMBERS;                // y below SHARED are the outer elements of k and v,
//       static u32 member(u32 y, u32 i);                     // each read by MEMBERS of q: the z of number i
//       template <bool ALL> void cell(const Row &, u32 z, u32 m, u32 k, float c, float dw, float &w, float &dc) const;
//   };
//
// Grids: one block for each BM rows of each z; one for each BM keys of each y. Needs mma.cuh, attend.cuh.

template <class P> struct GradShape {
    static constexpr u32 PITCH_D = Rows16<P::D>::PITCH, PITCH_E = Rows16<P::E>::PITCH;
    static constexpr u32 OWN = P::BM * (PITCH_D + PITCH_E);        // q and dout, or k and v
    static constexpr u32 D = P::BN * PITCH_D, E = P::BN * PITCH_E; // a stage of the others
    static constexpr u32 ROWS = P::BN * (u32)sizeof(typename P::Row);
};

// A tile of c and dw becomes a tile of w and dc. Rows of the fragments are rows, or keys (TURNED).
template <bool ALL, bool TURNED, class P, u32 N>
__device__ __forceinline__ void grad_cells(const P &p, const typename P::Row *row, u32 z, u32 m0,
                                           u32 k0, float (&c)[N][4], float (&d)[N][4]) {
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (u32 j = 0; j < N; j++)
#pragma unroll
        for (u32 x = 0; x < 4; x++) {
            const u32 down = g + 8 * (x >> 1), along = j * 8 + 2 * t + (x & 1);
            const u32 m = m0 + (TURNED ? along : down), k = k0 + (TURNED ? down : along);
            const bool there = ALL || ((P::ROWS % P::BN == 0 && TURNED) || m < P::ROWS) &&
                                          ((P::KEYS % P::BN == 0 && !TURNED) || k < P::KEYS);
            float w, dc;
            p.template cell<ALL>(row[TURNED ? along : x >> 1], z, ALL ? m : min(m, P::ROWS - 1),
                                 ALL ? k : min(k, P::KEYS - 1), c[j][x], d[j][x], w, dc);
            c[j][x] = there ? w : 0;
            d[j][x] = there ? dc : 0;
        }
}

template <class T, u32 N>
__device__ __forceinline__ void pack_tile(u32 (&to)[N][2], const float (&c)[N][4]) {
#pragma unroll
    for (u32 j = 0; j < N; j++)
        to[j][0] = Mma<T>::pack(c[j][0], c[j][1]), to[j][1] = Mma<T>::pack(c[j][2], c[j][3]);
}

// The warp's 16 rows of a result, of which `rows` exist; to: its first row, `from`: what is left of the block's row 0.
template <class Out, u32 COLUMNS>
__device__ __forceinline__ void store_rows(const Env *env, u32 place, Out *to, i64 base, i64 apart,
                                           u32 row, u32 rows,
                                           const float (&c)[Rows16<COLUMNS>::CHUNKS][4]) {
    u64 bad = ~0ull;
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        const u32 r = row + threadIdx.x % 32 / 4 + 8 * h;
        if (r >= rows) continue;
#pragma unroll
        for (u32 j = 0; j < Rows16<COLUMNS>::CHUNKS; j++) {
            const u32 e = j * 8 + threadIdx.x % 4 * 2;
            if (COLUMNS % 16 != 0 && e >= COLUMNS) continue;
            const i64 at = base + (i64)r * apart + e;
            store2(to + at, c[j][2 * h], c[j][2 * h + 1]);
            watch(bad, (u64)at, c[j][2 * h]);
            watch(bad, (u64)(at + 1), c[j][2 * h + 1]);
        }
    }
    report(env, place, bad);
}

template <class P>
__device__ __forceinline__ void
attend_dq(const Env *env, u32 place, const P &p, const typename P::T *q, const typename P::T *k,
          const typename P::T *v, const typename P::T *dout, typename P::DQ *dq) {
    typedef GradShape<P> S;
    constexpr u32 THREADS = 2 * P::BM, N = P::BN / 8, TILES = (P::KEYS + P::BN - 1) / P::BN;
    extern __shared__ __align__(128) char attend_shared[];
    const u32 sq = (u32)__cvta_generic_to_shared(attend_shared), sg = sq + P::BM * S::PITCH_D;
    const u32 sk = sq + S::OWN, sv = sk + P::STAGES * S::D;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
    const u32 z = blockIdx.x % P::OUTER;
    const u32 m0 = ((P::ROWS + P::BM - 1) / P::BM - 1 - blockIdx.x / P::OUTER) * P::BM;
    const u32 m1 = min(m0 + P::BM, P::ROWS) - 1, mine = m0 + warp * 16;
    k += P::k(z), v += P::v(z);
    const typename P::Row row[2] = {p.row(z, min(mine + g, P::ROWS - 1)),
                                    p.row(z, min(mine + g + 8, P::ROWS - 1))};
    float out[Rows16<P::D>::CHUNKS][4] = {};
    const auto fetch = [&](u32 i, u32 stage) {
        Rows16<P::D>::template fetch<P::BN, THREADS>(sk + stage * S::D, k, P::K_ROW, i * P::BN,
                                                     P::KEYS);
        Rows16<P::E>::template fetch<P::BN, THREADS>(sv + stage * S::E, v, P::V_ROW, i * P::BN,
                                                     P::KEYS);
    };
    u32 i = next_keys(p, m0, m1, 0), stage = 0;
    Rows16<P::D>::template fetch<P::BM, THREADS>(sq, q + P::q(z), P::Q_ROW, m0, P::ROWS);
    Rows16<P::E>::template fetch<P::BM, THREADS>(sg, dout + P::g(z), P::G_ROW, m0, P::ROWS);
    if (i < TILES) fetch(i, 0);
    end_group();
#pragma unroll 1
    while (i < TILES) {
        const u32 next = next_keys(p, m0, m1, i + 1), k0 = i * P::BN;
        if (P::STAGES == 2 && next < TILES) fetch(next, stage ^ 1);
        if (P::STAGES == 2) end_group();
        wait_groups<P::STAGES - 1>();
        __syncthreads();
        float c[N][4] = {}, d[N][4] = {};
        multiply_rows<typename P::T, P::D>(c, sq, warp * 16, sk + stage * S::D);
        multiply_rows<typename P::T, P::E>(d, sg, warp * 16, sv + stage * S::E);
        if (m0 + P::BM <= P::ROWS && k0 + P::BN <= P::KEYS &&
            p.tile(m0, m1, k0, k0 + P::BN - 1) == TILE_all)
            grad_cells<true, false>(p, row, z, mine, k0, c, d);
        else
            grad_cells<false, false>(p, row, z, mine, k0, c, d);
        u32 w[N][2];
        pack_tile<typename P::T>(w, d);
        multiply_packed<typename P::T, P::D>(out, w, sk + stage * S::D);
        __syncthreads();
        if (P::STAGES == 1 && next < TILES) fetch(next, 0);
        if (P::STAGES == 1) end_group();
        if (P::STAGES == 2) stage ^= 1;
        i = next;
    }
    store_rows<typename P::DQ, P::D>(env, place, dq, P::dq(z), P::DQ_ROW, mine, P::ROWS, out);
}

// place: of dk; dv is the argument behind it, or in its place.
template <class P>
__device__ __forceinline__ void attend_dkv(const Env *env, u32 place, const P &p,
                                           const typename P::T *q, const typename P::T *k,
                                           const typename P::T *v, const typename P::T *dout,
                                           typename P::DK *dk, typename P::DV *dv) {
    typedef GradShape<P> S;
    typedef typename P::Row Row;
    constexpr u32 THREADS = 2 * P::BM, N = P::BN / 8, TILES = (P::ROWS + P::BN - 1) / P::BN;
    constexpr u32 ALL = TILES * P::MEMBERS;
    extern __shared__ __align__(128) char attend_shared[];
    const u32 sk = (u32)__cvta_generic_to_shared(attend_shared), sv = sk + P::BM * S::PITCH_D;
    const u32 sq = sk + S::OWN, sg = sq + P::STAGES * S::D;
    Row *rows = (Row *)(attend_shared + S::OWN + P::STAGES * (S::D + S::E));
    const u32 warp = threadIdx.x / 32;
    const u32 y = blockIdx.x % P::SHARED, n0 = blockIdx.x / P::SHARED * P::BM;
    const u32 n1 = min(n0 + P::BM, P::KEYS) - 1, first = P::member(y, 0);
    // member i / TILES, tile i % TILES of its rows
    const auto following = [&](u32 i) {
        while (i < ALL && p.tile(i % TILES * P::BN, min((i % TILES + 1) * P::BN, P::ROWS) - 1, n0,
                                 n1) == TILE_none)
            i++;
        return i;
    };
    const auto fetch = [&](u32 i, u32 stage) {
        const u32 z = P::member(y, i / TILES), m0 = i % TILES * P::BN;
        Rows16<P::D>::template fetch<P::BN, THREADS>(sq + stage * S::D, q + P::q(z), P::Q_ROW, m0,
                                                     P::ROWS);
        Rows16<P::E>::template fetch<P::BN, THREADS>(sg + stage * S::E, dout + P::g(z), P::G_ROW,
                                                     m0, P::ROWS);
        for (u32 r = threadIdx.x; r < P::BN; r += THREADS)
            rows[stage * P::BN + r] = p.row(z, min(m0 + r, P::ROWS - 1));
    };
    float out_k[P::HAS_DK ? Rows16<P::D>::CHUNKS : 1][4] = {};
    float out_v[P::HAS_DV ? Rows16<P::E>::CHUNKS : 1][4] = {};
    u32 i = following(0), stage = 0;
    Rows16<P::D>::template fetch<P::BM, THREADS>(sk, k + P::k(first), P::K_ROW, n0, P::KEYS);
    if (P::HAS_DK)
        Rows16<P::E>::template fetch<P::BM, THREADS>(sv, v + P::v(first), P::V_ROW, n0, P::KEYS);
    if (i < ALL) fetch(i, 0);
    end_group();
#pragma unroll 1
    while (i < ALL) {
        const u32 next = following(i + 1), m0 = i % TILES * P::BN;
        if (P::STAGES == 2 && next < ALL) fetch(next, stage ^ 1);
        if (P::STAGES == 2) end_group();
        wait_groups<P::STAGES - 1>();
        __syncthreads();
        const u32 z = P::member(y, i / TILES);
        float c[N][4] = {}, d[N][4] = {};
        multiply_rows<typename P::T, P::D>(c, sk, warp * 16, sq + stage * S::D);
        if (P::HAS_DK) multiply_rows<typename P::T, P::E>(d, sv, warp * 16, sg + stage * S::E);
        if (n0 + P::BM <= P::KEYS && m0 + P::BN <= P::ROWS &&
            p.tile(m0, m0 + P::BN - 1, n0, n1) == TILE_all)
            grad_cells<true, true>(p, rows + stage * P::BN, z, m0, n0 + warp * 16, c, d);
        else
            grad_cells<false, true>(p, rows + stage * P::BN, z, m0, n0 + warp * 16, c, d);
        u32 w[N][2];
        if constexpr (P::HAS_DV) {
            pack_tile<typename P::T>(w, c);
            multiply_packed<typename P::T, P::E>(out_v, w, sg + stage * S::E);
        }
        if constexpr (P::HAS_DK) {
            pack_tile<typename P::T>(w, d);
            multiply_packed<typename P::T, P::D>(out_k, w, sq + stage * S::D);
        }
        __syncthreads();
        if (P::STAGES == 1 && next < ALL) fetch(next, 0);
        if (P::STAGES == 1) end_group();
        if (P::STAGES == 2) stage ^= 1;
        i = next;
    }
    const u32 key = n0 + warp * 16;
    if constexpr (P::HAS_DK)
        store_rows<typename P::DK, P::D>(env, place, dk, P::dk(y), P::DK_ROW, key, P::KEYS, out_k);
    if constexpr (P::HAS_DV)
        store_rows<typename P::DV, P::E>(env, place + P::HAS_DK, dv, P::dv(y), P::DV_ROW, key,
                                         P::KEYS, out_v);
}
