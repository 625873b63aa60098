// What the engines share: the arithmetic of reductions, and the cut of a collective into pieces.
//
// A collective over several parts is one over their concatenation: block q of it is block q of each part,
// one after the other. It is done in pieces; a piece is n sub-blocks, one for each member, of `share` bytes
// each (the last ones fewer):
//
//   all_reduce                   sub-block q of a piece: the q-th run of the piece, of the one block
//   reduce_scatter, all_to_all   the same run of every block q
//   all_gather                   one run of the one block, of all of the piece
//
// An element's sum does not depend on the cut, so it has the same bits on all engines.
#pragma once
#include "runtime/comm/comm.h"

typedef struct {
    const SnCollective *c;
    const SnPart *parts;
    uint32_t nparts;
    uint32_t n, me; // members, and this rank's place among them
    int64_t width;  // bytes of an element
    int64_t length; // bytes of a block of the concatenation
    int64_t piece;  // bytes of a piece: a multiple of n * width
    int64_t pieces;
} SnCut;

bool sn_is_reduction(uint32_t op);
// SN_PLAN: no such collective, a negative count, a kind or element type that is not reduced.
SnStatus sn_cut(const SnCollective *c, const SnPart *parts, uint32_t nparts, uint32_t n,
                uint32_t me, int64_t piece, SnCut *out, SnError *e);
// Sub-block q of piece k: where it begins in a block, and its bytes; 0: there is none.
int64_t sn_cut_range(const SnCut *cut, int64_t k, uint32_t q, int64_t *at);
// Where in the piece sub-block q lies.
int64_t sn_cut_place(const SnCut *cut, uint32_t q);
// Copies what this rank brings to piece k into `piece`.
void sn_cut_take(const SnCut *cut, int64_t k, unsigned char *piece);
// Copies sub-block q of piece k, which member q has made or brought, to where it belongs.
void sn_cut_give(const SnCut *cut, int64_t k, uint32_t q, const unsigned char *block);

// to[i] = from[0][i] o from[1][i] o ... of `bytes`, in that order; to may be one of them.
void sn_reduce(uint32_t elem, uint32_t kind, const void *const *from, uint32_t n, void *to,
               int64_t bytes);
