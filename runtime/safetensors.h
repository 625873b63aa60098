// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors (format section). The reader is strict: the header is
// at most 100 MB, tensors tile the data exactly, no name occurs twice, sizes agree with shapes.
//
// What is written here carries checksums in its metadata, XXH64 as 16 hexadecimal digits: "xxh64.NAME"
// of a tensor's bytes, and "xxh64" of all other entries of the metadata: KEY NUL VALUE NUL of each, in
// order of the keys' bytes. Other readers of the format see metadata that they do not know.
#pragma once
#include "runtime/sinter.h"
#include "runtime/xxh64.h"

enum { SN_ST_DIMS = 16, SN_ST_PIECE = 4 << 20 };
typedef struct {
    const char *name;  // owned by the file
    const char *dtype; // "F32"; a name of the format
    uint32_t item;     // bytes per element
    uint32_t ndim;
    int64_t shape[SN_ST_DIMS];
    uint64_t begin, bytes; // from the start of the data
} SnTensorInfo;

typedef struct {
    const char *key, *value;
} SnMeta;

typedef struct SnSafetensors SnSafetensors;

// The header alone: `text` is its n bytes, data_bytes what follows it. For the reader and its
// fuzzer.
SnStatus sn_st_parse(const char *text, size_t n, uint64_t data_bytes, SnSafetensors **out,
                     SnError *e);
// Only a regular file, and without waiting for one. SN_USER: there is none, or it is damaged.
SnStatus sn_st_open(const char *path, SnSafetensors **out, SnError *e);
// The same of an open file of so many bytes, which is taken, also in failure. SN_USER: it is damaged.
SnStatus sn_st_take(int fd, int64_t bytes, const char *path, SnSafetensors **out, SnError *e);
void sn_st_close(SnSafetensors *st);
uint32_t sn_st_count(const SnSafetensors *st);
const SnTensorInfo *sn_st_at(const SnSafetensors *st, uint32_t i); // in order of names
const SnTensorInfo *sn_st_find(const SnSafetensors *st, const char *name);
const char *sn_st_metadata(const SnSafetensors *st, const char *key); // NULL when absent
uint32_t sn_st_metas(const SnSafetensors *st);
const SnMeta *sn_st_meta(const SnSafetensors *st, uint32_t i); // in order of keys
// Of the entry KIND.NAME.
const char *sn_st_metadata_of(const SnSafetensors *st, const char *kind, const char *name);
// Reads bytes [from, from + n) of a tensor.
SnStatus sn_st_read(SnSafetensors *st, const SnTensorInfo *t, uint64_t from, uint64_t n, void *to,
                    SnError *e);
// Whether it carries checksums. Without them the two checks find nothing.
bool sn_st_has_sums(const SnSafetensors *st);
SnStatus sn_st_check_metadata(const SnSafetensors *st, SnError *e);
// x: of all bytes of the tensor, in order.
SnStatus sn_st_check_sum(const SnSafetensors *st, const SnTensorInfo *t, const SnXxh64 *x,
                         SnError *e);
// Bytes per element of a dtype of the format; 0 for an unknown name.
uint32_t sn_st_item(const char *dtype);
// Sets t->bytes from the shape and the item. False: it is more than a file can hold; extents of 0 count as 1
// for that, so that any product of extents has a place in i64.
bool sn_st_measure(SnTensorInfo *t);

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
// Writes a whole file to fd, which is empty, and reads its header back from there: tensors sorted by
// alignment (widest first), then name; the header padded with spaces to a multiple of 8. `tensors` is
// reordered.
//
// Piece by piece: begin sorts the tensors, which stay the caller's, and writes the header without sums; put
// appends to tensor i of the sorted, whatever was put into others; end, when all are full, writes the sums.
typedef struct SnStWriter SnStWriter;
SnStatus sn_st_begin(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnStWriter **out, SnError *e);
SnStatus sn_st_put(SnStWriter *w, uint32_t i, const void *from, uint64_t n, SnError *e);
SnStatus sn_st_end(SnStWriter *w, SnError *e);
void sn_st_drop(SnStWriter *w); // the memory; the file is as it is
// All at once.
SnStatus sn_st_write(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnError *e);
