// The least cut of random graphs against all cuts there are.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "passes/mincut.h"

enum { MOST = 10, EDGES = 40 };

typedef struct {
    uint32_t from, to;
    int64_t cost;
} Edge;

static uint64_t seed;
static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

// What is paid when `with` are the source's.
static int64_t paid(const Edge *e, uint32_t edges, uint32_t with) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < edges; i++)
        if ((with >> e[i].from & 1) && !(with >> e[i].to & 1)) sum += e[i].cost;
    return sum;
}

static void test_no_cut_is_cheaper(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        Arena *a = arena_new();
        seed = round;
        uint32_t vertices = 2 + below(MOST - 1), edges = below(EDGES);
        Edge e[EDGES];
        CutGraph g = cut_graph(a, vertices);
        for (uint32_t i = 0; i < edges; i++) {
            e[i] = (Edge){below(vertices), below(vertices), below(8) ? below(9) : CUT_NEVER};
            cut_edge(&g, e[i].from, e[i].to, e[i].cost);
        }
        int64_t least = INT64_MAX;
        uint32_t fewest = 0;
        for (uint32_t with = 0; with < 1u << vertices; with++) {
            if (!(with & 1) || (with >> 1 & 1)) continue; // 0 is the source, 1 the sink
            int64_t sum = paid(e, edges, with);
            bool fewer = sum == least && __builtin_popcount(with) < __builtin_popcount(fewest);
            if (sum < least || fewer) least = sum, fewest = with;
        }
        if (least >= CUT_NEVER) { // nothing may be cut: no answer is promised
            arena_free(a);
            continue;
        }
        bool *with_source = cut_least(&g, 0, 1);
        for (uint32_t v = 0; v < vertices; v++)
            if (with_source[v] != (fewest >> v & 1))
                fail_msg("round %u: vertex %u of %u", round, v, vertices);
        arena_free(a);
    }
}

// A path as long as a deep model.
static void test_long_paths(void **state) {
    (void)state;
    enum { LENGTH = 20000 };
    Arena *a = arena_new();
    CutGraph g = cut_graph(a, LENGTH);
    for (uint32_t v = 1; v < LENGTH; v++) cut_edge(&g, v - 1, v, v == LENGTH / 2 ? 3 : 7);
    bool *with_source = cut_least(&g, 0, LENGTH - 1);
    assert_true(with_source[LENGTH / 2 - 1]);
    assert_false(with_source[LENGTH / 2]);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_cut_is_cheaper),
        cmocka_unit_test(test_long_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
