// A product of matrices of 16-bit floats with any strides, by tensor cores: C = A B, + acc, + bias. A block
// computes a tile of C, each of its warps a rectangle of that, through tiles of A and B in shared memory.
//
//   for step = 0 .. STEPS - 1:
//     wait until the tiles of this step are there; barrier: and all have read the tiles of the step before
//     fetch(step + STAGES - 1)          asynchronous copies into the tiles of the step before; of operands
//                                       whose neighbours no copy takes, loads into registers
//     multiply the tiles of this step   BK / 16 times 16 x 8 x 16; after 4096 k: total = total + sum
//     put(step + STAGES - 1)            what is in registers into the tiles
//
// Sums are the tensor cores' own, in steps of 16 over increasing k: docs/numerics.md bounds them. What lies behind
// the ends of m, n and k is read as zeros and is not stored. One thread has all of a sum: equal inputs give equal
// bits.
//
// B is read as its columns: both operands are a set of rows that are K long. A tile lies in shared memory as its
// operand does, so that a copy takes neighbours: row by row, BK deep, or k by k. Eight chunks of 16 bytes that
// are read at once lie in eight different groups of banks: chunk c is at c xor a number of its row. P is the product:
//
//   struct P {
//       typedef bf16 In;                          // what A and B are: bf16 or f16
//       typedef float Out;                        // what C, acc and bias are: one of these, or float
//       typedef int Off; typedef u32 Place;       // of an element: int or i64, and the same without a sign
//       static constexpr u32 M, N, K;
//       static constexpr u32 BM, BN, WM, WN;      // tile of a block, multiples of 64; warps along m and n
//       static constexpr bool ACC, ACC_FIRST;     // acc is added; in the first micro-batch it is not read
//       static constexpr bool BIAS, BIAS_ROWS;    // bias is added: a value for each column, or each row
//       struct A {                                // B likewise
//           static constexpr u32 WIDTH;           // neighbours copied at once, aligned: 8, 4, 2 or 1
//           static constexpr bool ALONG_K;        // neighbours along k, and not along the rows
//           Off batch(u32), row(u32), k(u32);     // element (i, k) of batch e: batch(e) + row(i) + k(k)
//       };
//       struct C {
//           static constexpr u32 WIDTH;           // neighbours of a row stored at once: 2 or 1
//           Off batch(u32), row(u32), column(u32);
//       };
//   };
//
// A grid of one block for each tile of each batch, WM * WN warps each. Needs kernel.cuh and mma.cuh.

template <class P> struct MmaTile {
    static constexpr u32 BK = 32, STAGES = 3, THREADS = 32 * P::WM * P::WN;
    static constexpr u32 MT = (P::M + P::BM - 1) / P::BM, NT = (P::N + P::BN - 1) / P::BN;
    static constexpr u32 STEPS = (P::K + BK - 1) / BK, SEGMENT = 4096 / BK;
    static constexpr bool SEGMENTS = P::K > 4096;
    static constexpr u32 ROWS = P::BM / P::WM, COLUMNS = P::BN / P::WN; // of a warp
};

template <class T> static __device__ __forceinline__ void store1(T *p, float x) {
    p->bits = (u16)Mma<T>::pack(x, 0);
}
static __device__ __forceinline__ void store1(float *p, float x) { *p = x; }

// One operand's tiles: BLOCK rows, BK deep. Words of WIDTH elements; word e is e % PER words along k, or along the
// rows, and e / PER across.
template <class P, class Operand, u32 BLOCK, u32 EXTENT> struct MmaSide {
    typedef typename P::In In;
    static constexpr u32 BK = MmaTile<P>::BK, THREADS = MmaTile<P>::THREADS, WIDTH = Operand::WIDTH;
    static constexpr bool ALONG_K = Operand::ALONG_K, COPIES = WIDTH > 1;
    static constexpr u32 PER = (ALONG_K ? BK : BLOCK) / WIDTH, LOADS = BLOCK * BK / WIDTH / THREADS;
    static constexpr u32 BYTES = 2 * BLOCK * BK;
    u16 held[COPIES ? 1 : LOADS];

    // Of a chunk of eight neighbours, in the tile at `base`.
    static __device__ __forceinline__ u32 at(u32 base, u32 row, u32 k) {
        if constexpr (ALONG_K) return base + row * (2 * BK) + ((k / 8) ^ (row / 2 % 4)) * 16;
        return base + k * (2 * BLOCK) + ((row / 8) ^ (k % 8)) * 16;
    }
    static __device__ __forceinline__ u32 row_of(u32 e) {
        return ALONG_K ? e / PER : e % PER * WIDTH;
    }
    static __device__ __forceinline__ u32 k_of(u32 e) {
        return ALONG_K ? e % PER * WIDTH : e / PER;
    }

    __device__ __forceinline__ void fetch(const In *from, u32 base, u32 row0, u32 step) {
#pragma unroll
        for (u32 p = 0; p < LOADS; p++) {
            const u32 e = threadIdx.x + p * THREADS, r = row_of(e), q = k_of(e);
            const u32 row = row0 + r, k = step * BK + q;
            const bool there = (EXTENT % BLOCK == 0 || row < EXTENT) && k < P::K;
            const In *x = from + (there ? Operand::row(row) + Operand::k(k) : 0);
            const u32 to = at(base, r, q) + (ALONG_K ? q : r) % 8 * 2;
            if constexpr (WIDTH == 8)
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(x),
                             "r"(there ? 16 : 0)
                             : "memory");
            else if constexpr (WIDTH > 1)
                asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(x),
                             "n"(WIDTH * 2), "r"(there ? WIDTH * 2 : 0)
                             : "memory");
            else
                held[p] = there ? x->bits : (u16)0;
        }
    }
    __device__ __forceinline__ void put(u32 base) const {
        if constexpr (!COPIES)
#pragma unroll
            for (u32 p = 0; p < LOADS; p++) {
                const u32 e = threadIdx.x + p * THREADS, r = row_of(e), q = k_of(e);
                asm volatile(
                    "st.shared.u16 [%0], %1;" ::"r"(at(base, r, q) + (ALONG_K ? q : r) % 8 * 2),
                    "h"(held[p])
                    : "memory");
            }
    }
    // A's 16 rows from `row` on, and 16 of k.
    static __device__ __forceinline__ void rows(u32 (&x)[4], u32 base, u32 row, u32 k) {
        const u32 l = threadIdx.x % 32;
        if constexpr (ALONG_K)
            read_matrices(x, at(base, row + l % 16, k + l / 16 * 8));
        else
            read_transposed(x, at(base, row + l / 8 % 2 * 8, k + l / 16 * 8 + l % 8));
    }
    // B's 16 columns from `row` on: x[0], x[1] the first eight.
    static __device__ __forceinline__ void columns(u32 (&x)[4], u32 base, u32 row, u32 k) {
        const u32 l = threadIdx.x % 32;
        if constexpr (ALONG_K)
            read_matrices(x, at(base, row + l / 16 * 8 + l % 8, k + l / 8 % 2 * 8));
        else
            read_transposed(x, at(base, row + l / 16 * 8, k + l % 16));
    }
};

template <class P>
__device__ __forceinline__ void gemm_mma(const Env *env, u32 place, const typename P::In *A,
                                         const typename P::In *B, typename P::Out *C,
                                         const typename P::Out *acc, const typename P::Out *bias) {
    typedef MmaTile<P> Tile;
    typedef MmaSide<P, typename P::A, P::BM, P::M> SideA;
    typedef MmaSide<P, typename P::B, P::BN, P::N> SideB;
    typedef typename P::Off Off;
    constexpr u32 BK = Tile::BK, STAGES = Tile::STAGES;
    constexpr u32 MI = Tile::ROWS / 16, NI = Tile::COLUMNS / 8;
    __shared__ __align__(128) u16 share_a[STAGES * SideA::BYTES / 2];
    __shared__ __align__(128) u16 share_b[STAGES * SideB::BYTES / 2];
    const u32 tile_a = blockIdx.x / Tile::NT % Tile::MT * P::BM,
              tile_b = blockIdx.x % Tile::NT * P::BN;
    const u32 element = blockIdx.x / (Tile::NT * Tile::MT);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 warp_m = warp / P::WN * Tile::ROWS, warp_n = warp % P::WN * Tile::COLUMNS;
    const u32 at_a = (u32)__cvta_generic_to_shared(share_a);
    const u32 at_b = (u32)__cvta_generic_to_shared(share_b);
    A += P::A::batch(element);
    B += P::B::batch(element);
    SideA a;
    SideB b;
#pragma unroll
    for (u32 s = 0; s < STAGES - 1; s++) {
        a.fetch(A, at_a + s * SideA::BYTES, tile_a, s);
        b.fetch(B, at_b + s * SideB::BYTES, tile_b, s);
        a.put(at_a + s * SideA::BYTES);
        b.put(at_b + s * SideB::BYTES);
        end_group();
    }
    float sum[MI][NI][4] = {}, total[Tile::SEGMENTS ? MI : 1][NI][4] = {};
    u32 now = 0, next = STAGES - 1; // stages of this step, and of the one that is fetched
#pragma unroll 1
    for (u32 step = 0; step < Tile::STEPS; step++) {
        wait_groups<STAGES - 2>();
        __syncthreads();
        const u32 to_a = at_a + next * SideA::BYTES, to_b = at_b + next * SideB::BYTES;
        const bool more = step + STAGES - 1 < Tile::STEPS;
        if (more) {
            a.fetch(A, to_a, tile_a, step + STAGES - 1);
            b.fetch(B, to_b, tile_b, step + STAGES - 1);
        }
        end_group();
        const u32 from_a = at_a + now * SideA::BYTES, from_b = at_b + now * SideB::BYTES;
#pragma unroll
        for (u32 k = 0; k < BK; k += 16) {
            u32 x[MI][4];
#pragma unroll
            for (u32 i = 0; i < MI; i++) SideA::rows(x[i], from_a, warp_m + i * 16, k);
#pragma unroll
            for (u32 j = 0; j < NI; j += 2) {
                u32 y[4];
                SideB::columns(y, from_b, warp_n + j * 8, k);
#pragma unroll
                for (u32 i = 0; i < MI; i++) {
                    Mma<typename P::In>::add(sum[i][j], x[i], y[0], y[1]);
                    Mma<typename P::In>::add(sum[i][j + 1], x[i], y[2], y[3]);
                }
            }
        }
        if (more) {
            a.put(to_a);
            b.put(to_b);
        }
        if constexpr (Tile::SEGMENTS)
            if ((step + 1) % Tile::SEGMENT == 0 || step + 1 == Tile::STEPS) {
#pragma unroll
                for (u32 i = 0; i < MI; i++)
#pragma unroll
                    for (u32 j = 0; j < NI; j++)
#pragma unroll
                        for (u32 c = 0; c < 4; c++) {
                            total[i][j][c] = __fadd_rn(total[i][j][c], sum[i][j][c]);
                            sum[i][j][c] = 0;
                        }
            }
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    typedef typename P::Place Place;
    Place bad = ~(Place)0;
    const Off base_c = P::C::batch(element);
#pragma unroll
    for (u32 i = 0; i < MI; i++)
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            const u32 row = tile_a + warp_m + i * 16 + lane / 4 + h * 8;
            if (P::M % P::BM && row >= P::M) continue;
#pragma unroll
            for (u32 j = 0; j < NI; j++)
#pragma unroll
                for (u32 w = 0; w < 2; w += P::C::WIDTH) {
                    const u32 column = tile_b + warp_n + j * 8 + lane % 4 * 2 + w;
                    if (P::N % P::BN && column >= P::N) continue;
                    const Off at = base_c + P::C::row(row) + P::C::column(column);
                    float v[P::C::WIDTH];
#pragma unroll
                    for (u32 q = 0; q < P::C::WIDTH; q++) {
                        if constexpr (Tile::SEGMENTS)
                            v[q] = total[i][j][2 * h + w + q];
                        else
                            v[q] = sum[i][j][2 * h + w + q];
                        if (P::ACC)
                            v[q] = __fadd_rn(P::ACC_FIRST && env->first ? 0.0f : acc[at + q], v[q]);
                        if (P::BIAS) v[q] = __fadd_rn(v[q], bias[P::BIAS_ROWS ? row : column + q]);
                        watch(bad, at + q, v[q]);
                    }
                    if constexpr (P::C::WIDTH == 2)
                        store2(C + at, v[0], v[1]);
                    else
                        store1(C + at, v[0]);
                }
        }
    report(env, place + 2, bad);
}
