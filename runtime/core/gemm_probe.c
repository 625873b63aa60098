// Whether the micro-kernels of pairs do on this processor what docs/numerics.md says of sums in pairs. The
// manual of vdpbf16ps fixes its result; that a processor, or what stands in for one, keeps to it is
// asked once when a device is made, of 64 pairs: near 1, where sums cancel, and near the smallest normal
// number, where operands, products and sums are subnormal. Microseconds.
#include "runtime/core/gemm_block.h"
#include <string.h>

enum { PAIRS = 64 };

static uint32_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

// A bf16 near 1, or of an exponent so small that products with one near 1 are subnormal or about to be.
static uint16_t operand(uint64_t *state, bool small) {
    uint32_t bits = next(state);
    return (uint16_t)(small ? bits & 0x81ff : 0x3f80 ^ (bits & 0x80ff));
}

static float widened(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

bool sn_gemm_probe(const SnGemmKit *kit) {
    uint32_t size = sn_ukr_sizes((uint32_t)kit->mr) - 1; // one row
    SnUkrFn pairs = sn_gemm_ukr(kit, SN_PANEL_PAIRS, 1, size);
    SnUkrFn floats = sn_gemm_ukr(kit, SN_PANEL_ODD_FIRST, 1, size);
    uint64_t state = 1;
    for (int i = 0; i < PAIRS; i++) {
        float a_word, b_words[SN_GEMM_LANES], a[2], b[2 * SN_GEMM_LANES];
        float from[SN_GEMM_LANES], got[SN_GEMM_LANES], want[SN_GEMM_LANES];
        uint16_t two[2];
        for (int odd = 0; odd < 2; odd++)
            two[odd] = operand(&state, false), a[!odd] = widened(two[odd]);
        memcpy(&a_word, two, sizeof a_word);
        for (int l = 0; l < SN_GEMM_LANES; l++) {
            for (int odd = 0; odd < 2; odd++) {
                two[odd] = operand(&state, i % 2);
                b[!odd * SN_GEMM_LANES + l] = widened(two[odd]);
            }
            memcpy(&b_words[l], two, sizeof b_words[l]);
            uint32_t chain = next(&state) & (i % 2 ? 0x81ffffff : 0x80ffffff);
            if (i % 2 == 0) chain ^= 0x3f800000;
            memcpy(&from[l], &chain, sizeof from[l]);
        }
        pairs(1, &a_word, 1, b_words, SN_GEMM_LANES, from, 0, NULL, 0, got, 0);
        uint32_t before = sn_gemm_enter(SN_PANEL_ODD_FIRST);
        floats(2, a, 1, b, SN_GEMM_LANES, from, 0, NULL, 0, want, 0);
        sn_gemm_leave(SN_PANEL_ODD_FIRST, before);
        if (memcmp(got, want, sizeof got) != 0) return false;
    }
    return true;
}

SnGemmKit sn_gemm_kit(const SnPlan *plan, const SnFn *functions) {
    SnGemmKit kit = {.mr = plan->mr, .nr = plan->nr, .ukr = functions + plan->ukr};
    if (!(plan->features & SN_CPU_BF16)) return kit;
    kit.pairs = functions + plan->ukr_pairs;
    if (!sn_gemm_probe(&kit)) kit.pairs = NULL;
    return kit;
}
