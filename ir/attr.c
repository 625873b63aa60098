// The attribute field table, made from attrs.def, and what follows from it alone.
//
// A record is a handful of fields at offsets in Attr; no reader knows a record by name. So a new
// field is one row in attrs.def and one member in ir.h.
#include "ir/attr.h"
#include <math.h>
#include <string.h>

// C has no member called 'const': the record const is called constant in attrs.def.
enum { ATTR_constant = ATTR_const };
#define ATTR_FIELD(record, field, KIND)                                                            \
    {#field, ATTR_##record, FIELD_##KIND, sizeof(((Attr *)0)->record.field),                       \
     __builtin_offsetof(Attr, record.field)},
const AttrField attr_fields[] = {
#include "ir/attrs.def"
};
#undef ATTR_FIELD
static const uint32_t field_count = sizeof attr_fields / sizeof attr_fields[0];

uint32_t attr_record(AttrKind kind, uint32_t *first) {
    uint32_t i = 0, n = 0;
    while (i < field_count && attr_fields[i].record != kind) i++;
    while (i + n < field_count && attr_fields[i + n].record == kind) n++;
    *first = i;
    return n;
}

static void clean_list(AxisList *to, const AxisList *from) {
    CHECK(from->n <= MAX_AXES, "axis list of %u", from->n);
    to->n = from->n;
    memcpy(to->at, from->at, from->n * sizeof from->at[0]);
}

Attr attr_clean(const Attr *a) {
    Attr clean;
    memset(&clean, 0, sizeof clean);
    clean.kind = a->kind;
    uint32_t first, n = attr_record(a->kind, &first);
    for (uint32_t i = first; i < first + n; i++) {
        const AttrField *f = &attr_fields[i];
        void *to = attr_field(&clean, f);
        const void *from = attr_field_const(a, f);
        if (f->kind == FIELD_AXES) {
            clean_list(to, from);
        } else if (f->kind == FIELD_F64) {
            double x = *(const double *)from;
            *(double *)to = isnan(x) ? (double)NAN : x;
        } else {
            memcpy(to, from, f->size);
        }
    }
    return clean;
}

const char *const *field_names(FieldKind kind, uint32_t *n) {
    *n = 0;
    if (kind == FIELD_REDUCE) return *n = REDUCE_COUNT, reduce_names;
    if (kind == FIELD_FOLD) return *n = FOLD_COUNT, fold_names;
    if (kind == FIELD_GROUP) return *n = GROUP_COUNT, group_names;
    return NULL;
}

FuncId *attr_body(Attr *a, uint32_t i) {
    uint32_t first, n = attr_record((AttrKind)a->kind, &first);
    for (uint32_t k = first; k < first + n; k++)
        if (attr_fields[k].kind == FIELD_FUNC && i-- == 0) return attr_field(a, &attr_fields[k]);
    return NULL;
}
