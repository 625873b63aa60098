// Dinic's algorithm: flows along shortest paths, level by level, until none is left; the vertices that the source
// still reaches are its side of the cut.
#include "passes/mincut.h"
#include <string.h>

CutGraph cut_graph(Arena *a, uint32_t vertices) {
    return (CutGraph){a, vertices, NEW_ARRAY(a, struct CutEdges, vertices + 1)};
}

void cut_edge(CutGraph *g, uint32_t from, uint32_t to, int64_t cost) {
    struct CutEdges *out = &g->edges[from], *in = &g->edges[to];
    CutEdge there = {to, in->n + (from == to), cost}, back = {from, out->n, 0};
    vec_push(g->arena, out, there);
    vec_push(g->arena, in, back);
}

// Distances from the source over edges that still let something through; whether the sink has one.
static bool find_levels(const CutGraph *g, uint32_t source, uint32_t sink, uint32_t *level,
                        uint32_t *queue) {
    uint32_t n = 0;
    memset(level, 0, sizeof *level * g->vertices);
    queue[n++] = source;
    level[source] = 1;
    for (uint32_t i = 0; i < n; i++) {
        const struct CutEdges *out = &g->edges[queue[i]];
        for (uint32_t k = 0; k < out->n; k++) {
            const CutEdge *e = &out->at[k];
            if (e->left == 0 || level[e->to]) continue;
            level[e->to] = level[queue[i]] + 1;
            queue[n++] = e->to;
        }
    }
    return level[sink] != 0;
}

// One more path of the levels, walked without recursion: paths are as long as a model is deep. next: of each
// vertex the edges before it lead nowhere any more.
static int64_t push_flow(CutGraph *g, uint32_t source, uint32_t sink, const uint32_t *level,
                         uint32_t *next, CutEdge **path) {
    uint32_t at = source, n = 0;
    while (at != sink) {
        struct CutEdges *out = &g->edges[at];
        while (next[at] < out->n &&
               !(out->at[next[at]].left && level[out->at[next[at]].to] == level[at] + 1))
            next[at]++;
        if (next[at] < out->n) {
            path[n] = &out->at[next[at]];
            at = path[n++]->to;
        } else if (n == 0) {
            return 0;
        } else {
            CutEdge *last = path[--n];
            at = g->edges[last->to].at[last->back].to;
            next[at]++;
        }
    }
    int64_t least = CUT_NEVER;
    for (uint32_t i = 0; i < n; i++)
        if (path[i]->left < least) least = path[i]->left;
    for (uint32_t i = 0; i < n; i++) {
        path[i]->left -= least;
        g->edges[path[i]->to].at[path[i]->back].left += least;
    }
    return least;
}

bool *cut_least(CutGraph *g, uint32_t source, uint32_t sink) {
    uint32_t *level = NEW_ARRAY(g->arena, uint32_t, g->vertices + 1);
    uint32_t *work = NEW_ARRAY(g->arena, uint32_t, g->vertices + 1);
    CutEdge **path = NEW_ARRAY(g->arena, CutEdge *, g->vertices + 1);
    while (find_levels(g, source, sink, level, work)) {
        memset(work, 0, sizeof *work * g->vertices);
        while (push_flow(g, source, sink, level, work, path))
            ;
    }
    bool *with_source = NEW_ARRAY(g->arena, bool, g->vertices + 1);
    for (uint32_t v = 0; v < g->vertices; v++) with_source[v] = level[v] != 0;
    return with_source;
}
