// What every kernel starts from: short names of types, the environment of a launch, four neighbours at a time,
// the watch for NaNs, and the minimum and maximum that CUDA C has no exact spelling for.

#pragma nv_diag_suppress 177, 186
typedef unsigned char u8;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

// As SnCudaEnv (runtime/plan.h).
struct Env {
    int first;
    u32 step;
    u64 seed;
    i64 sample;
    u64 fault;
};

// Four neighbours, aligned to their size. Bools are bytes in memory.
static __device__ __forceinline__ void load4(const float *p, float *x) {
    const float4 w = *(const float4 *)p;
    x[0] = w.x, x[1] = w.y, x[2] = w.z, x[3] = w.w;
}
static __device__ __forceinline__ void load4(const u32 *p, u32 *x) {
    const uint4 w = *(const uint4 *)p;
    x[0] = w.x, x[1] = w.y, x[2] = w.z, x[3] = w.w;
}
static __device__ __forceinline__ void load4(const u8 *p, bool *x) {
    const uchar4 w = *(const uchar4 *)p;
    x[0] = w.x != 0, x[1] = w.y != 0, x[2] = w.z != 0, x[3] = w.w != 0;
}
template <class T> static __device__ __forceinline__ void zero4(T *x) {
    x[0] = x[1] = x[2] = x[3] = 0;
}
static __device__ __forceinline__ void store4(float *p, const float *y) {
    *(float4 *)p = make_float4(y[0], y[1], y[2], y[3]);
}
static __device__ __forceinline__ void store4(u32 *p, const u32 *y) {
    *(uint4 *)p = make_uint4(y[0], y[1], y[2], y[3]);
}
static __device__ __forceinline__ void store4(u8 *p, const bool *y) {
    *(uchar4 *)p = make_uchar4(y[0], y[1], y[2], y[3]);
}

// A thread keeps the least element of each output that it stored a NaN to (NaNs only: masks store
// infinities) in `bad`, and reports it when all is done. The test is straight code, in PTX because the
// compiler would make branches of it: a branch behind a store ends the stretch in which loads are moved
// ahead, and of a layer norm's twelve loads in flight two are left.
static __device__ __forceinline__ void watch(u32 &bad, u32 at, float y) {
    asm("{"
        ".reg .pred p;"
        "setp.nan.f32 p, %1, %1;"
        "@p min.u32 %0, %0, %2;"
        "}"
        : "+r"(bad)
        : "f"(y), "r"(at));
}
static __device__ __forceinline__ void watch4(u32 &bad, u32 at, const float *y) {
    asm("{"
        ".reg .pred p, q, r, any;"
        ".reg .b32 i;"
        "setp.nan.f32 p, %1, %1;"
        "setp.nan.or.f32 q, %2, %2, p;"
        "setp.nan.or.f32 r, %3, %3, q;"
        "setp.nan.or.f32 any, %4, %4, r;"
        "selp.u32 i, 2, 3, r;"
        "selp.u32 i, 1, i, q;"
        "selp.u32 i, 0, i, p;"
        "add.u32 i, i, %5;"
        "@any min.u32 %0, %0, i;"
        "}"
        : "+r"(bad)
        : "f"(y[0]), "f"(y[1]), "f"(y[2]), "f"(y[3]), "r"(at));
}
static __device__ __forceinline__ void watch(u64 &bad, u64 at, float y) {
    if (y != y && at < bad) bad = at;
}
static __device__ __forceinline__ void watch4(u64 &bad, u64 at, const float *y) {
    for (int j = 0; j < 4; j++) watch(bad, at + j, y[j]);
}
template <class T> static __device__ __forceinline__ void report(const Env *e, u32 arg, T bad) {
    if (bad != ~(T)0) atomicMin((u64 *)&e->fault, (u64)arg << 38 | bad);
}

// NaN when one of the two is.
static __device__ __forceinline__ float min_nan(float a, float b) {
    float r;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
static __device__ __forceinline__ float max_nan(float a, float b) {
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
