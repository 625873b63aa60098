// See message.h. A writer that fails stays failed and a reader that fails yields zeros, so that whoever
// uses them asks once, at the end.
#include "runtime/comm/message.h"
#include <stdlib.h>
#include <string.h>

// ---- writing ------------------------------------------------------------------------------------

static void put(SnMessage *m, const void *bytes, size_t n) {
    if (m->n + n > SN_MESSAGE_HEAD + SN_MESSAGE_MOST) m->failed = true;
    if (m->failed) return;
    if (m->n + n > m->room) {
        size_t room = 2 * (m->n + n);
        unsigned char *grown = realloc(m->bytes, room);
        if (!grown) {
            m->failed = true;
            return;
        }
        m->bytes = grown;
        m->room = room;
    }
    if (n) memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

static void put16(SnMessage *m, uint32_t x) { put(m, &(uint16_t){(uint16_t)x}, 2); }
static void put32(SnMessage *m, uint32_t x) { put(m, &x, 4); }
static void put64(SnMessage *m, uint64_t x) { put(m, &x, 8); }

static void put_text(SnMessage *m, const char *text) {
    size_t n = text ? strlen(text) : 0;
    if (n > UINT16_MAX) m->failed = true;
    put16(m, (uint32_t)n);
    put(m, text ? text : "", n + 1);
}

static void begin(SnMessage *m, SnMessageKind kind) {
    *m = (SnMessage){0};
    put32(m, 0);
    put16(m, (uint32_t)kind);
    put16(m, SN_MESSAGE_MARK);
}

static void finish(SnMessage *m) {
    if (!m->failed) memcpy(m->bytes, &(uint32_t){(uint32_t)(m->n - SN_MESSAGE_HEAD)}, 4);
}

void sn_message_hello(SnMessage *m, const SnHello *x, const SnFact *facts) {
    begin(m, SN_MESSAGE_HELLO);
    put64(m, SN_HELLO_MAGIC);
    put32(m, x->version);
    put32(m, x->rank);
    put32(m, x->size);
    put32(m, x->pid);
    put_text(m, x->run);
    put_text(m, x->node);
    put_text(m, x->machine);
    put(m, x->cpus, SN_CPU_BYTES);
    put32(m, x->quota);
    put32(m, x->nfacts);
    for (uint32_t i = 0; i < x->nfacts; i++) {
        put_text(m, facts[i].name);
        put_text(m, facts[i].value);
    }
    finish(m);
}

void sn_message_welcome(SnMessage *m, const SnWelcome *x) {
    begin(m, SN_MESSAGE_WELCOME);
    put32(m, x->local);
    put32(m, x->locals);
    put32(m, x->machines);
    put32(m, x->threads);
    finish(m);
}

void sn_message_beat(SnMessage *m, const SnBeat *x) {
    begin(m, SN_MESSAGE_BEAT);
    put64(m, x->step);
    put32(m, x->pass);
    put_text(m, x->at);
    put32(m, x->waits);
    put32(m, x->group);
    put32(m, x->op);
    put32(m, x->since);
    put_text(m, x->name);
    put_text(m, x->line);
    put32(m, x->groups);
    for (uint32_t i = 0; i < x->groups; i++) put64(m, x->begun[i]);
    finish(m);
}

void sn_message_group(SnMessage *m, uint32_t index, const char *label, const uint32_t *ranks,
                      uint32_t n) {
    begin(m, SN_MESSAGE_GROUP);
    put32(m, index);
    put_text(m, label);
    put32(m, n);
    for (uint32_t i = 0; i < n; i++) put32(m, ranks[i]);
    finish(m);
}

void sn_message_end(SnMessage *m, const SnEnd *x) {
    begin(m, SN_MESSAGE_END);
    put32(m, x->status);
    put_text(m, x->text);
    finish(m);
}

void sn_message_bytes(SnMessage *m, SnMessageKind kind, const void *bytes, size_t n) {
    begin(m, kind);
    put(m, bytes, n);
    finish(m);
}

// ---- reading ------------------------------------------------------------------------------------

typedef struct {
    const unsigned char *at, *end;
    bool failed;
} Reader;

static const unsigned char *get(Reader *r, size_t n) {
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    r->at += n;
    return r->at - n;
}

static uint64_t get_number(Reader *r, size_t bytes) {
    uint64_t x = 0;
    const unsigned char *p = get(r, bytes);
    if (p) memcpy(&x, p, bytes);
    return x;
}
static uint32_t get32(Reader *r) { return (uint32_t)get_number(r, 4); }

static const char *get_text(Reader *r) {
    size_t n = get_number(r, 2);
    const char *text = (const char *)get(r, n + 1);
    if (text && (text[n] || memchr(text, 0, n))) r->failed = true;
    return r->failed ? "" : text;
}

static bool at_end(const Reader *r) { return !r->failed && r->at == r->end; }

bool sn_message_head(const unsigned char head[SN_MESSAGE_HEAD], SnMessageKind *kind,
                     size_t *bytes) {
    Reader r = {head, head + SN_MESSAGE_HEAD, false};
    *bytes = get32(&r);
    uint64_t k = get_number(&r, 2);
    *kind = (SnMessageKind)k;
    return get_number(&r, 2) == SN_MESSAGE_MARK && k < SN_MESSAGES && *bytes <= SN_MESSAGE_MOST;
}

bool sn_hello_decode(const unsigned char *bytes, size_t n, SnHello *to) {
    Reader r = {bytes, bytes + n, false};
    *to = (SnHello){0};
    if (get_number(&r, 8) != SN_HELLO_MAGIC) return false;
    to->version = get32(&r);
    to->rank = get32(&r);
    to->size = get32(&r);
    to->pid = get32(&r);
    if (to->version != SN_CONTROL_VERSION) return !r.failed;
    to->run = get_text(&r);
    to->node = get_text(&r);
    to->machine = get_text(&r);
    to->cpus = get(&r, SN_CPU_BYTES);
    to->quota = get32(&r);
    to->nfacts = get32(&r);
    to->facts = r.at;
    for (uint32_t i = 0; i < to->nfacts && !r.failed; i++) get_text(&r), get_text(&r);
    return at_end(&r);
}

static const char *next_text(const unsigned char **at) {
    uint16_t n;
    memcpy(&n, *at, 2);
    *at += 2 + (size_t)n + 1;
    return (const char *)*at - n - 1;
}

SnFact sn_fact_next(const unsigned char **at) {
    SnFact f = {.name = next_text(at)};
    f.value = next_text(at);
    return f;
}

bool sn_welcome_decode(const unsigned char *bytes, size_t n, SnWelcome *to) {
    Reader r = {bytes, bytes + n, false};
    to->local = get32(&r);
    to->locals = get32(&r);
    to->machines = get32(&r);
    to->threads = get32(&r);
    return at_end(&r);
}

bool sn_beat_decode(const unsigned char *bytes, size_t n, SnBeat *to) {
    Reader r = {bytes, bytes + n, false};
    *to = (SnBeat){.step = get_number(&r, 8)};
    to->pass = get32(&r);
    to->at = get_text(&r);
    uint32_t waits = get32(&r);
    to->waits = waits == 1;
    to->group = get32(&r);
    to->op = get32(&r);
    to->since = get32(&r);
    to->name = get_text(&r);
    to->line = get_text(&r);
    to->groups = get32(&r);
    if (waits > 1 || to->groups > SN_MAX_GROUPS || (waits && to->group >= to->groups)) return false;
    for (uint32_t i = 0; i < to->groups; i++) to->begun[i] = get_number(&r, 8);
    return at_end(&r);
}

bool sn_group_decode(const unsigned char *bytes, size_t n, SnGroupMessage *to) {
    Reader r = {bytes, bytes + n, false};
    *to = (SnGroupMessage){.index = get32(&r)};
    to->label = get_text(&r);
    to->n = get32(&r);
    if (to->n > SN_MAX_RANKS || to->index >= SN_MAX_GROUPS) return false;
    to->ranks = get(&r, 4 * (size_t)to->n);
    return at_end(&r);
}

uint32_t sn_group_rank(const SnGroupMessage *g, uint32_t i) {
    uint32_t x;
    memcpy(&x, g->ranks + 4 * (size_t)i, 4);
    return x;
}

bool sn_end_decode(const unsigned char *bytes, size_t n, SnEnd *to) {
    Reader r = {bytes, bytes + n, false};
    to->status = get32(&r);
    to->text = get_text(&r);
    return at_end(&r);
}
