// Kernels of the kinds that the compiler writes, for tests and benches of the emulated device. The
// .ptx files beside it are what NVRTC 13.0 makes of it (--fmad=false, compute_80 and compute_120;
// compute_89 and compute_90a give the text of 80, compute_100a that of 120, but for the target).
typedef unsigned int u32;
typedef unsigned long long u64;

// One pass over four arrays' worth of lanes at a time.
extern "C" __global__ void __launch_bounds__(256)
    map4(float *o, const float *__restrict__ a, const float *__restrict__ b, int n) {
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 3 < n) {
        float4 x = *(const float4 *)(a + i), y = *(const float4 *)(b + i), z;
        z.x = fmaf(x.x, y.x, 1.f);
        z.y = x.y * y.y;
        z.z = fmaxf(x.z, y.z);
        z.w = x.w / y.w;
        *(float4 *)(o + i) = z;
    } else
        for (; i < n; i++) o[i] = a[i] - b[i];
}

// A warp to a row: register accumulators, then a tree by shuffles.
extern "C" __global__ void __launch_bounds__(256) row_sum(float *o, const float *a, int cols) {
    int row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    float acc[4] = {0, 0, 0, 0};
    for (int s = 0; s < cols; s += 128)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int c = s + j * 32 + lane;
            if (c < cols) acc[j] += a[(long long)row * cols + c];
        }
    float t0 = acc[0] + acc[2], t1 = acc[1] + acc[3], t = t0 + t1;
    for (int d = 16; d; d >>= 1) t += __shfl_xor_sync(~0u, t, d);
    if (lane == 0) o[row] = t;
}

// Functions of the C library, so that their instructions are met.
extern "C" __global__ void functions(float *o, const float *a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float t = a[i];
    o[i] = sqrtf(t) + rsqrtf(t) + expf(t) + logf(t) + tanhf(t) + erff(t) + sinf(t) + cosf(t) +
           powf(t, 1.5f);
}

// Shared memory, static and dynamic; the last 32 without barriers of the block.
extern "C" __global__ void block_sum(float *o, const float *a, int n) {
    __shared__ float s[256];
    extern __shared__ float dyn[];
    int t = threadIdx.x;
    float x = 0;
    for (int i = t; i < n; i += 256) x += a[i];
    s[t] = x;
    dyn[t] = x;
    __syncthreads();
    for (int d = 128; d >= 32; d >>= 1) {
        if (t < d) s[t] += s[t + d];
        __syncthreads();
    }
    if (t < 32) {
        volatile float *v = s;
        for (int d = 16; d; d >>= 1) {
            if (t < d) v[t] = v[t] + v[t + d];
            __syncwarp();
        }
    }
    if (t == 0) o[blockIdx.x] = s[0] + dyn[1];
}

// A thread owns a column and walks rows.
extern "C" __global__ void column_sum(float *o, const float *a, int rows, int cols) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= cols) return;
    float t = 0;
    for (int r = 0; r < rows; r++) t += a[(long long)r * cols + c];
    o[c] = t;
}

extern "C" __global__ void gather(float *o, const float *table, const int *index, int cols) {
    int row = blockIdx.x;
    for (int c = threadIdx.x; c < cols; c += blockDim.x)
        o[(long long)row * cols + c] = table[(long long)index[row] * cols + c];
}

// A warp owns rows of the table and takes what is meant for them in order.
extern "C" __global__ void scatter(float *o, const float *x, const int *index, int n, int cols) {
    int row = blockIdx.x * 8 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    for (int c0 = 0; c0 < cols; c0 += 32) {
        int c = c0 + lane;
        float acc = c < cols ? o[row * cols + c] : 0.f;
        for (int r0 = 0; r0 < n; r0 += 32) {
            int r = r0 + lane;
            u32 hits = __ballot_sync(~0u, r < n && index[r] == row);
            while (hits) {
                int j = __ffs(hits) - 1;
                hits &= hits - 1;
                if (c < cols) acc += x[(r0 + j) * cols + c];
            }
        }
        if (c < cols) o[row * cols + c] = acc;
    }
}

extern "C" __global__ void philox(u32 *o, u64 key, u32 step, int n) {
    u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c0 = i, c1 = i >> 32, c2 = step, c3 = 0, k0 = key, k1 = key >> 32;
    for (int r = 0; r < 10; r++) {
        u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        u32 h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0;
        c1 = l1;
        c2 = h0 ^ c3 ^ k1;
        c3 = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    ((uint4 *)o)[i] = make_uint4(c0, c1, c2, c3);
}

// Tiles of 64 x 64 x 16 through shared memory, 4 x 4 results a thread.
extern "C" __global__ void __launch_bounds__(256)
    gemm(float *c, const float *a, const float *b, int m, int n, int k) {
    __shared__ float sa[16][64 + 4], sb[16][64];
    int tx = threadIdx.x & 15, ty = threadIdx.x >> 4, m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < k; k0 += 16) {
        for (int i = threadIdx.x; i < 1024; i += 256) {
            sa[i & 15][i >> 4] = a[(m0 + (i >> 4)) * k + k0 + (i & 15)];
            sb[i >> 6][i & 63] = b[(k0 + (i >> 6)) * n + n0 + (i & 63)];
        }
        __syncthreads();
        for (int kk = 0; kk < 16; kk++) {
            float x[4];
            for (int i = 0; i < 4; i++) x[i] = sa[kk][ty * 4 + i];
            float4 y = *(float4 *)&sb[kk][tx * 4];
            for (int i = 0; i < 4; i++) {
                acc[i][0] = fmaf(x[i], y.x, acc[i][0]);
                acc[i][1] = fmaf(x[i], y.y, acc[i][1]);
                acc[i][2] = fmaf(x[i], y.z, acc[i][2]);
                acc[i][3] = fmaf(x[i], y.w, acc[i][3]);
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        *(float4 *)&c[(m0 + ty * 4 + i) * n + n0 + tx * 4] =
            make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
}

// Wide integers and doubles.
extern "C" __global__ void integers(long long *o, const long long *a, const int *b, const double *d,
                                    int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    o[i] = a[i] / 7 + a[i] % b[i] + (long long)d[i] + __mul64hi(a[i], b[i]) + b[i] / 3 + __popc(b[i]) +
           __clz(b[i]) + __brev(b[i]) + (int)rintf((float)d[i]) + abs(b[i]) + min(b[i], 3) +
           __float2int_rz(floorf((float)d[i] * 0.3f)) + (long long)(sqrt(d[i]) / 3.0);
}

// An array in local memory.
extern "C" __global__ void local_array(int *o, const int *a, int n) {
    int buf[16], i = threadIdx.x;
    for (int j = 0; j < 16; j++) buf[j] = a[(i + j) % n];
    int k = a[i] & 15;
    o[i] = buf[k] + buf[(k + 3) & 15];
}

// A function that is not inlined.
__device__ __noinline__ float repeated(float x, int k) {
    for (int i = 0; i < k; i++) x = x * 1.5f + 0.25f;
    return x;
}
extern "C" __global__ void calls(float *o, int n) {
    o[threadIdx.x] = repeated((float)threadIdx.x, n);
}

// One product of 16 x 16 and 16 x 8 by the matrix instructions, a from shared memory.
extern "C" __global__ void matrix(float *o, const unsigned short *a, const u32 *b, const float *c) {
    __shared__ __align__(16) unsigned short s[256];
    int i = threadIdx.x;
    for (int k = 0; k < 8; k++) s[i * 8 + k] = a[i * 8 + k];
    __syncthreads();
    u32 at = (u32)__cvta_generic_to_shared(&s[(i & 15) * 16 + (i >> 4) * 8]), r[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
    float d[4];
    for (int k = 0; k < 4; k++) d[k] = c[i * 4 + k];
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(b[2 * i]), "r"(b[2 * i + 1]));
    for (int k = 0; k < 4; k++) o[i * 4 + k] = d[k];
}
