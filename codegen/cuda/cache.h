// A cache of compiled programs: one directory, one file per entry, found by the hash of everything that
// the result depends on (cache.c).
#pragma once
#include "ir/base/str.h"

enum { CACHE_KEY = 32 };
typedef struct {
    unsigned char at[CACHE_KEY];
} CacheKey;

// Of the text and of a line that names target, options and version. False when the hash is not to be had
// (then nothing is cached).
bool cache_key(const char *text, size_t n, const char *setting, CacheKey *out);

typedef enum { CACHE_ptx, CACHE_cubin, CACHE_log, CACHE_PARTS } CachePart;
typedef struct {
    const char *at[CACHE_PARTS];
    uint64_t n[CACHE_PARTS];
} CacheEntry;

// False: there is no such entry, or it is damaged. Parts are in the arena, each followed by a NUL.
bool cache_read(Arena *a, const char *dir, const CacheKey *key, CacheEntry *out);
// Makes the directory if need be. Any number of threads and processes may write at once. False: it was
// not written, which costs time later and nothing else.
bool cache_write(const char *dir, const CacheKey *key, const CacheEntry *e);
// DIR/KEY.cuda, cut to `size`; false when it does not fit.
bool cache_path(const char *dir, const CacheKey *key, char *to, size_t size);
