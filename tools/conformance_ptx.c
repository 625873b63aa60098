// Writes the PTX of the conformance suite. See conformance.h.
//
// A row of a table stands for several instructions: its pattern is expanded as the emulator's own
// reader does it, and each becomes a function of its own, "p<number>", in one module for the row.
// Element i of operand k is at in + 8 (1024 k + i), element i of result k at out + 8 (1024 k + i).
#include "ir/base/diag.h"
#include "tools/conformance.h"
#include <float.h>
#include <string.h>

typedef struct {
    Arena *a;
    ConformanceSuite *suite;
    Unit *unit;
    const char *signature;
} Maker;

// ---- results that are not exact -------------------------------------------------------------------

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }
static bool holds(const char *s, const char *what) { return strstr(s, what) != NULL; }

// Errors that NVIDIA, "PTX ISA", names for each; two devices may differ by twice as much. Subnormal
// results are given one unit.
static Bound bound_of(const char *name) {
    static const struct {
        const char *name;
        Bound bound;
    } bounds[] = {
        {"rcp.approx.ftz.f64", {0x1p-18, DBL_MIN}},
        {"rsqrt.approx.ftz.f64", {0x1p-18, DBL_MIN}},
        {"rsqrt.approx.f64", {0x1p-18, DBL_MIN}},
        {"div.approx", {0x1p-21, 0x1p-148}}, // 2 units
        {"div.full", {0x1p-21, 0x1p-148}},
        {"sqrt.approx", {0x1p-22, 0x1p-148}},
        {"rcp.approx", {0x1p-22, 0x1p-148}}, // 1 unit
        {"rsqrt.approx", {0x1p-21, 0x1p-148}},
        {"ex2.approx", {0x1p-21, 0x1p-148}},
        {"lg2.approx", {0x1p-21, 0x1p-21}},
        {"sin.approx", {0, 0x1p-19}}, // in [-pi, pi]
        {"cos.approx", {0, 0x1p-19}},
        {"tanh.approx", {0x1p-10, 0x1p-148}},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (begins(name, bounds[i].name)) return bounds[i].bound;
    return (Bound){0, 0};
}

// ---- functions ------------------------------------------------------------------------------------

// "w" -> "b32", the type in memory.
static const char *memory_type(char t) {
    if (t == 'h') return "b16";
    return t == 'l' || t == 'd' ? "b64" : "b32";
}
// The register of an operand (at 0) or result (at 4).
static const char *register_of(Arena *a, char t, uint32_t i) {
    const char *kind = t == 'p' ? "p" : t == 'h' ? "h" : memory_type(t)[1] == '6' ? "l" : "w";
    return arena_printf(a, "%%%s%u", kind, i);
}
enum { RESULT = 4 };

static void put_head(const UnitCase *c, Text *to) {
    text_printf(to,
                ".visible .entry p%u(\n.param .u64 p%u_out,\n.param .u64 p%u_in\n)\n{\n"
                ".reg .pred %%p<8>;\n.reg .b16 %%h<8>;\n.reg .b32 %%w<8>;\n.reg .b64 %%l<8>;\n"
                ".reg .b32 %%x<16>;\n.reg .b64 %%y<16>;\n.reg .pred %%z<8>;\n.reg .b16 %%g<8>;\n"
                ".reg .b32 %%i, %%t, %%s;\n.reg .b64 %%in, %%out;\n"
                ".shared .align 8 .b8 sh[512];\n.local .align 8 .b8 lo[512];\n",
                c->entry, c->entry, c->entry);
    text_printf(to,
                "ld.param.u64 %%in, [p%u_in];\nld.param.u64 %%out, [p%u_out];\n"
                "cvta.to.global.u64 %%in, %%in;\ncvta.to.global.u64 %%out, %%out;\n"
                "mov.u32 %%t, %%tid.x;\nmov.u32 %%x0, %%ctaid.x;\nmad.lo.u32 %%i, %%x0, %d, %%t;\n"
                "mul.wide.u32 %%y0, %%i, %d;\nadd.u64 %%in, %%in, %%y0;\n"
                "add.u64 %%out, %%out, %%y0;\nmov.u32 %%s, sh;\n",
                c->entry, c->entry, BLOCK, SLOT);
}

static void put_loads(Arena *a, const UnitCase *c, Text *to) {
    for (uint32_t k = 0; c->operands[k]; k++) {
        char t = c->operands[k];
        const char *r = register_of(a, t == 'p' ? 'w' : t, k);
        text_printf(to, "ld.global.%s %s, [%%in+%u];\n", memory_type(t), r, k * ELEMENTS * SLOT);
        if (t == 'p')
            text_printf(to, "and.b32 %s, %s, 1;\nsetp.ne.u32 %%p%u, %s, 0;\n", r, r, k, r);
    }
}

static void put_stores(Arena *a, const UnitCase *c, Text *to) {
    for (uint32_t k = 0; c->results[k]; k++) {
        char t = c->results[k];
        const char *r = register_of(a, t, RESULT + k);
        if (t == 'p') {
            text_printf(to, "selp.b32 %%x0, 1, 0, %s;\n", r);
            r = "%x0";
        }
        text_printf(to, "st.global.%s [%%out+%u], %s;\n", memory_type(t), k * ELEMENTS * SLOT, r);
    }
}

// The text with registers for #0 and $0.
static void put_text(Arena *a, const UnitCase *c, const char *text, Text *to) {
    for (const char *s = text; *s; s++) {
        bool digit = s[1] >= '0' && s[1] <= '9';
        uint32_t k = digit ? (uint32_t)(s[1] - '0') : 0;
        if ((*s != '#' && *s != '$') || !digit) {
            text_put(to, s, 1);
            continue;
        }
        const char *r = *s == '#' ? register_of(a, c->results[k], RESULT + k)
                                  : register_of(a, c->operands[k], k);
        text_put(to, r, strlen(r));
        s++;
    }
    text_put(to, "\n", 1);
}

static void add_case(Maker *m, const char *name, const char *results, const char *operands,
                     const char *text) {
    UnitCase c = {.name = name, .bound = bound_of(name), .entry = m->suite->cases++};
    CHECK(strlen(results) <= MAX_RESULTS && strlen(operands) <= MAX_OPERANDS, "'%s'", name);
    strcpy(c.results, results);
    strcpy(c.operands, operands);
    put_head(&c, &m->unit->ptx);
    put_loads(m->a, &c, &m->unit->ptx);
    put_text(m->a, &c, text, &m->unit->ptx);
    put_stores(m->a, &c, &m->unit->ptx);
    text_printf(&m->unit->ptx, "ret;\n}\n");
    vec_push(m->a, &m->unit->cases, c);
}

static void open_unit(Maker *m, const char *name, uint32_t sm) {
    // the newest version that a form here needs on each architecture
    const char *version = sm >= 100 ? "8.8" : sm >= 90 ? "8.0" : "7.8";
    vec_push(m->a, &m->suite->units, ((Unit){.name = name, .sm = sm, .ptx = {.arena = m->a}}));
    m->unit = &m->suite->units.at[m->suite->units.n - 1];
    text_printf(&m->unit->ptx, ".version %s\n.target sm_%u\n.address_size 64\n", version,
                sm < 80 ? 80 : sm);
}

// ---- one instruction ------------------------------------------------------------------------------

// Instructions that read the carry flag, and how it is set before them and read after.
static bool reads_carry(const char *name) {
    return begins(name, "addc") || begins(name, "subc") || begins(name, "madc");
}
static const char *carry_of(const char *name) { return begins(name, "sub") ? "sub" : "add"; }

// The text of one instruction. Member masks name all lanes; constants are given one by one.
static void put_operands(const char *name, const char *operands, const char *constant, Text *to) {
    bool lanes = holds(name, ".sync"), bar = begins(name, "bar.warp");
    for (uint32_t k = 0; operands[k]; k++) {
        bool last = !operands[k + 1];
        text_printf(to, "%s", k ? ", " : " ");
        if (operands[k] == 'i')
            text_printf(to, "%s", constant);
        else if ((lanes || bar) && last)
            text_printf(to, "0xffffffff");
        else
            text_printf(to, "$%u", k);
    }
}

// Without what is no operand in memory: masks and constants.
static void stored_operands(const char *name, const char *operands, char *to) {
    bool lanes = holds(name, ".sync");
    uint32_t n = 0;
    for (uint32_t k = 0; operands[k]; k++)
        if (operands[k] != 'i' && !(lanes && !operands[k + 1])) to[n++] = operands[k];
    to[n] = 0;
}

// S and T are words, q is a second predicate.
static char type_of_result(char t) { return t == 'S' || t == 'T' ? 'w' : t == 'q' ? 'p' : t; }

static void add_instruction(Maker *m, const char *name, const char *results, const char *operands,
                            const char *constant) {
    Text t = {.arena = m->a};
    char from[8], to[MAX_RESULTS + 2] = "";
    uint32_t n = 0;
    bool pair = strchr(results, 'q') != NULL;
    if (reads_carry(name))
        text_printf(&t,
                    operands[0] == 'l' ? "%s.cc.u64 %%y0, $0, 0x7fffffffffffffff; "
                                       : "%s.cc.u32 %%x0, $0, 0x7fffffff; ",
                    carry_of(name));
    text_printf(&t, "%s", name);
    for (uint32_t k = 0; results[k]; k++) {
        to[n++] = type_of_result(results[k]);
        text_printf(&t, "%s#%u", k == 0 ? " " : pair ? "|" : ", ", k);
    }
    if (results[0] && operands[0]) text_printf(&t, ",");
    put_operands(name, operands, constant, &t);
    text_printf(&t, ";");
    if (holds(name, ".cc")) {
        text_printf(&t, " %sc.u32 #%u, 0, 0;", carry_of(name), n);
        to[n++] = 'w';
    }
    if (n == 0) { // nothing but that it runs
        text_printf(&t, " mov.b32 #0, 1;");
        to[n++] = 'w';
    }
    to[n] = 0;
    stored_operands(name, operands, from);
    add_case(m, name, to, from, t.at);
}

// "pq:ww?" with the question mark as a predicate, or without.
static void add_form(Maker *m, const char *name, bool combines) {
    char results[8] = "", operands[8] = "";
    uint32_t n = 0;
    const char *s = m->signature;
    for (; *s != ':'; s++) results[n++] = *s;
    results[n] = 0;
    n = 0;
    for (s++; *s; s++)
        if (*s != '?' || combines) operands[n++] = *s == '?' ? 'p' : *s;
    operands[n] = 0;
    static const char *const constants[] = {"0x96", "0xe8", "0xca", "0x1b"};
    size_t times = strchr(operands, 'i') ? sizeof constants / sizeof *constants : 1;
    for (size_t i = 0; i < times; i++) {
        const char *full = times > 1 ? arena_printf(m->a, "%s %s", name, constants[i]) : name;
        add_instruction(m, name, results, operands, constants[i]);
        m->unit->cases.at[m->unit->cases.n - 1].name = full;
    }
}

// ---- patterns -------------------------------------------------------------------------------------

// What a letter behind '%' stands for, as alternatives. NULL: no such letter.
static const char *alternatives(char letter) {
    switch (letter) {
    case 'r': return ".rn|.rz|.rm|.rp";
    case 'R': return "|.rn|.rz|.rm|.rp";
    case 'f': return "|.ftz";
    case 's': return "|.sat";
    case 'i': return ".eq|.ne|.lt|.le|.gt|.ge";
    case 'u': return ".eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs";
    case 'e': return ".eq|.ne";
    case 'c': return ".eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan";
    case 'b': return "|.and|.or|.xor";
    default: return NULL;
    }
}

// What the emulated device takes and PTX does not have, or not on the row's architecture.
static bool not_ptx(const char *name) {
    return begins(name, "mov.f16") || begins(name, "selp.f16") || holds(name, ".cluster");
}

// All ways to write the rest of the pattern behind `done`. As deep as the pattern has choices.
static void expand(Maker *m, const char *done, const char *rest, bool combines) {
    size_t n = strcspn(rest, "{%");
    done = arena_printf(m->a, "%s%.*s", done, (int)n, rest);
    rest += n;
    if (!*rest) {
        if (!not_ptx(done)) add_form(m, done, combines);
        return;
    }
    bool braces = *rest == '{', boolean = rest[1] == 'b' && !braces;
    const char *list = braces ? rest + 1 : alternatives(rest[1]);
    CHECK(list, "pattern '%s'", rest);
    const char *behind = braces ? strchr(rest, '}') + 1 : rest + 2;
    for (const char *s = list;; s++) {
        size_t k = strcspn(s, "|}");
        expand(m, arena_printf(m->a, "%s%.*s", done, (int)k, s), behind,
               combines || (boolean && k > 0));
        s += k;
        if (*s != '|') return;
    }
}

// Forms that the suite leaves out, and why.
static bool left_out(const char *pattern) {
    return begins(pattern,
                  "isspacep") ||      // where a device puts its address spaces is its own choice
           begins(pattern, "cvta") || // likewise; "generic to shared" uses them
           begins(pattern, "cp.async") || // only with a copy: a body's work
           begins(pattern, "elect");      // which lane is elected is the device's choice
}

static void add_row(Maker *m, const char *pattern, const char *signature, uint32_t sm) {
    if (left_out(pattern)) return;
    m->signature = signature;
    open_unit(m, pattern, sm);
    expand(m, "", pattern, false);
}

static void add_body(Maker *m, const char *name, const char *signature, uint32_t sm,
                     const char *text) {
    const char *colon = strchr(signature, ':');
    open_unit(m, name, sm);
    add_case(m, name, arena_str(m->a, signature, (size_t)(colon - signature)), colon + 1, text);
}

void suite_make(Arena *a, ConformanceSuite *out) {
    Maker m = {.a = a, .suite = out};
    *out = (ConformanceSuite){0};
#define FORM(pattern, signature, sm, fn) add_row(&m, pattern, signature, sm);
#include "runtime/emulator/engine/ops.def"
#undef FORM
#define FORM(pattern, signature, sm)   add_row(&m, pattern, signature, sm);
#define BODY(name, signature, sm, ...) add_body(&m, name, signature, sm, __VA_ARGS__);
#include "tools/conformance.def"
#undef FORM
#undef BODY
}
