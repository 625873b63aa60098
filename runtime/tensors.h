// Tensors of a safetensors file as samples: the first extent of a tensor counts them, the others are the
// axes of the input that takes it, in their declared order.
#pragma once
#include "runtime/sinter.h"

typedef struct SnTensors SnTensors;
SnStatus sn_tensors_open(const char *path, SnTensors **out, SnError *e);
void sn_tensors_free(SnTensors *t);
// Compares the tensor that the field names with it, extent by extent. Ids count from 0.
SnStatus sn_tensors_field(SnTensors *t, const SnField *field, int *id, SnError *e);
int sn_tensors_fields(const SnTensors *t);
int64_t sn_tensors_samples(const SnTensors *t);      // of all fields alike; 0 without any
size_t sn_tensors_bytes(const SnTensors *t, int id); // of a sample as the input holds it
// Reads one sample and converts it. Any number of threads at a time.
SnStatus sn_tensors_read(const SnTensors *t, int id, int64_t sample, void *to, SnError *e);
