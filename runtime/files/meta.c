// See meta.h.
#define _GNU_SOURCE
#include "runtime/files/meta.h"
#include "runtime/files/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sn_meta_add(SnMetaList *m, const char *prefix, const char *key, const char *value) {
    SnMeta *grown = m->failed ? NULL : realloc(m->at, (m->n + 1) * sizeof *grown);
    char *k = NULL, *v = strdup(value);
    if (grown) m->at = grown;
    if (!grown || !v || asprintf(&k, "%s%s", prefix, key) < 0) {
        free(v);
        m->failed = true;
        return;
    }
    m->at[m->n++] = (SnMeta){k, v};
}

void sn_meta_number(SnMetaList *m, const char *prefix, const char *key, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    sn_meta_add(m, prefix, key, text);
}

char *sn_axes_text(const SnPlan *p, const SnStr *axis, uint32_t n, uint32_t first) {
    SnText t = {0};
    sn_text_add(&t, "%s", first < n ? SN_STRING(p, axis[first]) : "");
    for (uint32_t i = 0; i < n; i++)
        if (i != first) sn_text_add(&t, "%s%s", t.n ? ", " : "", SN_STRING(p, axis[i]));
    if (!t.failed) return t.text;
    free(t.text);
    return NULL;
}

void sn_meta_axes(SnMetaList *m, const SnPlan *p, const char *name, const SnStr *axis, uint32_t n,
                  uint32_t first) {
    char *text = sn_axes_text(p, axis, n, first);
    if (text)
        sn_meta_add(m, "axes.", name, text);
    else
        m->failed = true;
    free(text);
}

void sn_meta_free(SnMetaList *m) {
    for (uint32_t i = 0; i < m->n; i++) {
        free((void *)(uintptr_t)m->at[i].key);
        free((void *)(uintptr_t)m->at[i].value);
    }
    free(m->at);
    *m = (SnMetaList){0};
}
