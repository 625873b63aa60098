// See xxh64.h. Stripes of 32 bytes go into four lanes; the end mixes the lanes and what is left over.
// A piece costs O(n); eight bytes are one multiplication, so memory is the limit, not this.
#include "runtime/xxh64.h"
#include <string.h>

#define P1 UINT64_C(0x9e3779b185ebca87)
#define P2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define P3 UINT64_C(0x165667b19e3779f9)
#define P4 UINT64_C(0x85ebca77c2b2ae63)
#define P5 UINT64_C(0x27d4eb2f165667c5)

static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

// Little endian, as the machines this runtime is for.
static uint64_t word(const unsigned char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint64_t mix_in(uint64_t lane, uint64_t input) { return rotate(lane + input * P2, 31) * P1; }

static void add_stripes(uint64_t lane[4], const unsigned char *p, size_t n) {
    uint64_t a = lane[0], b = lane[1], c = lane[2], d = lane[3];
    for (size_t i = 0; i < n; i++, p += 32) {
        a = mix_in(a, word(p));
        b = mix_in(b, word(p + 8));
        c = mix_in(c, word(p + 16));
        d = mix_in(d, word(p + 24));
    }
    lane[0] = a, lane[1] = b, lane[2] = c, lane[3] = d;
}

void sn_xxh64_begin(SnXxh64 *x) { *x = (SnXxh64){.lane = {P1 + P2, P2, 0, 0 - P1}}; }

void sn_xxh64_add(SnXxh64 *x, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    size_t held = x->bytes % 32, room = 32 - held;
    if (!n) return;
    x->bytes += n;
    if (held && n >= room) {
        memcpy(x->rest + held, p, room);
        add_stripes(x->lane, x->rest, 1);
        p += room, n -= room, held = 0;
    }
    if (!held) {
        add_stripes(x->lane, p, n / 32);
        p += n / 32 * 32, n %= 32;
    }
    memcpy(x->rest + held, p, n);
}

uint64_t sn_xxh64_end(const SnXxh64 *x) {
    const uint64_t *l = x->lane;
    uint64_t h = P5;
    if (x->bytes >= 32) {
        h = rotate(l[0], 1) + rotate(l[1], 7) + rotate(l[2], 12) + rotate(l[3], 18);
        for (int i = 0; i < 4; i++) h = (h ^ mix_in(0, l[i])) * P1 + P4;
    }
    h += x->bytes;
    size_t i = 0, n = x->bytes % 32;
    for (; i + 8 <= n; i += 8) h = rotate(h ^ mix_in(0, word(x->rest + i)), 27) * P1 + P4;
    if (i + 4 <= n) {
        uint32_t half;
        memcpy(&half, x->rest + i, sizeof half);
        h = rotate(h ^ half * P1, 23) * P2 + P3;
        i += 4;
    }
    for (; i < n; i++) h = rotate(h ^ x->rest[i] * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
