// Arrays in files of their own, plain or compressed by gzip.
//
//   idx   the files of MNIST (Y. LeCun, C. Cortes, C. Burges, "THE MNIST DATABASE"): 0, 0, type, number of
//         extents, the extents and the elements, all big-endian
//   npy   NumPy's (NEP 1): versions 1 to 3, rows one behind the other, either order of bytes
//
// Nothing in a file is believed before it is compared with the file's length. A compressed one is unpacked
// into memory when it is opened, and no further than its header says.
#pragma once
#include "runtime/safetensors.h"

typedef struct SnArrays SnArrays;
// list: "FILE,FILE" or "NAME=FILE,NAME=FILE", where a backslash takes the next character as it is. Files
// without a name have those of `names`, in order. format: "idx" or "npy".
SnStatus sn_arrays_open(const char *list, const char *format, const char *const *names,
                        uint32_t nnames, SnArrays **out, SnError *e);
void sn_arrays_close(SnArrays *a);
uint32_t sn_arrays_count(const SnArrays *a);
const SnTensorInfo *sn_arrays_at(const SnArrays *a, uint32_t i);
const SnTensorInfo *sn_arrays_find(const SnArrays *a, const char *name);
// The file of an array.
const char *sn_arrays_path(const SnArrays *a, const SnTensorInfo *info);
// Reads bytes [from, from + n) of an array. Any number of threads at a time.
SnStatus sn_arrays_read(const SnArrays *a, const SnTensorInfo *info, uint64_t from, uint64_t n,
                        void *to, SnError *e);
// Makes n bytes of elements, read as they stand in the file, those of this machine.
void sn_arrays_order(const SnArrays *a, const SnTensorInfo *info, uint64_t n, void *elements);
