// One page that shows what the passes do: the module after each, as text, the decisions, and the memory plan.
// page.html is the page; here is its data, JSON without '<', so that it may stand inside of it. Linear in the
// texts.
#define _GNU_SOURCE // memmem
#include "tools/page.h"
#include "ir/view.h"
#include <errno.h>
#include <string.h>

// Text into JSON, and no '<' in it.
static void put_string(Text *to, const char *s) {
    Text json = {.arena = to->arena};
    text_put_json(&json, s);
    const char *end = json.at + json.n;
    for (const char *at = json.at; at < end;) {
        const char *less = memchr(at, '<', (size_t)(end - at));
        text_put(to, at, (size_t)((less ? less : end) - at));
        if (less) text_put(to, "\\u003c", 6);
        at = less ? less + 1 : end;
    }
}

void page_add(Driver *d, const char *pass, const char *reason, bool changed) {
    Text *to = &d->page;
    Text text = {.arena = d->scratch};
    arena_reset(d->scratch);
    text_put(&text, "", 0);
    if (changed) ir_print_module(&text, d->program->m);
    to->arena = d->arena;
    text_printf(to, "%s\n{\"name\":", to->n ? "," : "");
    put_string(to, pass);
    text_printf(to, ",\"reason\":");
    put_string(to, reason);
    text_printf(to, ",\"changed\":%s,\"text\":", changed ? "true" : "false");
    put_string(to, text.at);
    text_put(to, "}", 1);
}

// ---- the memory plan ----------------------------------------------------------------------------

// Values and the nodes between which they are needed. A part is there from its group on.
static void put_values(Text *to, const Module *m, const Func *f) {
    Users users = func_users(to->arena, f);
    uint32_t *last = NEW_ARRAY(to->arena, uint32_t, f->nodes.n + 1);
    const char *between = "";
    for (NodeId n = 0; n < f->nodes.n; n++) {
        last[n] = n;
        for (uint32_t i = users.first[n]; i < users.first[n + 1]; i++)
            if (users.list[i] > last[n] && node_at(f, users.list[i])->op != OP_part)
                last[n] = users.list[i];
    }
    for (uint32_t i = 0; i < f->results.n; i++) last[f->results.at[i].node] = f->nodes.n;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *node = node_at(f, n);
        if (node->op != OP_group && node->op != OP_part) continue;
        text_printf(to, "%s\n{\"node\":%u,\"name\":", between, n);
        put_string(to, sym_str(m->syms, node->name));
        text_printf(to,
                    ",\"region\":\"%s\",\"offset\":%lld,\"bytes\":%lld,\"from\":%u,\"to\":%u,"
                    "\"phase\":\"%c\"}",
                    region_names[f->mem.at[n].region], (long long)f->mem.at[n].offset,
                    (long long)type_bytes(type_of(m, f, n)),
                    node->op == OP_part ? operand(f, n, 0) : n, last[n], "FBWU"[node->phase]);
        between = ",";
    }
}

static void put_memory(Text *to, const Module *m) {
    const char *between = "";
    for (FuncId i = 0; i < m->funcs.n; i++) {
        const Func *f = m->funcs.at[i];
        int64_t top = 0;
        if (f->region || !f->mem.n) continue;
        for (NodeId n = 0; n < f->nodes.n; n++) {
            int64_t end = f->mem.at[n].offset + type_bytes(type_of(m, f, n));
            if (f->mem.at[n].region == REGION_temp && end > top) top = end;
        }
        text_printf(to, "%s\n{\"function\":", between);
        put_string(to, sym_str(m->syms, f->name));
        text_printf(to, ",\"nodes\":%u,\"top\":%lld,\"values\":[", f->nodes.n, (long long)top);
        put_values(to, m, f);
        text_put(to, "]}", 2);
        between = ",";
    }
}

// ---- the page -----------------------------------------------------------------------------------

// The ledger's lines are objects already: they need commas, and no '<'.
static void put_decisions(Driver *d, Text *to) {
    Text lines = {.arena = d->arena};
    ledger_print_json(d->ledger, d->diag, d->family, &lines);
    for (const char *at = lines.at, *end = at + lines.n; at < end; at++) {
        if (*at == '<')
            text_put(to, "\\u003c", 6);
        else if (*at == '\n' && at + 1 < end)
            text_put(to, ",\n", 2);
        else
            text_put(to, at, 1);
    }
}

bool page_write(Driver *d) {
    static const char mark[] = "@DATA@";
    Text t = {.arena = d->arena};
    const char *at = memmem(page_html, page_html_size, mark, sizeof mark - 1);
    CHECK(at, "page.html has no %s", mark);
    text_put(&t, page_html, (size_t)(at - page_html));
    text_printf(&t, "{\"model\":");
    put_string(&t, d->o.input);
    text_printf(&t, ",\"target\":\"%s\",\n\"kinds\":[", d->family);
    for (int i = 0; i < GROUP_COUNT; i++) text_printf(&t, "%s\"%s\"", i ? "," : "", group_names[i]);
    text_printf(&t, "],\n\"passes\":[");
    text_put(&t, d->page.at, d->page.n);
    text_printf(&t, "],\n\"decisions\":[");
    put_decisions(d, &t);
    text_printf(&t, "],\n\"memory\":[");
    put_memory(&t, d->program->m);
    text_put(&t, "]}", 2);
    at += sizeof mark - 1;
    text_put(&t, at, page_html_size - (size_t)(at - page_html));
    if (write_file(d->arena, d->o.html, t.at, t.n)) return true;
    diag_error(d->diag, (Loc){0}, "cannot write '%s': %s", d->o.html, strerror(errno));
    return false;
}
