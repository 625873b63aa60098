// See loader.h. Each field has one slot with a buffer. The thread takes waiting slots in the order in
// which they were asked for; a slot's buffer belongs to it only while the slot is BUSY.
#define _GNU_SOURCE
#include "runtime/files/loader.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef enum { IDLE, WAITING, BUSY, DONE } SlotState;
typedef struct {
    SlotState state;
    SnRequest request;
    uint64_t ticket; // the order of asking
    void *buffer;
    size_t bytes, size; // in use, and of the buffer
    SnStatus status;
    SnError e;
} LoaderSlot;

struct SnLoader {
    SnFill *fill;
    const void *data;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, done;
    bool stop;
    uint64_t tickets;
    int fields;
    LoaderSlot slots[];
};

static LoaderSlot *next_waiting(SnLoader *l) {
    LoaderSlot *first = NULL;
    for (int i = 0; i < l->fields; i++) {
        LoaderSlot *s = &l->slots[i];
        if (s->state == WAITING && (!first || s->ticket < first->ticket)) first = s;
    }
    return first;
}

static void *work(void *user) {
    SnLoader *l = user;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        LoaderSlot *s = next_waiting(l);
        if (!s) {
            pthread_cond_wait(&l->asked, &l->lock);
            continue;
        }
        s->state = BUSY;
        pthread_mutex_unlock(&l->lock);
        s->status = l->fill(l->data, &s->request, s->buffer, &s->e);
        pthread_mutex_lock(&l->lock);
        s->state = DONE;
        pthread_cond_broadcast(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

SnLoader *sn_loader_new(SnFill *fill, const void *data, int fields) {
    SnLoader *l = calloc(1, sizeof *l + (size_t)fields * sizeof *l->slots);
    if (!l) return NULL;
    l->fill = fill;
    l->data = data;
    l->fields = fields;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->asked, NULL);
    pthread_cond_init(&l->done, NULL);
    if (!pthread_create(&l->thread, NULL, work, l)) return l;
    free(l);
    return NULL;
}

void sn_loader_free(SnLoader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->asked);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->asked);
    pthread_cond_destroy(&l->done);
    for (int i = 0; i < l->fields; i++) free(l->slots[i].buffer);
    free(l);
}

static bool same(const SnRequest *a, const SnRequest *b) {
    return a->field == b->field && a->split == b->split && a->first == b->first &&
           a->count == b->count;
}

static bool grow(LoaderSlot *s, size_t bytes) {
    if (bytes <= s->size) return true;
    void *grown = malloc(bytes);
    if (!grown) return false;
    free(s->buffer);
    s->buffer = grown;
    s->size = bytes;
    return true;
}

void sn_loader_ask(SnLoader *l, const SnRequest *r, size_t bytes) {
    LoaderSlot *s = &l->slots[r->field];
    pthread_mutex_lock(&l->lock);
    bool known = s->state != IDLE && same(&s->request, r);
    if (!known && s->state != BUSY && grow(s, bytes)) {
        s->state = WAITING;
        s->request = *r;
        s->bytes = bytes;
        s->ticket = l->tickets++;
        pthread_cond_signal(&l->asked);
    }
    pthread_mutex_unlock(&l->lock);
}

bool sn_loader_take(SnLoader *l, const SnRequest *r, void *to, SnStatus *status, SnError *e) {
    LoaderSlot *s = &l->slots[r->field];
    pthread_mutex_lock(&l->lock);
    bool mine = s->state != IDLE && same(&s->request, r);
    while (s->state == BUSY || (mine && s->state == WAITING)) pthread_cond_wait(&l->done, &l->lock);
    s->state = IDLE;
    pthread_mutex_unlock(&l->lock);
    if (!mine) return false;
    *status = s->status;
    if (s->status) return sn_fail(e, s->status, "%s", s->e.text), true;
    memcpy(to, s->buffer, s->bytes);
    return true;
}
