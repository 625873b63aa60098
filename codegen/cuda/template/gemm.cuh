// A product of matrices with any strides and types: C = A B, + acc, + bias, in f32. A block computes a tile of C, its
// threads small rectangles of that, through tiles of A and B in shared memory that are filled one step
// ahead.
//
//   for step = 0 .. STEPS:          one copy of each part in the code:
//     fetch(step)                     global memory to registers, BK deep
//     compute(step - 1)               BK fmas on TM x TN chains; after 4096 k: total = total + chain
//     put(step)                       registers to the other half of shared memory; barrier
//
// Every element is one chain over increasing k in one thread, so tiles change no bit. Where k ends inside
// a tile, A is filled up with -0 and B with +0: fma(-0, +0, x) is x for every x, also for -0. Rows behind
// the last one read the last one and are not stored. As in NVIDIA's CUTLASS documentation, "Efficient
// GEMM in CUDA".
//
// B is read as its columns: both operands are a set of rows that are K long. P is the product:
//
//   struct P {
//       typedef float InA; typedef bf16 InB;      // what A and B are: float, bf16 or f16
//       typedef float Out;                        // what C, acc and bias are
//       typedef int Off;                          // of an element: int or i64
//       typedef u32 Place;                        // the same without a sign
//       static constexpr u32 M, N, K;
//       static constexpr u32 BM, BN, BK, TM, TN;  // tile of a block, and of a thread
//       static constexpr bool ACC, ACC_FIRST;     // acc is added; in the first micro-batch it is not read
//       static constexpr bool BIAS, BIAS_ROWS;    // bias is added: a value for each column, or each row
//       struct A {                                // B likewise
//           static constexpr u32 WIDTH;           // neighbours read at once: 4 (aligned) or 1
//           static constexpr bool ALONG_K;        // neighbours along k, and not along the rows
//           Off batch(u32), row(u32), k(u32);     // element (i, k) of batch e: batch(e) + row(i) + k(k)
//       };
//       struct C {
//           static constexpr u32 WIDTH;           // neighbours of a row stored at once
//           Off batch(u32), row(u32), column(u32);
//       };
//   };
//
// A grid of one block for each tile of each batch, BM / TM * BN / TN threads each. Needs kernel.cuh.

// The nearest that the type holds.
static __device__ __forceinline__ float nearest(const float *, float x) { return x; }
static __device__ __forceinline__ float nearest(const f16 *, float x) { return x; } // when stored
static __device__ __forceinline__ float nearest(const bf16 *, float x) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(x), "f"(0.0f));
    return __uint_as_float(r & 0xffff0000u);
}

// N neighbours, which are aligned.
template <u32 N, class T> static __device__ __forceinline__ void read(const T *p, float *x) {
    if constexpr (N == 4)
        load4(p, x);
    else
        x[0] = *p;
}
template <u32 N> static __device__ __forceinline__ void read_shared(const float *p, float *x) {
    if constexpr (N == 2) {
        const float2 w = *(const float2 *)p;
        x[0] = w.x, x[1] = w.y;
    } else {
        read<N>(p, x);
    }
}
template <u32 N, class T> static __device__ __forceinline__ void write(T *p, const float *y) {
    float z[N];
#pragma unroll
    for (u32 i = 0; i < N; i++) z[i] = nearest(p, y[i]);
    if constexpr (N == 4)
        store4(p, z);
    else
        *p = z[0];
}

// N neighbours in registers, all x.
template <u32 N> struct Word;
template <> struct Word<1> {
    typedef float type;
    template <class T> static __device__ __forceinline__ float load(const T *p) { return *p; }
    static __device__ __forceinline__ float all(float x) { return x; }
};
template <> struct Word<4> {
    typedef float4 type;
    template <class T> static __device__ __forceinline__ float4 load(const T *p) {
        float x[4];
        load4(p, x);
        return make_float4(x[0], x[1], x[2], x[3]);
    }
    static __device__ __forceinline__ float4 all(float x) { return make_float4(x, x, x, x); }
};

template <class P> struct GemmTile {
    static constexpr u32 TX = P::BN / P::TN, THREADS = P::BM / P::TM * TX;
    static constexpr u32 MT = (P::M + P::BM - 1) / P::BM, NT = (P::N + P::BN - 1) / P::BN;
    static constexpr u32 STEPS = (P::K + P::BK - 1) / P::BK, SEGMENT = 4096 / P::BK;
    static constexpr bool SEGMENTS = P::K > 4096;
    static constexpr bool RAGGED_M = P::M % P::BM != 0, RAGGED_N = P::N % P::BN != 0;
    static constexpr bool RAGGED_K = P::K % P::BK != 0;
};

// One operand of a tile: BLOCK rows, BK deep. Of its ALL words a thread carries LOADS at a step, the last one perhaps
// behind the end: words t, t + THREADS, ... Word e is e % PER words along k, or along the rows, and e / PER
// across.
template <class P, class Operand, u32 BLOCK> struct GemmSide {
    static constexpr u32 WIDTH = Operand::WIDTH, THREADS = GemmTile<P>::THREADS;
    static constexpr bool ALONG_K = Operand::ALONG_K;
    static constexpr u32 PER = (ALONG_K ? P::BK : BLOCK) / WIDTH, ALL = BLOCK * P::BK / WIDTH;
    static constexpr u32 LOADS = (ALL + THREADS - 1) / THREADS;
    static constexpr bool UNEVEN = ALL % THREADS != 0;
    typedef typename Word<WIDTH>::type W;

    template <u32 ROW>
    static __device__ __forceinline__ void put(float (*share)[ROW], u32 row, u32 k, W from) {
        if constexpr (WIDTH == 1 || !ALONG_K) {
            *(W *)&share[k][row] = from;
        } else {
            share[k][row] = from.x;
            share[k + 1][row] = from.y;
            share[k + 2][row] = from.z;
            share[k + 3][row] = from.w;
        }
    }
};

// The T rows of a thread: groups of up to 4 neighbours, APART so that a warp's reads of shared memory touch
// all banks.
template <u32 BLOCK, u32 T> struct GemmRows {
    static constexpr u32 GROUP = T < 4 ? T : 4, APART = BLOCK / (T / GROUP);
};

template <class P>
__device__ __forceinline__ void gemm(const Env *env, u32 place, const typename P::InA *A,
                                     const typename P::InB *B, typename P::Out *C,
                                     const typename P::Out *acc, const typename P::Out *bias) {
    typedef GemmTile<P> Tile;
    typedef typename P::Off Off;
    constexpr u32 BM = P::BM, BN = P::BN, BK = P::BK, TM = P::TM, TN = P::TN;
    constexpr u32 PAD = 4; // rows of shared memory begin in different banks
    typedef GemmRows<BM, TM> RowsA;
    typedef GemmRows<BN, TN> RowsB;
    const u32 t = threadIdx.x, tx = t % Tile::TX, ty = t / Tile::TX;
    const u32 tile_a = blockIdx.x / Tile::NT % Tile::MT * BM, tile_b = blockIdx.x % Tile::NT * BN;
    const u32 element = blockIdx.x / (Tile::NT * Tile::MT);
    const Off base_a = P::A::batch(element), base_b = P::B::batch(element);
    const Off base_c = P::C::batch(element);
    __shared__ __align__(16) float share_a[2][BK][BM + PAD];
    __shared__ __align__(16) float share_b[2][BK][BN + PAD];
    typedef GemmSide<P, typename P::A, BM> SideA;
    typedef GemmSide<P, typename P::B, BN> SideB;
    typename SideA::W load_a[SideA::LOADS];
    Off at_a[SideA::LOADS];
#pragma unroll
    for (u32 p = 0; p < SideA::LOADS; p++) {
        const u32 e = t + p * Tile::THREADS, along = e % SideA::PER * SideA::WIDTH,
                  across = e / SideA::PER;
        const u32 row = tile_a + (SideA::ALONG_K ? across : along);
        at_a[p] = base_a + P::A::row(row < P::M ? row : P::M - (SideA::ALONG_K ? 1 : SideA::WIDTH));
    }
    typename SideB::W load_b[SideB::LOADS];
    Off at_b[SideB::LOADS];
#pragma unroll
    for (u32 p = 0; p < SideB::LOADS; p++) {
        const u32 e = t + p * Tile::THREADS, along = e % SideB::PER * SideB::WIDTH,
                  across = e / SideB::PER;
        const u32 row = tile_b + (SideB::ALONG_K ? across : along);
        at_b[p] = base_b + P::B::row(row < P::N ? row : P::N - (SideB::ALONG_K ? 1 : SideB::WIDTH));
    }
    float chain[TM][TN] = {}, total[Tile::SEGMENTS ? TM : 1][Tile::SEGMENTS ? TN : 1] = {};
#pragma unroll 1
    for (u32 step = 0; step <= Tile::STEPS; step++) {
        if (step < Tile::STEPS) {
#pragma unroll
            for (u32 p = 0; p < SideA::LOADS; p++) {
                const u32 e = t + p * Tile::THREADS, along = e % SideA::PER * SideA::WIDTH,
                          across = e / SideA::PER;
                const u32 k = step * BK + (SideA::ALONG_K ? along : across);
                if constexpr (Tile::RAGGED_K) load_a[p] = Word<SideA::WIDTH>::all(-0.0f);
                if (!Tile::RAGGED_K || k < P::K)
                    if (!SideA::UNEVEN || e < SideA::ALL) {
                        load_a[p] = Word<SideA::WIDTH>::load(A + at_a[p] + P::A::k(k));
                    }
            }
#pragma unroll
            for (u32 p = 0; p < SideB::LOADS; p++) {
                const u32 e = t + p * Tile::THREADS, along = e % SideB::PER * SideB::WIDTH,
                          across = e / SideB::PER;
                const u32 k = step * BK + (SideB::ALONG_K ? along : across);
                if constexpr (Tile::RAGGED_K) load_b[p] = Word<SideB::WIDTH>::all(0.0f);
                if (!Tile::RAGGED_K || k < P::K)
                    if (!SideB::UNEVEN || e < SideB::ALL) {
                        load_b[p] = Word<SideB::WIDTH>::load(B + at_b[p] + P::B::k(k));
                    }
            }
        }
        if (step > 0) {
#pragma unroll
            for (u32 k = 0; k < BK; k++) {
                float x[TM], y[TN];
#pragma unroll
                for (u32 i = 0; i < TM; i += RowsA::GROUP)
                    read_shared<RowsA::GROUP>(
                        &share_a[(step - 1) & 1][k]
                                [i / RowsA::GROUP * RowsA::APART + ty * RowsA::GROUP],
                        x + i);
#pragma unroll
                for (u32 i = 0; i < TN; i += RowsB::GROUP)
                    read_shared<RowsB::GROUP>(
                        &share_b[(step - 1) & 1][k]
                                [i / RowsB::GROUP * RowsB::APART + tx * RowsB::GROUP],
                        y + i);
#pragma unroll
                for (u32 i = 0; i < TM; i++)
#pragma unroll
                    for (u32 j = 0; j < TN; j++) chain[i][j] = __fmaf_rn(x[i], y[j], chain[i][j]);
            }
            if constexpr (Tile::SEGMENTS)
                if (step % Tile::SEGMENT == 0 || step == Tile::STEPS) {
#pragma unroll
                    for (u32 i = 0; i < TM; i++)
#pragma unroll
                        for (u32 j = 0; j < TN; j++) {
                            total[i][j] = __fadd_rn(total[i][j], chain[i][j]);
                            chain[i][j] = 0.0f;
                        }
                }
        }
        if (step == Tile::STEPS) break;
#pragma unroll
        for (u32 p = 0; p < SideA::LOADS; p++) {
            const u32 e = t + p * Tile::THREADS, along = e % SideA::PER * SideA::WIDTH,
                      across = e / SideA::PER;
            const u32 r = SideA::ALONG_K ? across : along, q = SideA::ALONG_K ? along : across;
            if (!SideA::UNEVEN || e < SideA::ALL) SideA::put(share_a[step & 1], r, q, load_a[p]);
        }
#pragma unroll
        for (u32 p = 0; p < SideB::LOADS; p++) {
            const u32 e = t + p * Tile::THREADS, along = e % SideB::PER * SideB::WIDTH,
                      across = e / SideB::PER;
            const u32 r = SideB::ALONG_K ? across : along, q = SideB::ALONG_K ? along : across;
            if (!SideB::UNEVEN || e < SideB::ALL) SideB::put(share_b[step & 1], r, q, load_b[p]);
        }
        __syncthreads();
    }
    typedef typename P::Place Place;
    Place bad = ~(Place)0;
    constexpr u32 W = P::C::WIDTH;
#pragma unroll
    for (u32 i = 0; i < TM; i++) {
        const u32 row =
            tile_a + i / RowsA::GROUP * RowsA::APART + ty * RowsA::GROUP + i % RowsA::GROUP;
        if (Tile::RAGGED_M && row >= P::M) continue;
#pragma unroll
        for (u32 j = 0; j < TN; j += W) {
            const u32 column =
                tile_b + j / RowsB::GROUP * RowsB::APART + tx * RowsB::GROUP + j % RowsB::GROUP;
            if (!Tile::RAGGED_N || column < P::N) {
                const Off at = base_c + P::C::row(row) + P::C::column(column);
                float v[W], old[W] = {};
                if (P::ACC && (!P::ACC_FIRST || !env->first)) read<W>(acc + at, old);
#pragma unroll
                for (u32 w = 0; w < W; w++) {
                    if constexpr (Tile::SEGMENTS)
                        v[w] = total[i][j + w];
                    else
                        v[w] = chain[i][j + w];
                    if (P::ACC) v[w] = __fadd_rn(old[w], v[w]);
                    if (P::BIAS) v[w] = __fadd_rn(v[w], bias[P::BIAS_ROWS ? row : column + w]);
                }
                write<W>(C + at, v);
                if constexpr (W == 4)
                    watch4(bad, at, v);
                else
                    watch(bad, at, v[0]);
            }
        }
    }
    report(env, place + 2, bad);
}
