// The text of a kernel, printed and parsed. docs/kernels.md shows one.
//
// Why: kernels are tested one by one from files, dumped by the driver, and compared: two kernels
// are the same code when their texts without name are equal. So everything that makes the code is
// printed, and nothing that kernel_finish derives.
//
// The text may be hostile: the parser bounds every count and reports the first fault at its place;
// what the text means is checked by kernel_finish. Linear in the text.
#include "codegen/kernel.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const order_names[KORDER_COUNT] = {"rows", "chunks", "lanes", "tile", "strip"};
static const char *const mode_names[KARG_MODES] = {"in", "out", "acc", "inout"};
static const char *const kind_names[KOP_KINDS] = {"scalar", "const", "index", "load",
                                                  "random", "fold",  "tile"};

// ---- printing

static void put_op(Text *to, KId id) {
    if (id == NONE)
        text_printf(to, "_");
    else
        text_printf(to, "%%%u", id);
}

static void put_index(Text *to, const KIndex *x) {
    text_printf(to, "[%lld", (long long)x->base);
    for (uint32_t i = 0; i < K_MAX_AXES; i++)
        if (x->stride[i]) text_printf(to, " + i%u*%lld", i, (long long)x->stride[i]);
    if (x->op != NONE) text_printf(to, " + %%%u*%lld", x->op, (long long)x->op_stride);
    text_printf(to, "]");
}

static void put_if(Text *to, KId mask) {
    if (mask == NONE) return;
    text_printf(to, " if ");
    put_op(to, mask);
}

static void put_scalar(Text *to, const KOp *o) {
    const OpInfo *info = &op_info[o->op];
    text_printf(to, "%s", info->name);
    if (o->elem != o->to) text_printf(to, " %s", elem_info[o->elem].name);
    const KId from[] = {o->a, o->b, o->c};
    for (uint32_t i = 0; i < info->min && i < 3; i++) {
        text_printf(to, " ");
        put_op(to, from[i]);
    }
}

static void put_random(Text *to, const KOp *o) {
    text_printf(to, "random key=0x%llx word=%u ", (unsigned long long)o->key, o->word);
    if (o->fixed) text_printf(to, "fixed ");
    put_index(to, &o->index);
    if (o->sample_stride) text_printf(to, " sample*%lld", (long long)o->sample_stride);
}

static void put_kind(Text *to, const KOp *o) {
    char buf[32];
    switch ((KOpKind)o->kind) {
    case KOP_scalar: put_scalar(to, o); return;
    case KOP_const: text_printf(to, "const %s", format_double(buf, o->value)); return;
    case KOP_index: text_printf(to, "index i%u", o->axis); return;
    case KOP_load:
        text_printf(to, "load a%u", o->arg);
        put_index(to, &o->index);
        put_if(to, o->mask);
        return;
    case KOP_random: put_random(to, o); return;
    case KOP_fold: text_printf(to, "fold f%u", o->fold); return;
    case KOP_tile: text_printf(to, "tile %u", o->arg); return;
    case KOP_KINDS: break;
    }
    unreachable(o->kind);
}

static void put_fold(Text *to, const KFold *f, uint32_t i) {
    text_printf(to, "  f%u = %s %s ", i, f->column ? "column" : "row", reduce_names[f->kind]);
    put_op(to, f->value);
    text_printf(to, " phase %u", f->phase);
    if (f->column) {
        text_printf(to, " -> a%u", f->arg);
        put_index(to, &f->index);
        if (f->chunk_stride) text_printf(to, " chunk*%lld", (long long)f->chunk_stride);
        if (f->plus != NONE) text_printf(to, " plus %%%u", f->plus);
    }
    text_printf(to, "\n");
}

void kernel_print(Text *to, const Kernel *k) {
    text_printf(to, "kernel \"%s\" %s", k->name, order_names[k->order]);
    if (k->order == KORDER_chunks) text_printf(to, " walk %u", k->walk);
    text_printf(to, " grain %lld", (long long)k->grain);
    if (k->flat) text_printf(to, " flat %lld", (long long)k->flat);
    text_printf(to, " axes");
    for (uint32_t i = 0; i <= k->outers; i++)
        text_printf(to, "%s%lld", i ? ", " : " ", (long long)k->extent[i]);
    text_printf(to, " {\n");
    for (uint32_t i = 0; i < k->args.n; i++) {
        const KArg *a = &k->args.at[i];
        text_printf(to, "  a%u = %s %s %lld\n", i, mode_names[a->mode], elem_info[a->elem].name,
                    (long long)a->count);
    }
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        text_printf(to, "  %%%u = %s%s ", id, o->hold ? "hold " : "", elem_info[o->to].name);
        put_kind(to, o);
        text_printf(to, "\n");
    }
    for (uint32_t i = 0; i < k->folds.n; i++) put_fold(to, &k->folds.at[i], i);
    for (uint32_t i = 0; i < k->stores.n; i++) {
        const KStore *s = &k->stores.at[i];
        text_printf(to, s->tile ? "  store tile %u" : "  store a%u", s->arg);
        if (!s->tile) put_index(to, &s->index);
        text_printf(to, " = ");
        put_op(to, s->value);
        text_printf(to, " phase %u", s->phase);
        put_if(to, s->mask);
        text_printf(to, "\n");
    }
    text_printf(to, "}\n");
}

// ---- parsing

enum { MAX_ITEMS = 1 << 16 };

typedef struct {
    Arena *arena;
    Diag *d;
    uint16_t file;
    const char *text, *at, *end;
    bool failed;
    Kernel *k;
} KernelParser;

#define ERROR(p, from, ...)                                                                        \
    do {                                                                                           \
        Loc loc_ = {(p)->file, (uint32_t)((from) - (p)->text), (uint32_t)((p)->at - (p)->text)};   \
        if (!(p)->failed) diag_error((p)->d, loc_, __VA_ARGS__);                                   \
        (p)->failed = true;                                                                        \
    } while (0)

static void skip(KernelParser *p) {
    while (p->at < p->end) {
        if (isspace((unsigned char)*p->at)) {
            p->at++;
        } else if (*p->at == '/' && p->at + 1 < p->end && p->at[1] == '/') {
            while (p->at < p->end && *p->at != '\n') p->at++;
        } else {
            return;
        }
    }
}

// The next character that is no space, or 0 at the end and after an error.
static char peek(KernelParser *p) {
    skip(p);
    return p->failed || p->at == p->end ? 0 : *p->at;
}

static bool take(KernelParser *p, char c) {
    if (peek(p) != c || c == 0) return false;
    p->at++;
    return true;
}

static void expect(KernelParser *p, char c) {
    if (!take(p, c)) ERROR(p, p->at, "expected '%c'", c);
}

static size_t word_length(KernelParser *p) {
    size_t n = 0;
    if (!isalpha((unsigned char)peek(p))) return 0;
    while (p->at + n < p->end && (isalnum((unsigned char)p->at[n]) || p->at[n] == '_')) n++;
    return n;
}

static bool take_word(KernelParser *p, const char *word) {
    size_t n = word_length(p);
    if (n == 0 || n != strlen(word) || memcmp(p->at, word, n) != 0) return false;
    p->at += n;
    return true;
}

static void expect_word(KernelParser *p, const char *word) {
    if (!take_word(p, word)) ERROR(p, p->at, "expected '%s'", word);
}

static uint32_t one_of(KernelParser *p, const char *const *names, uint32_t n, const char *what) {
    for (uint32_t i = 0; i < n; i++)
        if (take_word(p, names[i])) return i;
    ERROR(p, p->at, "expected %s", what);
    return 0;
}

static Elem take_elem(KernelParser *p) {
    for (uint32_t e = 0; e < ELEM_COUNT; e++)
        if (take_word(p, elem_info[e].name)) return (Elem)e;
    ERROR(p, p->at, "expected an element type");
    return ELEM_f32;
}

static bool is_elem(KernelParser *p) {
    const char *at = p->at;
    for (uint32_t e = 0; e < ELEM_COUNT; e++)
        if (take_word(p, elem_info[e].name)) {
            p->at = at;
            return true;
        }
    return false;
}

static int64_t integer(KernelParser *p) {
    bool negative = take(p, '-');
    const char *from = p->at;
    int64_t v = 0;
    if (!isdigit((unsigned char)peek(p))) ERROR(p, from, "expected a number");
    while (!p->failed && p->at < p->end && isdigit((unsigned char)*p->at))
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p->at++ - '0', &v))
            ERROR(p, from, "number is too large");
    return negative ? -v : v;
}

static uint32_t small(KernelParser *p) {
    const char *from = p->at;
    int64_t v = integer(p);
    if (v >= 0 && v < MAX_ITEMS) return (uint32_t)v;
    ERROR(p, from, "number is not between 0 and %d", MAX_ITEMS - 1);
    return 0;
}

static uint64_t hex(KernelParser *p) {
    if (!take(p, '0') || p->at == p->end || *p->at++ != 'x') ERROR(p, p->at, "expected '0x'");
    uint64_t v = 0;
    for (int n = 0; !p->failed && p->at < p->end && isxdigit((unsigned char)*p->at); n++) {
        if (n == 16) ERROR(p, p->at, "more than 16 hexadecimal digits");
        char c = (char)tolower((unsigned char)*p->at++);
        v = v << 4 | (uint64_t)(isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10);
    }
    return v;
}

static double real(KernelParser *p) {
    char buf[40];
    size_t n = 0;
    const char *from = (skip(p), p->at);
    while (p->at < p->end && n < sizeof buf - 1 &&
           (isalnum((unsigned char)*p->at) || strchr("+-.", *p->at)))
        buf[n++] = *p->at++;
    buf[n] = 0;
    char *end;
    double v = strtod(buf, &end);
    if (n == 0 || *end) ERROR(p, from, "expected a number");
    return v;
}

// 'letter' and a number, as one word: a3, f0, i2.
static uint32_t numbered(KernelParser *p, char letter) {
    if (!take(p, letter)) ERROR(p, p->at, "expected '%c' and a number", letter);
    return small(p);
}

static KId take_op(KernelParser *p) {
    expect(p, '%');
    return small(p);
}

static KIndex take_index(KernelParser *p) {
    KIndex x;
    memset(&x, 0, sizeof x);
    x.op = NONE;
    expect(p, '[');
    x.base = integer(p);
    while (take(p, '+')) {
        const char *from = p->at;
        if (peek(p) == '%') {
            if (x.op != NONE) ERROR(p, from, "an index has one op at most");
            x.op = take_op(p);
            expect(p, '*');
            x.op_stride = integer(p);
            continue;
        }
        uint32_t axis = numbered(p, 'i');
        expect(p, '*');
        if (axis >= K_MAX_AXES) ERROR(p, from, "axis number above %d", K_MAX_AXES - 1);
        if (!p->failed) x.stride[axis] = integer(p);
    }
    expect(p, ']');
    return x;
}

static KId take_if(KernelParser *p) { return take_word(p, "if") ? take_op(p) : NONE; }

static void parse_scalar(KernelParser *p, KOp *o) {
    uint32_t op = 0;
    while (op < OP_SCALARS && !take_word(p, op_info[op].name)) op++;
    if (op == OP_SCALARS) {
        ERROR(p, p->at, "expected an op");
        return;
    }
    o->kind = KOP_scalar;
    o->op = (uint16_t)op;
    o->elem = (uint8_t)(is_elem(p) ? take_elem(p) : (Elem)o->to);
    KId *from[] = {&o->a, &o->b, &o->c};
    for (uint32_t i = 0; i < op_info[op].min; i++) *from[i] = take_op(p);
}

static void parse_random(KernelParser *p, KOp *o) {
    expect_word(p, "key");
    expect(p, '=');
    o->key = hex(p);
    expect_word(p, "word");
    expect(p, '=');
    o->word = small(p);
    o->fixed = take_word(p, "fixed");
    o->index = take_index(p);
    if (!take_word(p, "sample")) return;
    expect(p, '*');
    o->sample_stride = integer(p);
}

static void parse_kind(KernelParser *p, KOp *o) {
    uint32_t kind = KOP_const;
    while (kind < KOP_KINDS && !take_word(p, kind_names[kind])) kind++;
    if (kind == KOP_KINDS) {
        parse_scalar(p, o);
        return;
    }
    o->kind = (uint8_t)kind;
    if (kind == KOP_const) o->value = real(p);
    if (kind == KOP_index) o->axis = numbered(p, 'i');
    if (kind == KOP_fold) o->fold = numbered(p, 'f');
    if (kind == KOP_tile) o->arg = small(p);
    if (kind == KOP_random) parse_random(p, o);
    if (kind != KOP_load) return;
    o->arg = numbered(p, 'a');
    o->index = take_index(p);
    o->mask = take_if(p);
}

static void parse_op(KernelParser *p) {
    const char *from = p->at;
    KOp o;
    memset(&o, 0, sizeof o);
    o.a = o.b = o.c = o.mask = o.index.op = NONE;
    if (take_op(p) != p->k->ops.n) ERROR(p, from, "expected op %%%u", p->k->ops.n);
    expect(p, '=');
    o.hold = take_word(p, "hold");
    o.to = o.elem = (uint8_t)take_elem(p);
    parse_kind(p, &o);
    vec_push(p->arena, &p->k->ops, o);
}

static void parse_arg(KernelParser *p) {
    const char *from = p->at;
    KArg a;
    memset(&a, 0, sizeof a);
    if (numbered(p, 'a') != p->k->args.n) ERROR(p, from, "expected argument a%u", p->k->args.n);
    expect(p, '=');
    a.mode = one_of(p, mode_names, KARG_MODES, "in, out, acc or inout");
    a.elem = take_elem(p);
    a.count = integer(p);
    vec_push(p->arena, &p->k->args, a);
}

static void parse_fold(KernelParser *p) {
    const char *from = p->at;
    KFold f;
    memset(&f, 0, sizeof f);
    f.plus = f.index.op = NONE;
    if (numbered(p, 'f') != p->k->folds.n) ERROR(p, from, "expected fold f%u", p->k->folds.n);
    expect(p, '=');
    f.column = one_of(p, (const char *const[]){"row", "column"}, 2, "row or column") == 1;
    f.kind = one_of(p, reduce_names, REDUCE_COUNT, "a kind of fold");
    f.value = take_op(p);
    expect_word(p, "phase");
    f.phase = small(p);
    if (f.column) {
        expect(p, '-');
        expect(p, '>');
        f.arg = numbered(p, 'a');
        f.index = take_index(p);
        if (take_word(p, "chunk")) {
            expect(p, '*');
            f.chunk_stride = integer(p);
        }
        if (take_word(p, "plus")) f.plus = take_op(p);
    }
    vec_push(p->arena, &p->k->folds, f);
}

static void parse_store(KernelParser *p) {
    KStore s;
    memset(&s, 0, sizeof s);
    s.index.op = NONE;
    s.tile = take_word(p, "tile");
    s.arg = s.tile ? small(p) : numbered(p, 'a');
    if (!s.tile) s.index = take_index(p);
    expect(p, '=');
    s.value = take_op(p);
    expect_word(p, "phase");
    s.phase = small(p);
    s.mask = take_if(p);
    vec_push(p->arena, &p->k->stores, s);
}

static void parse_head(KernelParser *p) {
    expect_word(p, "kernel");
    expect(p, '"');
    const char *from = p->at;
    while (p->at < p->end && *p->at != '"' && (unsigned char)*p->at >= ' ') p->at++;
    p->k->name = arena_str(p->arena, from, (size_t)(p->at - from));
    expect(p, '"');
    p->k->order = one_of(p, order_names, KORDER_COUNT, "an order");
    if (take_word(p, "walk")) p->k->walk = small(p);
    expect_word(p, "grain");
    p->k->grain = integer(p);
    if (take_word(p, "flat")) p->k->flat = integer(p);
    expect_word(p, "axes");
    uint32_t n = 0;
    do {
        if (n == K_MAX_AXES) ERROR(p, p->at, "more than %d axes", K_MAX_AXES);
        if (!p->failed) p->k->extent[n++] = integer(p);
    } while (take(p, ','));
    p->k->outers = n ? n - 1 : 0;
}

static void parse_body(KernelParser *p) {
    expect(p, '{');
    while (!p->failed && !take(p, '}')) {
        const Kernel *k = p->k;
        if (k->args.n + k->ops.n + k->folds.n + k->stores.n > MAX_ITEMS)
            ERROR(p, p->at, "more than %d lines", MAX_ITEMS);
        else if (peek(p) == '%')
            parse_op(p);
        else if (take_word(p, "store"))
            parse_store(p);
        else if (peek(p) == 'a')
            parse_arg(p);
        else
            parse_fold(p);
    }
    if (peek(p)) ERROR(p, p->at, "text after the kernel");
}

Kernel *kernel_parse(Arena *a, Diag *d, uint16_t file) {
    const SourceFile *s = &d->files.at[file];
    KernelParser p = {a, d, file, s->text, s->text, s->text + s->size, false, NEW(a, Kernel)};
    parse_head(&p);
    parse_body(&p);
    if (p.failed) return NULL;
    p.k->loc = (Loc){file, 0, (uint32_t)s->size};
    Text why = {.arena = a};
    if (kernel_finish(a, p.k, &why)) return p.k;
    diag_error(d, (Loc){file, 0, 0}, "%s", why.at);
    return NULL;
}
