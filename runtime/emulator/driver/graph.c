// Capture and graphs of the emulated driver.
//
// While a stream is captured, what is submitted to it becomes a node that comes after the stream's
// tail. An event recorded there holds the tail, not work; a stream that waits for such an event
// joins the capture, or adds to its own tail. Each captured stream is a lane of the graph, and each
// lane becomes a queue when the graph is instantiated, so launching pushes the nodes in the order
// of their capture, each with the clocks of the nodes it comes after and nothing else: streams that
// were captured without a wait between them run in any order here too.
//
// Errors follow the manual: whatever a capture cannot hold makes it invalid, calls that could wait
// for captured work are refused to the capturing thread, and a capture ends in the stream and the
// thread that it began in, with all its work joined to that stream.
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>
#include <string.h>

// ---- sets of nodes ------------------------------------------------------------------------------

static bool set_add(EmuDriver *d, Set *s, uint32_t node) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i] == node) return true;
    if (s->n == s->room) {
        uint32_t room = s->room ? 2 * s->room : 4;
        if (!driver_grow(d, (void **)&s->at, room, sizeof *s->at)) return false;
        s->room = room;
    }
    s->at[s->n++] = node;
    return true;
}

bool set_join(EmuDriver *d, Set *s, const Set *with) {
    for (uint32_t i = 0; i < with->n; i++)
        if (!set_add(d, s, with->at[i])) return false;
    return true;
}

void set_free(Set *s) {
    free(s->at);
    *s = (Set){0};
}

// ---- graphs -------------------------------------------------------------------------------------

static void graph_release(Graph *g) {
    if (!g || --g->refs) return;
    for (uint32_t i = 0; i < g->n; i++) {
        work_release(g->nodes[i].work);
        set_free(&g->nodes[i].after);
    }
    free(g->nodes);
    free(g->lanes);
    free(g);
}

static void exec_free(EmuDriver *d, Exec *x) {
    for (uint32_t i = 0; x->queues && i < x->graph->lane_count; i++)
        if (x->queues[i] != UINT32_MAX) queue_close(d, x->queues[i]);
    free(x->queues);
    clock_free(&x->last);
    graph_release(x->graph);
    free(x);
}

void graph_free_object(EmuDriver *d, HandleKind kind, void *object) {
    if (kind == HANDLE_EXEC)
        exec_free(d, object);
    else
        graph_release(object);
}

static bool new_lane(EmuDriver *d, Graph *g, Stream *s) {
    if (!driver_grow(d, (void **)&g->lanes, g->lane_count + 1, sizeof *g->lanes)) return false;
    s->lane = g->lane_count;
    g->lanes[g->lane_count++] = s->number;
    return true;
}

// ---- capture ------------------------------------------------------------------------------------

Capture *capture_find(const EmuDriver *d, uint64_t id) {
    for (Capture *c = d->captures; c; c = c->next)
        if (c->id == id) return c;
    return NULL;
}

bool capture_forbids(EmuDriver *d) {
    bool found = false;
    for (Capture *c = d->captures; c; c = c->next) {
        bool mine = pthread_equal(c->thread, pthread_self());
        if (c->mode == 0 || (c->mode == SN_CU_CAPTURE_THREAD_LOCAL && mine))
            c->invalid = found = true;
    }
    return found;
}

int capture_add(EmuDriver *d, Stream *s, Work *work) {
    Graph *g = s->capture->graph;
    if (!driver_grow(d, (void **)&g->nodes, g->n + 1, sizeof *g->nodes)) {
        work_release(work);
        return SN_CU_OUT_OF_MEMORY;
    }
    g->nodes[g->n] = (GraphNode){.work = work, .lane = s->lane, .after = s->tail};
    s->tail = (Set){0};
    return set_add(d, &s->tail, g->n++) ? SN_CU_OK : SN_CU_OUT_OF_MEMORY;
}

int capture_record(EmuDriver *d, Stream *s, Event *e) {
    e->capture = s->capture->id;
    e->recorded = true;
    e->nodes.n = 0;
    return set_join(d, &e->nodes, &s->tail) ? SN_CU_OK : SN_CU_OUT_OF_MEMORY;
}

static int invalidate(Capture *c, int error) {
    c->invalid = true;
    return error;
}

int capture_wait(EmuDriver *d, Stream *s, const Event *e) {
    Capture *c = e->capture ? capture_find(d, e->capture) : NULL;
    if (e->capture && !c) return CU_CAPTURED_EVENT; // its capture has ended
    if (!c) return e->recorded ? invalidate(s->capture, CU_CAPTURE_ISOLATION) : SN_CU_OK;
    if (c->invalid) return SN_CU_CAPTURE_INVALIDATED;
    if (s == &d->legacy) return invalidate(c, CU_CAPTURE_IMPLICIT);
    if (s->capture && s->capture != c)
        return invalidate(c, invalidate(s->capture, CU_CAPTURE_MERGE));
    if (!s->capture) {
        if (!new_lane(d, c->graph, s)) return SN_CU_OUT_OF_MEMORY;
        s->capture = c;
        s->tail.n = 0;
    }
    return set_join(d, &s->tail, &e->nodes) ? SN_CU_OK : SN_CU_OUT_OF_MEMORY;
}

static int begin(EmuDriver *d, Stream *s, int mode) {
    if (s == &d->legacy) return SN_CU_CAPTURE_UNSUPPORTED;
    if (s->capture) return invalidate(s->capture, SN_CU_CAPTURE_UNSUPPORTED);
    Capture *c = driver_alloc(d, sizeof *c);
    Graph *g = driver_alloc(d, sizeof *g);
    if (!c || !g || !new_lane(d, g, s)) {
        free(c);
        free(g);
        return SN_CU_OUT_OF_MEMORY;
    }
    g->refs = 1;
    *c = (Capture){.next = d->captures, .id = ++d->capture_id, .mode = mode};
    c->thread = pthread_self();
    c->origin = s, c->graph = g;
    d->captures = s->capture = c;
    s->tail.n = 0;
    return SN_CU_OK;
}

int drv_capture_begin(SnCudaStream stream, int mode) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r && !s) r = SN_CU_INVALID_HANDLE;
    if (!r && (mode < 0 || mode > 2)) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : begin(d, s, mode));
}

static void mark(const Set *s, bool *reached) {
    for (uint32_t i = 0; i < s->n; i++) reached[s->at[i]] = true;
}

// Every node is in the origin's past, and so is what the other streams' next node would come after.
static bool joined(EmuDriver *d, const Capture *c) {
    const Graph *g = c->graph;
    bool *reached = driver_alloc(d, g->n), all = reached != NULL;
    if (!reached) return false;
    mark(&c->origin->tail, reached);
    for (uint32_t i = g->n; i-- > 0;) {
        all = all && reached[i];
        mark(&g->nodes[i].after, reached);
    }
    free(reached);
    return all;
}

static void capture_end(EmuDriver *d, Capture *c) {
    for (Stream *s = d->streams; s; s = s->next)
        if (s->capture == c) s->capture = NULL, s->tail.n = 0;
    Capture **at = &d->captures;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    free(c);
}

void capture_free_all(EmuDriver *d) {
    while (d->captures) {
        graph_release(d->captures->graph);
        capture_end(d, d->captures);
    }
}

static int end(EmuDriver *d, Stream *s, SnCudaGraph *graph) {
    Capture *c = s->capture;
    *graph = NULL;
    if (!c) return SN_CU_INVALID_VALUE;
    if (c->origin != s) return invalidate(c, CU_CAPTURE_UNMATCHED);
    if (c->mode != 2 && !pthread_equal(c->thread, pthread_self())) return CU_CAPTURE_WRONG_THREAD;
    int r = c->invalid ? SN_CU_CAPTURE_INVALIDATED : SN_CU_OK;
    if (!r && !joined(d, c)) r = CU_CAPTURE_UNJOINED;
    if (!r) *graph = handle_new(d, HANDLE_GRAPH, c->graph);
    if (!r && !*graph) r = SN_CU_OUT_OF_MEMORY;
    if (r) graph_release(c->graph);
    capture_end(d, c);
    return r;
}

int drv_capture_end(SnCudaStream stream, SnCudaGraph *graph) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r && !s) r = SN_CU_INVALID_HANDLE;
    if (!r && !graph) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : end(d, s, graph));
}

// ---- instances ----------------------------------------------------------------------------------

static int instantiate(EmuDriver *d, SnCudaGraphExec *exec, Graph *g) {
    Exec *x = driver_alloc(d, sizeof *x);
    if (!x) return SN_CU_OUT_OF_MEMORY;
    x->graph = g;
    g->refs++;
    x->queues = driver_alloc(d, g->lane_count * sizeof *x->queues);
    for (uint32_t i = 0; x->queues && i < g->lane_count; i++)
        x->queues[i] = queue_new(d, g->lanes[i], true);
    *exec = d->error ? NULL : handle_new(d, HANDLE_EXEC, x);
    if (*exec) return SN_CU_OK;
    exec_free(d, x);
    return SN_CU_OUT_OF_MEMORY;
}

int drv_graph_instantiate(SnCudaGraphExec *exec, SnCudaGraph graph, unsigned long long flags) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Graph *g = r ? NULL : handle_get(d, HANDLE_GRAPH, graph);
    if (!r && (!exec || flags > 15)) r = SN_CU_INVALID_VALUE;
    if (!r && !g) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : instantiate(d, exec, g));
}

// clocks: [nodes] where each node's operation is.
static void launch_nodes(EmuDriver *d, const Exec *x, const Clock *start, Clock *clocks) {
    const Graph *g = x->graph;
    for (uint32_t i = 0; i < g->n && !d->error; i++) {
        const GraphNode *node = &g->nodes[i];
        Clock after = {0};
        clock_join(d, &after, start);
        for (uint32_t q = 0; q < node->after.n; q++)
            clock_join(d, &after, &clocks[node->after.at[q]]);
        node->work->refs++;
        queue_push(d, x->queues[node->lane], node->work, &after);
        clock_join(d, &clocks[i], &d->queues[x->queues[node->lane]].clock);
        clock_free(&after);
    }
}

static int launch(EmuDriver *d, Exec *x, Stream *s) {
    Clock *clocks = driver_alloc(d, x->graph->n * sizeof *clocks);
    if (!clocks) return SN_CU_OUT_OF_MEMORY;
    Clock start = {0};
    clock_join(d, &start, stream_order(d, s));
    clock_join(d, &start, &x->last);
    launch_nodes(d, x, &start, clocks);
    clock_join(d, &x->last, &start);
    for (uint32_t i = 0; i < x->graph->n; i++) {
        clock_join(d, &x->last, &clocks[i]);
        clock_free(&clocks[i]);
    }
    clock_join(d, &d->queues[s->queue].clock, &x->last);
    clock_free(&start);
    free(clocks);
    d->counts.graph_launches++;
    return d->error;
}

// A graph within a capture is legal in CUDA; nobody here needs it.
int drv_graph_launch(SnCudaGraphExec exec, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Exec *x = r ? NULL : handle_get(d, HANDLE_EXEC, exec);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r && !x) r = SN_CU_INVALID_VALUE;
    if (!r) r = stream_check(d, s);
    if (!r && s->capture) r = invalidate(s->capture, SN_CU_NOT_SUPPORTED);
    return driver_leave(d, r ? r : launch(d, x, s));
}

static int destroy(HandleKind kind, void *handle) {
    EmuDriver *d = driver_lock();
    void *object = d->retained ? handle_get(d, kind, handle) : NULL;
    if (!object) return driver_leave(d, SN_CU_INVALID_VALUE);
    handle_free(d, handle);
    graph_free_object(d, kind, object);
    return driver_leave(d, d->error);
}

int drv_graph_destroy(SnCudaGraph graph) { return destroy(HANDLE_GRAPH, graph); }
int drv_graph_exec_destroy(SnCudaGraphExec exec) { return destroy(HANDLE_EXEC, exec); }
