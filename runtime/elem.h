// What is known of an element type of a plan's tensors, and single elements as numbers.
#pragma once
#include "runtime/plan.h"

typedef enum { SN_KIND_FLOAT, SN_KIND_INT, SN_KIND_UINT, SN_KIND_BOOL, SN_KINDS } SnElemKind;
typedef struct {
    const char *name;  // in model files: "f32"
    const char *dtype; // in safetensors files: "F32"
    uint32_t bytes;
    uint32_t kind; // SnElemKind
} SnElemInfo;
extern const SnElemInfo sn_elem_info[SN_ELEMS];

// value: the nearest that the type holds; of a NaN, 0.
void sn_elem_set(uint32_t elem, void *to, double value);
double sn_elem_get(uint32_t elem, const void *from);
// All n to the same.
void sn_elem_fill(uint32_t elem, void *to, int64_t n, double value);
