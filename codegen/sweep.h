// Which ops a part of a kernel needs. For the phases of a kernel, kernel_finish has the answers (Kernel.phase).
// A need is a byte by op.
#pragma once
#include "codegen/kernel.h"

enum { KOP_OPERANDS = 5 };
// Which ops' values an op takes; returns how many. What a fold folds is no operand of the op that reads the
// fold: it was needed a phase earlier.
uint32_t kop_operands(const KOp *o, KId to[KOP_OPERANDS]);
void kop_want_operands(const KOp *o, uint8_t *need); // adds them
// `ready` and `lane` of an op, where those of its operands are known.
uint8_t kop_ready(const Kernel *k, const KOp *o);
bool kop_lane(const Kernel *k, const KOp *o);
bool kernel_index_lane(const Kernel *k, const KIndex *x); // the offset differs between lanes

// A part of a kernel's work.
typedef struct {
    uint32_t from, to;               // phases
    bool row_folds, columns, stores; // which of theirs
    bool lanes_only;                 // no stores that are the same for all lanes
    bool ends;                       // instead: what stores the columns after a task's last row
} KSweep;
bool ksweep_folds(const KSweep *s, const KFold *f);   // f is one of its folds
bool ksweep_stores(const KSweep *s, const KStore *t); // t is one of its stores
bool ksweep_lanes(const Kernel *k, const KSweep *s);  // it does something for each lane
// Adds what its folds and stores take.
void ksweep_want(const Kernel *k, const KSweep *s, uint8_t *need);
// Adds what the ops of need are made of, down to those that are there.
void kernel_close(const Kernel *k, uint8_t *need, const uint8_t *there);
