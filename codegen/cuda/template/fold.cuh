// Row folds between the threads of a team, by halves: fold(a, b) is the operation, of two values. Both partners of a
// shuffle compute: a o b and b o a are the same bits. Needs kernel.cuh.

template <class T> static __device__ __forceinline__ T shuffle(u32 mates, T x, int d) {
    return __shfl_xor_sync(mates, x, d);
}
static __device__ __forceinline__ bool shuffle(u32 mates, bool x, int d) {
    return __shfl_xor_sync(mates, (u32)x, d) != 0;
}

// Distances of TEAM / 2, ... 2, 1 threads; the result is in each thread.
template <u32 TEAM, class T, class Fold>
static __device__ __forceinline__ T fold_team(u32 mates, T x, Fold fold) {
#pragma unroll
    for (int d = TEAM / 2; d > 0; d /= 2) x = fold(x, shuffle(mates, x, d));
    return x;
}

// The same of N accumulators side by side.
template <u32 TEAM, int N, class T, class Fold>
static __device__ __forceinline__ void fold_team(u32 mates, T (&x)[N], Fold fold) {
#pragma unroll
    for (int d = TEAM / 2; d > 0; d /= 2)
#pragma unroll
        for (int j = 0; j < N; j++) x[j] = fold(x[j], shuffle(mates, x[j], d));
}

// A warp folds 128 accumulators that lie in shared memory: halves of 64 and 32, then between the threads. The
// thread's first is z[at].
template <class T, class Fold>
static __device__ __forceinline__ T fold_128(u32 mates, const T *z, u32 at, Fold fold) {
    const T x = fold(z[at], z[at + 64]), y = fold(z[at + 32], z[at + 96]);
    return fold_team<32>(mates, fold(x, y), fold);
}
