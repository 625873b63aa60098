// XXH64, the checksum of tensors in checkpoints: fast, not against forgers. Specification:
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md (Yann Collet). Seed 0.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t lane[4], bytes;
    unsigned char rest[32]; // the bytes % 32 that are in no stripe yet
} SnXxh64;

void sn_xxh64_begin(SnXxh64 *x);
void sn_xxh64_add(SnXxh64 *x, const void *bytes, size_t n); // any number of pieces of any size
uint64_t sn_xxh64_end(const SnXxh64 *x);
