// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors (format section). The reader is strict: the header is
// at most 100 MB, tensors tile the data exactly, no name occurs twice, sizes agree with shapes.
#pragma once
#include "runtime/sinter.h"

enum { SN_ST_DIMS = 16, SN_ST_PIECE = 4 << 20 };
typedef struct {
    const char *name;  // owned by the file
    const char *dtype; // "F32"; a name of the format
    uint32_t item;     // bytes per element
    uint32_t ndim;
    int64_t shape[SN_ST_DIMS];
    uint64_t begin, bytes; // from the start of the data
} SnTensorInfo;

typedef struct SnSafetensors SnSafetensors;

// The header alone: `text` is its n bytes, data_bytes what follows it. For the reader and its
// fuzzer.
SnStatus sn_st_parse(const char *text, size_t n, uint64_t data_bytes, SnSafetensors **out,
                     SnError *e);
SnStatus sn_st_open(const char *path, SnSafetensors **out, SnError *e);
void sn_st_close(SnSafetensors *st);
uint32_t sn_st_count(const SnSafetensors *st);
const SnTensorInfo *sn_st_at(const SnSafetensors *st, uint32_t i); // in order of names
const SnTensorInfo *sn_st_find(const SnSafetensors *st, const char *name);
const char *sn_st_metadata(const SnSafetensors *st, const char *key); // NULL when absent
// Reads bytes [from, from + n) of a tensor.
SnStatus sn_st_read(SnSafetensors *st, const SnTensorInfo *t, uint64_t from, uint64_t n, void *to,
                    SnError *e);
// Bytes per element of a dtype of the format; 0 for an unknown name.
uint32_t sn_st_item(const char *dtype);

typedef struct {
    const char *name, *dtype;
    uint32_t ndim;
    int64_t shape[SN_ST_DIMS];
    const void *data;
    // Used when data is NULL: copies bytes [from, from + n), at most SN_ST_PIECE of them, to `to`.
    SnStatus (*read)(const void *what, void *user, int64_t from, int64_t n, void *to, SnError *e);
    const void *what;
    void *user;
} SnTensor;
typedef struct {
    const char *key, *value;
} SnMeta;
// Writes a whole file to fd: tensors sorted by alignment (widest first), then name; the header
// padded with spaces to a multiple of 8. `tensors` is reordered.
SnStatus sn_st_write(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnError *e);
