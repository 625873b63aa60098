// Files of other formats by their first bytes. Text and ids are any bytes at all, so a compressed file or
// an array with a header would train on what it is not, without an error.
#pragma once
#include "runtime/sinter.h"

typedef struct {
    const char *what;    // "a NumPy array (.npy)"
    const char *as_ids;  // what to do to train on it as text or ids
    const char *as_data; // and as tensors
} SnMagic;
// NULL: it is none of the known formats, or cannot be read.
const SnMagic *sn_magic_find(int fd, int64_t size);
