// Tensor cores: tiles of 16-bit floats in shared memory, filled by asynchronous copies of 16 bytes, and products of
// 16 x 8 x 16 by the warps that read them.
//
// A tile is rows of WIDTH elements, a multiple of 16; what an operand lacks is zero. Eight rows of one column of
// 16-byte chunks are read at once (ldmatrix) and must lie in eight different groups of banks: where a row is a
// multiple of 128 bytes, chunk c of row r lies at c xor r % 8; else rows are an odd number of chunks apart.
//
// With g = lane / 4 and t = lane % 4, c[4] of a product holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
// Rounded and packed in pairs it is, as it lies, the left operand of the next product. Needs kernel.cuh.

// What T = bf16 and f16 are to tensor cores.
template <class T> struct Mma;
template <> struct Mma<bf16> {
    static __device__ __forceinline__ void add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
    static __device__ __forceinline__ u32 pack(float low, float high) {
        u32 r;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
        return r;
    }
};
template <> struct Mma<f16> {
    static __device__ __forceinline__ void add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
    static __device__ __forceinline__ u32 pack(float low, float high) {
        u32 r;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
        return r;
    }
};

// Two neighbours of a result, aligned to both.
template <class T> static __device__ __forceinline__ void store2(T *p, float a, float b) {
    *(u32 *)p = Mma<T>::pack(a, b);
}
static __device__ __forceinline__ void store2(float *p, float a, float b) {
    *(float2 *)p = make_float2(a, b);
}

static __device__ __forceinline__ void read_matrices(u32 (&r)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}
static __device__ __forceinline__ void read_transposed(u32 (&r)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

// Copies are collected in groups; all but the last LEFT groups have arrived, as far as this thread's go.
static __device__ __forceinline__ void end_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT> static __device__ __forceinline__ void wait_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Tiles of rows of COLUMNS elements; addresses are of shared memory.
template <u32 COLUMNS> struct Rows16 {
    static constexpr u32 WIDTH = (COLUMNS + 15) / 16 * 16, CHUNKS = WIDTH / 8;
    static constexpr bool XOR = CHUNKS % 8 == 0;
    static constexpr u32 PITCH = 16 * (XOR ? CHUNKS : CHUNKS + 1);

    // Chunk `even` + odd of a row. Only three bits of the place depend on both: the rest is a constant where
    // `even` is one, and not a register for each.
    static __device__ __forceinline__ u32 at(u32 base, u32 row, u32 even, u32 odd) {
        if (!XOR) return base + row * PITCH + even * 16 + odd * 16;
        return base + row * PITCH + even / 8 * 128 + (even % 8 * 16 ^ (row % 8 ^ odd) * 16);
    }

    // Rows row0 .. row0 + ROWS - 1 of a matrix of `rows`, which are `apart`; those behind the last one are zero.
    template <u32 ROWS, u32 THREADS, class T>
    static __device__ __forceinline__ void fetch(u32 to, const T *from, i64 apart, u32 row0,
                                                 u32 rows) {
#pragma unroll
        for (u32 i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
            const u32 row = i / CHUNKS, chunk = i % CHUNKS;
            const bool there = row0 + row < rows && chunk * 8 < COLUMNS;
            const T *p = from + (there ? (i64)(row0 + row) * apart + chunk * 8 : 0);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                             at(to, row, chunk & ~1u, chunk & 1)),
                         "l"(p), "r"(there ? 16 : 0)
                         : "memory");
        }
    }
};

// c = A B^T of the warp's 16 rows from `row` on of tile a, and all 8 * N rows of tile b.
template <class T, u32 COLUMNS, u32 N>
static __device__ __forceinline__ void multiply_rows(float (&c)[N][4], u32 a, u32 row, u32 b) {
    typedef Rows16<COLUMNS> Tile;
    const u32 l = threadIdx.x % 32;
#pragma unroll
    for (u32 k = 0; k < Tile::WIDTH / 16; k++) {
        u32 x[4];
        read_matrices(x, Tile::at(a, row + l % 16, 2 * k, l / 16));
#pragma unroll
        for (u32 j = 0; j < N; j += 2) {
            u32 y[4];
            read_matrices(y, Tile::at(b, j * 8 + l % 8 + l / 16 * 8, 2 * k, l / 8 % 2));
            Mma<T>::add(c[j], x, y[0], y[1]);
            Mma<T>::add(c[j + 1], x, y[2], y[3]);
        }
    }
}

// c += P B: P is 16 x 8 N, packed (p[j][0] is row g, p[j][1] row g + 8), b a tile of 8 N rows.
template <class T, u32 COLUMNS, u32 N>
static __device__ __forceinline__ void multiply_packed(float (&c)[Rows16<COLUMNS>::CHUNKS][4],
                                                       const u32 (&p)[N][2], u32 b) {
    typedef Rows16<COLUMNS> Tile;
    const u32 l = threadIdx.x % 32;
#pragma unroll
    for (u32 k = 0; k < N / 2; k++) {
        const u32 x[4] = {p[2 * k][0], p[2 * k][1], p[2 * k + 1][0], p[2 * k + 1][1]};
#pragma unroll
        for (u32 j = 0; j < Tile::CHUNKS; j += 2) {
            u32 y[4];
            read_transposed(y, Tile::at(b, k * 16 + l % 16, j, l / 16));
            Mma<T>::add(c[j], x, y[0], y[1]);
            Mma<T>::add(c[j + 1], x, y[2], y[3]);
        }
    }
}

// e to the x: 2 units in the last place and 2^-22 of the argument, subnormal results are 0.
static __device__ __forceinline__ float exp_fast(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x * 1.44269504f));
    return r;
}
