// See watch.h. A word is looked at when its place is used again, when its run is over, or when somebody
// asks: so nothing waits and no run is missed.
#include "runtime/cuda/watch.h"
#include "runtime/cuda/cuda.h"
#include <stdlib.h>

typedef struct {
    uint64_t word, run;
    uint32_t step;
} First;
typedef struct {    // a run whose word has not been looked at
    First *section; // NULL: it has been
    uint64_t run;
    uint32_t step;
} Waiting;

struct SnWatch {
    const SnCudaApi *api;
    uint64_t *words; // pinned, by number of the run
    Waiting waiting[SN_WATCH_WORDS];
    uint64_t runs;
    First *first; // by section
};

SnStatus sn_watch_open(const SnCudaApi *api, uint32_t sections, SnWatch **out, SnError *e) {
    SnWatch *w = calloc(1, sizeof *w);
    if (!w) return sn_fail(e, SN_MACHINE, "out of memory");
    w->api = api;
    w->first = calloc((size_t)sections + 1, sizeof *w->first);
    void *at = NULL;
    SnStatus s =
        w->first ? sn_cuda_check(api, api->host_alloc(&at, SN_WATCH_WORDS * sizeof *w->words, 0),
                                 "pinned memory", e)
                 : sn_fail(e, SN_MACHINE, "out of memory");
    if (s) {
        sn_watch_close(w);
        return s;
    }
    w->words = at;
    for (uint32_t i = 0; i < sections; i++) w->first[i].word = SN_NO_FAULT;
    *out = w;
    return SN_OK;
}

void sn_watch_close(SnWatch *w) {
    if (!w) return;
    if (w->words) w->api->host_free(w->words);
    free(w->first);
    free(w);
}

// Takes over what word i says; its run is over.
static void look_at(SnWatch *w, uint64_t i) {
    const Waiting x = w->waiting[i];
    w->waiting[i].section = NULL;
    if (x.section && x.section->word == SN_NO_FAULT)
        *x.section = (First){w->words[i], x.run, x.step};
}

void *sn_watch_begin(SnWatch *w, uint32_t section, uint32_t step) {
    uint64_t i = w->runs % SN_WATCH_WORDS;
    look_at(w, i);
    w->waiting[i] = (Waiting){&w->first[section], w->runs++, step};
    w->words[i] = SN_NO_FAULT;
    return &w->words[i];
}

bool sn_watch_first(SnWatch *w, uint32_t section, uint64_t *word, uint64_t *run, uint32_t *step) {
    for (uint64_t i = 0; i < SN_WATCH_WORDS; i++)
        look_at(w, (w->runs + i) % SN_WATCH_WORDS); // the oldest first
    const First *f = &w->first[section];
    *word = f->word, *run = f->run, *step = f->step;
    return f->word != SN_NO_FAULT;
}
