// What facts.c asks of data.c.
#pragma once
#include "runtime/files/tensors.h"

const SnDataSpec *sn_data_given(const SnData *d); // defaults filled in
SnTensors *sn_data_tensors(const SnData *d);      // NULL: the data is text or ids
// Ids [at, at + n) of all files together, without looking at their range.
SnStatus sn_data_ids_at(const SnData *d, int64_t at, int64_t n, int32_t *ids, SnError *e);
