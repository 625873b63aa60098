// The rows that a block owns, in increasing order: the part of a scatter that needs neither atomics nor a sort
// (codegen/cuda/print_scatter.c). Of 4 * 32 * WARPS rows in a row, thread t of a warp has voted on rows
// warp * 128 + b * 32 + t: votes[b] are the warp's, `mine` is how many of them are owned. All of these go to list;
// their number is returned. counts: one for each warp; both are shared. Needs kernel.cuh.

template <int WARPS>
static __device__ __forceinline__ int list_owned(const u32 (&votes)[4], int mine, int warp, int t,
                                                 int *counts, int *list) {
    if (t == 0) counts[warp] = mine;
    __syncthreads();
    int at = 0, total = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        at += w < warp ? counts[w] : 0;
        total += counts[w];
    }
#pragma unroll
    for (int b = 0; b < 4; b++) {
        const u32 before = votes[b] & ((1u << t) - 1);
        if (votes[b] >> t & 1) list[at + __popc(before)] = warp * 128 + b * 32 + t;
        at += __popc(votes[b]);
    }
    __syncthreads();
    return total;
}
