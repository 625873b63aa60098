// The least cut of a small directed graph: what must be paid so that nothing leads from source to sink.
#pragma once
#include "ir/base/arena.h"
#include <stdbool.h>

#define CUT_NEVER ((int64_t)1 << 56) // the cost of an edge that may not be cut

typedef struct {
    uint32_t to, back; // vertex; the edge the other way, in its list
    int64_t left;      // what may still flow
} CutEdge;
typedef struct {
    Arena *arena;
    uint32_t vertices;
    struct CutEdges {
        CutEdge *at;
        uint32_t n, cap;
    } * edges; // by vertex
} CutGraph;

CutGraph cut_graph(Arena *a, uint32_t vertices); // without edges
void cut_edge(CutGraph *g, uint32_t from, uint32_t to, int64_t cost);
// Which vertices stay with the source: of all least cuts that with the fewest. Costs are at least 0 and sum to
// less than CUT_NEVER. O(vertices^2 edges) by Dinic's algorithm, far less on graphs like these. Uses up the
// graph.
bool *cut_least(CutGraph *g, uint32_t source, uint32_t sink);
