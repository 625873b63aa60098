// Attribute records by field: the one table that printing, parsing, comparing and checking read.
// Private to ir/.
#pragma once
#include "ir/ir.h"

typedef enum {
    FIELD_AXIS,
    FIELD_AXES,
    FIELD_I64,
    FIELD_F64,
    FIELD_SYM,
    FIELD_DTYPE,
    FIELD_STATE,
    FIELD_FUNC,
    FIELD_MESH,
    FIELD_REDUCE,
    FIELD_FOLD,
    FIELD_GROUP
} FieldKind;

typedef struct {
    const char *name;
    uint8_t record; // AttrKind
    uint8_t kind;   // FieldKind
    uint8_t size;   // bytes
    uint8_t offset; // in Attr
} AttrField;

extern const AttrField attr_fields[];
// The fields of a record are attr_fields[*first .. *first + n); n is returned. Records are few and
// short, so this searches.
uint32_t attr_record(AttrKind kind, uint32_t *first);
FuncId *attr_body(Attr *a,
                  uint32_t i); // the i-th region that the record names, NULL when there is none
void attr_reindex(Module *m);  // after records were changed in place

static inline void *attr_field(Attr *a, const AttrField *f) { return (char *)a + f->offset; }
static inline const void *attr_field_const(const Attr *a, const AttrField *f) {
    return (const char *)a + f->offset;
}

// A copy whose bytes outside the record's fields are zero, with one NaN: equal means equal bytes.
Attr attr_clean(const Attr *a);
// Names of an enumeration field and how many; NULL for other kinds.
const char *const *field_names(FieldKind kind, uint32_t *n);

// Names that the text form uses.
extern const char *const result_names[];
enum { RESULT_KINDS = RESULT_value + 1 };
extern const char phase_letters[PHASE_COUNT + 1];
extern const char partial_marks[PARTIALS + 1]; // before a mesh axis, in types
