// Which data goes into which input. For text and tokens a sample is a window of ids; an input takes
// the window ("tokens"), the ids that follow each of its ids ("targets"), or a constant ("ones",
// "zeros"). For tensors it takes the tensor of a name. The plan's option "input.NAME" says which;
// without it, the input's own name does.
#pragma once
#include "runtime/sinter.h"

typedef enum {
    SN_BIND_WINDOW,
    SN_BIND_NEXT,
    SN_BIND_ONES,
    SN_BIND_ZEROS,
    SN_BIND_TENSOR
} SnBindKind;

typedef struct {
    const SnPort *port;
    SnBindKind kind;
    const char *field;       // the option's value, or the input's name
    int id;                  // of a tensor: what sn_data_field gave
    int64_t samples, window; // sizes of the sample axis and of the other (1 when there is none)
    int64_t sample_stride, window_stride; // in elements
} SnBind;

SnStatus sn_bind(const SnPlan *plan, const SnPort *port, SnDataKind data, SnBind *to, SnError *e);
// Compares an SN_BIND_TENSOR with the tensor that it takes.
SnStatus sn_bind_tensor(const SnPlan *plan, SnBind *b, SnData *data, SnError *e);
// Fills the input from windows: ids [samples, window + 1]. Not for SN_BIND_TENSOR.
void sn_bind_fill(const SnBind *b, SnExec *x, const int32_t *ids);
