// Random numbers of the host: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011), the generator that kernels use too, and a permutation that needs no memory.
//
// The permutation is a balanced Feistel network over the smallest even number of bits that holds n,
// walked until it falls inside [0, n) (Black and Rogaway, "Ciphers with arbitrary finite domains",
// 2002). The domain is less than 4 n, so the expected number of walks is below 4. So the sample at
// any position of any pass is found without knowing those before it: resuming costs nothing.
#include "runtime/sinter.h"
#include <assert.h>

uint32_t sn_philox(const uint32_t counter[4], const uint32_t key[2], int word) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[0] = n0;
        c[1] = (uint32_t)b;
        c[2] = n2;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c[word];
}

static uint64_t feistel(uint64_t x, int half, uint64_t key) {
    uint64_t mask = (UINT64_C(1) << half) - 1, left = x >> half, right = x & mask;
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    for (uint32_t round = 0; round < 6; round++) {
        const uint32_t c[4] = {(uint32_t)right, (uint32_t)(right >> 32), round, 0x50455257u};
        uint64_t next = left ^ (sn_philox(c, k, 0) & mask);
        left = right;
        right = next;
    }
    return left << half | right;
}

uint64_t sn_permute(uint64_t n, uint64_t key, uint64_t i) {
    assert(i < n && n <= UINT64_C(1) << 62);
    int half = 1;
    while (half < 31 && UINT64_C(1) << 2 * half < n) half++;
    do i = feistel(i, half, key);
    while (i >= n);
    return i;
}
