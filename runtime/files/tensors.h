// Tensors of a safetensors file, or arrays, as samples: the first extent of a tensor counts them, the others are the
// axes of the input that takes it, in their declared order.
#pragma once
#include "runtime/sinter.h"

typedef struct SnTensors SnTensors;
SnStatus sn_tensors_open(const char *path, SnTensors **out, SnError *e);
// The same of arrays in files of their own; the list, the format and the names as in arrays.h.
SnStatus sn_tensors_open_arrays(const char *list, const char *format, const char *const *names,
                                uint32_t nnames, SnTensors **out, SnError *e);
void sn_tensors_free(SnTensors *t);
// Compares the tensor that the field names with it, extent by extent. Ids count from 0.
SnStatus sn_tensors_field(SnTensors *t, const SnField *field, int *id, SnError *e);
bool sn_tensors_reads(const SnTensors *t, const char *path); // whether it is one of its files
int sn_tensors_fields(const SnTensors *t);
int64_t sn_tensors_samples(const SnTensors *t);      // of all fields alike; 0 without any
size_t sn_tensors_bytes(const SnTensors *t, int id); // of a sample as the input holds it
// Reads one sample and converts it. Any number of threads at a time.
SnStatus sn_tensors_read(const SnTensors *t, int id, int64_t sample, void *to, SnError *e);
// Whether an earlier field takes the same tensor.
bool sn_tensors_again(const SnTensors *t, int id);
// What it is without the number of samples, "U8[28, 28]", and how many bytes of the file that is. Texts of
// `size` bytes.
int64_t sn_tensors_describe(const SnTensors *t, int id, char *name, char *type, size_t size);
// Bytes [at, at + n) of the tensor as they stand in the file.
SnStatus sn_tensors_bytes_at(const SnTensors *t, int id, int64_t at, int64_t n, void *to,
                             SnError *e);
