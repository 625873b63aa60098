// What every kernel starts from: short names of types, the environment of a launch, four neighbours at a time,
// the watch for NaNs, and the minimum and maximum that CUDA C has no exact spelling for.

#pragma nv_diag_suppress 177, 186
typedef unsigned char u8;
typedef unsigned short u16;
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

// An f16's bits: of the nearest to x; and its value.
static __device__ __forceinline__ u32 half_bits(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
static __device__ __forceinline__ float half_value(u32 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)bits));
    return x;
}

// Types that are for storage: reading one gives its value, a float, and what is assigned is one.
struct bf16 {
    u16 bits;
    __device__ __forceinline__ operator float() const { return __uint_as_float((u32)bits << 16); }
    __device__ __forceinline__ void operator=(float x) { bits = __float_as_uint(x) >> 16; }
};
struct f16 {
    u16 bits;
    __device__ __forceinline__ operator float() const { return half_value(bits); }
    __device__ __forceinline__ void operator=(float x) { bits = half_bits(x); }
};
struct f8e4m3 { // all ones are a NaN, there is no infinity
    u8 bits;
    __device__ __forceinline__ operator float() const {
        const u32 low = bits & 0x7f, sign = (u32)(bits & 0x80) << 24;
        const float x = __uint_as_float(low << 20) * 0x1p120f;
        return __uint_as_float((low == 0x7f ? 0x7fc00000u : __float_as_uint(x)) | sign);
    }
    __device__ __forceinline__ void operator=(float x) {
        const u32 u = __float_as_uint(x), low = u & 0x7fffffff;
        const float a = fabsf(x);
        const u32 y = a < 0x1p-6f ? (u32)(a * 0x1p9f) : x == x ? (low >> 20) - (120 << 3) : 0x7f;
        bits = u >> 24 & 0x80 | y;
    }
};
struct f8e5m2 {
    u8 bits;
    __device__ __forceinline__ operator float() const { return half_value((u32)bits << 8); }
    __device__ __forceinline__ void operator=(float x) { bits = half_bits(x) >> 8; }
};
struct i8 {
    signed char bits;
    __device__ __forceinline__ operator u32() const { return (int)bits; }
    __device__ __forceinline__ void operator=(u32 x) { bits = (int)x; }
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
static __device__ __forceinline__ void load4(const bf16 *p, float *x) {
    const uint2 w = *(const uint2 *)p;
    x[0] = __uint_as_float(w.x << 16), x[1] = __uint_as_float(w.x & 0xffff0000u);
    x[2] = __uint_as_float(w.y << 16), x[3] = __uint_as_float(w.y & 0xffff0000u);
}
static __device__ __forceinline__ void load4(const f16 *p, float *x) {
    const uint2 w = *(const uint2 *)p;
    x[0] = half_value(w.x), x[1] = half_value(w.x >> 16);
    x[2] = half_value(w.y), x[3] = half_value(w.y >> 16);
}
// Types of one byte: a word of four.
template <class T, class R> static __device__ __forceinline__ void load4(const T *p, R *x) {
    union {
        u32 word;
        u8 byte[4];
    } w;
    w.word = *(const u32 *)p;
    for (int j = 0; j < 4; j++) {
        T one;
        one.bits = w.byte[j];
        x[j] = one;
    }
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

static __device__ __forceinline__ void store4(bf16 *p, const float *y) {
    *(uint2 *)p = make_uint2(__float_as_uint(y[0]) >> 16 | (__float_as_uint(y[1]) & 0xffff0000u),
                             __float_as_uint(y[2]) >> 16 | (__float_as_uint(y[3]) & 0xffff0000u));
}
static __device__ __forceinline__ void store4(f16 *p, const float *y) {
    *(uint2 *)p = make_uint2(half_bits(y[0]) | half_bits(y[1]) << 16,
                             half_bits(y[2]) | half_bits(y[3]) << 16);
}
template <class T, class R> static __device__ __forceinline__ void store4(T *p, const R *y) {
    union {
        u32 word;
        u8 byte[4];
    } w;
    for (int j = 0; j < 4; j++) {
        T one;
        one = y[j];
        w.byte[j] = one.bits;
    }
    *(u32 *)p = w.word;
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
