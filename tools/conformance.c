// conformance: whether the emulated device computes what a GPU computes.
//
//   conformance [--device N | --self] [--sm N] [--write DIR] [WORD]
//
// Runs the suite of conformance.h on the emulated device and, where there is a CUDA driver, on GPU N (0
// without), both through the table of functions of runtime/cuda/api.h, and compares every result: the
// same bits, or within the bound of an instruction that is approximate. Without a GPU the suite runs on
// the emulated device alone, as sm_N (100), which shows that it accepts and finishes everything, and the
// last line says "not run on a GPU". --self: the emulated device in the GPU's place, which tests this
// program. WORD: only the units whose name holds it. --write: the programs as
// files for ptxas, one for each architecture, and nothing is run.
//
// Exit status: 0 nothing differs (and, on the emulated device, nothing is refused), 1 something does, 2
// the command line, 3 the machine (memory, a driver that does not work).
#include "tools/conformance.h"
#include "runtime/cuda/cuda.h"
#include "runtime/emulator/emulator.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 3 }; // differences of one case

typedef struct {
    const SnCudaApi *api;
    char name[96];
    uint32_t sm;
    SnCudaStream stream;
    uint64_t in, out;
} Machine;

typedef struct {
    uint64_t in[MAX_OPERANDS * ELEMENTS], out[MAX_RESULTS * ELEMENTS];
} Data;

typedef struct {
    Arena *a;
    ConformanceSuite suite;
    Machine emulated, real;
    bool has_real, self;
    const char *word;
    Data *data;         // inputs of the case, results of the emulated device
    uint64_t *real_out; // of the GPU
    uint32_t ran, refused, differ, compared, unknown;
} Conformance;

// ---- a machine ------------------------------------------------------------------------------------

static bool good(const Machine *m, int code, const char *what) {
    SnError e;
    if (sn_cuda_check(m->api, code, what, &e) == SN_OK) return true;
    fprintf(stderr, "conformance: %s: %s\n", m->name[0] ? m->name : "?", e.text);
    return false;
}

static bool machine_open(Machine *m, const SnCudaApi *api, int ordinal) {
    SnCudaContext context;
    int device = 0, major = 0, minor = 0;
    *m = (Machine){.api = api};
    bool ok = good(m, api->init(0), "start") &&
              good(m, api->device_get(&device, ordinal), "device") &&
              good(m, api->device_name(m->name, sizeof m->name, device), "name") &&
              good(m, api->device_attribute(&major, SN_CU_ATTR_MAJOR, device), "version") &&
              good(m, api->device_attribute(&minor, SN_CU_ATTR_MINOR, device), "version") &&
              good(m, api->context_retain(&context, device), "context") &&
              good(m, api->context_set(context), "context") &&
              good(m, api->stream_create(&m->stream, SN_CU_STREAM_NON_BLOCKING), "stream") &&
              good(m, api->mem_alloc(&m->in, sizeof((Data *)0)->in), "memory") &&
              good(m, api->mem_alloc(&m->out, sizeof((Data *)0)->out), "memory");
    m->sm = (uint32_t)(major * 10 + minor);
    return ok;
}

// The emulated device keeps one context for the process: what a fault left is given up with it.
static bool emulated_open(Machine *m, uint32_t sm) {
    const SnEmulatorConfig c = {
        .sm = sm, .arch = sm == 90 || sm == 100, .check = true, .seed = 1, .memory = 64 << 20};
    if (m->api) m->api->context_release(0);
    if (sn_emulator_configure(&c)) return machine_open(m, sn_emulator_api(), 0);
    fprintf(stderr, "conformance: there is no emulated sm_%u\n", sm);
    return false;
}

// The newest architecture that the emulated device has and that runs what a GPU of `sm` runs.
static uint32_t emulated_sm(uint32_t sm) {
    static const uint32_t known[] = {120, 100, 90, 89};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (sm >= known[i]) return known[i];
    return 80;
}

static int run_function(const Machine *m, SnCudaModule module, const UnitCase *c,
                        const uint64_t *in, uint64_t *out) {
    const SnCudaApi *api = m->api;
    SnCudaFunction f;
    char symbol[16];
    uint64_t at[2] = {m->out, m->in};
    void *params[2] = {&at[0], &at[1]};
    size_t bytes = sizeof((Data *)0)->out;
    snprintf(symbol, sizeof symbol, "p%u", c->entry);
    int code = api->module_function(&f, module, symbol);
    if (!code) code = api->copy_to_device(m->in, in, sizeof((Data *)0)->in, m->stream);
    if (!code) code = api->fill_bytes(m->out, 0, bytes, m->stream);
    if (!code)
        code = api->launch(f, ELEMENTS / BLOCK, 1, 1, BLOCK, 1, 1, 0, m->stream, params, NULL);
    if (!code) code = api->copy_to_host(out, m->out, bytes, m->stream);
    if (!code) code = api->stream_synchronize(m->stream);
    return code;
}

// ---- comparing ------------------------------------------------------------------------------------

static double value_of(char type, uint64_t bits) {
    float f;
    double d;
    uint32_t low = (uint32_t)bits;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return type == 'f' ? (double)f : d;
}

static bool equal(const UnitCase *c, char type, uint64_t a, uint64_t b) {
    if (a == b) return true;
    if (type != 'f' && type != 'd') return false;
    double x = value_of(type, a), y = value_of(type, b);
    if (isnan(x) || isnan(y)) return isnan(x) && isnan(y);
    if (c->bound.relative == 0 && c->bound.absolute == 0) return false;
    return fabs(x - y) <= c->bound.absolute + c->bound.relative * fmax(fabs(x), fabs(y));
}

static void compare(Conformance *t, const UnitCase *c) {
    uint32_t shown = 0;
    for (uint32_t k = 0; c->results[k]; k++)
        for (uint32_t i = 0; i < ELEMENTS; i++) {
            uint64_t a = t->data->out[k * ELEMENTS + i], b = t->real_out[k * ELEMENTS + i];
            if (equal(c, c->results[k], a, b) || shown++ >= SHOWN) continue;
            printf("%s: element %u, result %u: %llx here, %llx on the GPU, of", c->name, i, k,
                   (unsigned long long)a, (unsigned long long)b);
            for (uint32_t o = 0; c->operands[o]; o++)
                printf(" %llx", (unsigned long long)t->data->in[o * ELEMENTS + i]);
            printf("\n");
        }
    t->compared++;
    if (!shown) return;
    printf("%s: %u of %zu results differ\n", c->name, shown, ELEMENTS * strlen(c->results));
    t->differ++;
}

// ---- the suite ------------------------------------------------------------------------------------

static void fill(const UnitCase *c, Data *d) {
    memset(d, 0, sizeof *d);
    for (uint32_t k = 0; c->operands[k]; k++)
        for (uint32_t i = 0; i < ELEMENTS; i++) d->in[k * ELEMENTS + i] = suite_input(c, k, i);
}

static bool refuse(Conformance *t, const char *name, const char *why) {
    printf("%s: the emulated device: %s\n", name, why);
    t->refused++;
    return !t->self && emulated_open(&t->emulated, t->emulated.sm);
}

static const char *report_of(const Machine *m, int code) {
    const char *text = m->api->report ? m->api->report() : "";
    if (*text) return text;
    return m->api->error_string(code, &text) || !text ? "unknown error" : text;
}

// One module on both machines. False: a machine does not work any more.
static bool run_unit(Conformance *t, const Unit *u) {
    SnCudaModule here = NULL, there = NULL;
    int code = t->emulated.api->module_load(&here, u->ptx.at, 0, NULL, NULL);
    if (code) return refuse(t, u->name, report_of(&t->emulated, code));
    if (t->has_real &&
        !good(&t->real, t->real.api->module_load(&there, u->ptx.at, 0, NULL, NULL), u->name))
        return false;
    for (uint32_t i = 0; i < u->cases.n; i++) {
        const UnitCase *c = &u->cases.at[i];
        fill(c, t->data);
        code = run_function(&t->emulated, here, c, t->data->in, t->data->out);
        if (code) return refuse(t, c->name, report_of(&t->emulated, code));
        t->ran++;
        if (!t->has_real) continue;
        if (!good(&t->real, run_function(&t->real, there, c, t->data->in, t->real_out), c->name))
            return false;
        compare(t, c);
    }
    if (there) t->real.api->module_unload(there);
    return good(&t->emulated, t->emulated.api->module_unload(here), "unload");
}

static bool run_suite(Conformance *t) {
    for (uint32_t i = 0; i < t->suite.units.n; i++) {
        const Unit *u = &t->suite.units.at[i];
        if (t->word && !strstr(u->name, t->word)) continue;
        if (u->sm > t->emulated.sm)
            t->unknown += u->cases.n;
        else if (!run_unit(t, u))
            return false;
    }
    return true;
}

static int summary(const Conformance *t) {
    printf("%u of %u programs ran on the emulated sm_%u, %u refused, %u for newer devices; ",
           t->ran, t->suite.cases, t->emulated.sm, t->refused, t->unknown);
    if (t->has_real)
        printf("%u compared with %s, %u differ\n", t->compared, t->real.name, t->differ);
    else
        printf("not run on a GPU\n");
    return t->refused || t->differ;
}

// ---- programs as files ----------------------------------------------------------------------------

// One file for each architecture: the first module's head, then all functions.
static int write_programs(const Conformance *t, const char *directory) {
    static const uint32_t sms[] = {80, 90, 100};
    for (size_t k = 0; k < sizeof sms / sizeof *sms; k++) {
        FILE *f = fopen(arena_printf(t->a, "%s/sm_%u.ptx", directory, sms[k]), "wb");
        uint32_t n = 0;
        for (uint32_t i = 0; f && i < t->suite.units.n; i++) {
            const Unit *u = &t->suite.units.at[i];
            if ((u->sm < 80 ? 80 : u->sm) != sms[k] || (t->word && !strstr(u->name, t->word)))
                continue;
            const char *text = n++ ? strstr(u->ptx.at, ".visible") : u->ptx.at;
            if (text) fputs(text, f);
        }
        if (f && fclose(f) == 0) continue;
        fprintf(stderr, "conformance: cannot write in '%s'\n", directory);
        return 3;
    }
    return 0;
}

// ---- the program ----------------------------------------------------------------------------------

static const char *value_of_option(const char *name, int argc, char **argv, int *i) {
    return strcmp(argv[*i], name) == 0 && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool open_machines(Conformance *t, int device, uint32_t sm) {
    SnError why = {0};
    const SnCudaApi *api = t->self ? NULL : sn_cuda_load(&why);
    if (api && !machine_open(&t->real, api, device)) return false;
    if (!emulated_open(&t->emulated, api ? emulated_sm(t->real.sm) : sm)) return false;
    t->has_real = api || t->self;
    return !t->self || machine_open(&t->real, t->emulated.api, 0);
}

int main(int argc, char **argv) {
    Conformance t = {.a = arena_new()};
    const char *directory = NULL, *v;
    int device = 0, sm = 100;
    for (int i = 1; i < argc; i++) {
        if ((v = value_of_option("--device", argc, argv, &i)))
            device = atoi(v);
        else if ((v = value_of_option("--sm", argc, argv, &i)))
            sm = atoi(v);
        else if ((v = value_of_option("--write", argc, argv, &i)))
            directory = v;
        else if (strcmp(argv[i], "--self") == 0)
            t.self = true;
        else if (argv[i][0] != '-' && !t.word)
            t.word = argv[i];
        else
            return fputs("usage: conformance [--device N | --self] [--sm N] [--write DIR] [WORD]\n",
                         stderr),
                   2;
    }
    suite_make(t.a, &t.suite);
    if (directory) return write_programs(&t, directory);
    t.data = NEW(t.a, Data);
    t.real_out = NEW_ARRAY(t.a, uint64_t, MAX_RESULTS * ELEMENTS);
    if (!open_machines(&t, device, (uint32_t)sm)) return 3;
    int rc = run_suite(&t) ? summary(&t) : 3;
    arena_free(t.a);
    return rc;
}
