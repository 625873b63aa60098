// See yardstick.h. Uses the matmul primitive with plain strides, as PyTorch does for linear layers.
#include "tools/yardstick.h"
#include <stdio.h>
#include <stdlib.h>
#ifdef HAVE_ONEDNN
#include <dnnl.h>
void omp_set_num_threads(int n);

struct Yardstick {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t matmul;
    dnnl_memory_desc_t md[3];
    dnnl_memory_t memory[3];
    int threads;
};

static void must(dnnl_status_t s) {
    if (s == dnnl_success) return;
    fprintf(stderr, "bench: oneDNN status %d\n", (int)s);
    exit(3);
}

static void describe(dnnl_memory_desc_t *md, int64_t batch, int64_t rows, int64_t cols, bool turned,
                     dnnl_data_type_t type) {
    dnnl_dims_t dims = {batch, rows, cols},
                strides = {rows * cols, turned ? 1 : cols, turned ? rows : 1};
    int first = batch == 1;
    must(dnnl_memory_desc_init_by_strides(md, 3 - first, dims + first, type, strides + first));
}

bool yardstick_available(void) { return true; }

Yardstick *yardstick_new(const GemmShape *p, int threads) {
    Yardstick *y = calloc(1, sizeof *y);
    if (!y) exit(3);
    y->threads = threads;
    omp_set_num_threads(threads);
    must(dnnl_engine_create(&y->engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&y->stream, y->engine, dnnl_stream_default_flags));
    dnnl_data_type_t type = p->bf16 ? dnnl_bf16 : dnnl_f32;
    describe(&y->md[0], p->batch, p->m, p->k, !p->a_k, type);
    describe(&y->md[1], p->batch, p->k, p->n, p->b_k, type);
    describe(&y->md[2], p->batch, p->m, p->n, false, dnnl_f32);
    dnnl_matmul_desc_t desc;
    must(dnnl_matmul_desc_init(&desc, &y->md[0], &y->md[1], NULL, &y->md[2]));
    dnnl_primitive_desc_t pd;
    must(dnnl_primitive_desc_create(&pd, &desc, NULL, y->engine, NULL));
    must(dnnl_primitive_create(&y->matmul, pd));
    must(dnnl_primitive_desc_destroy(pd));
    for (int i = 0; i < 3; i++)
        must(dnnl_memory_create(&y->memory[i], &y->md[i], y->engine, DNNL_MEMORY_NONE));
    return y;
}

void yardstick_run(Yardstick *y, void *const bufs[3]) {
    static const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_exec_arg_t args[3];
    omp_set_num_threads(y->threads);
    for (int i = 0; i < 3; i++) {
        must(dnnl_memory_set_data_handle(y->memory[i], bufs[i]));
        args[i] = (dnnl_exec_arg_t){names[i], y->memory[i]};
    }
    must(dnnl_primitive_execute(y->matmul, y->stream, 3, args));
    must(dnnl_stream_wait(y->stream));
}

void yardstick_free(Yardstick *y) {
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(y->memory[i]);
    dnnl_primitive_destroy(y->matmul);
    dnnl_stream_destroy(y->stream);
    dnnl_engine_destroy(y->engine);
    free(y);
}
#else
bool yardstick_available(void) { return false; }
Yardstick *yardstick_new(const GemmShape *p, int threads) {
    (void)p, (void)threads;
    return NULL;
}
void yardstick_run(Yardstick *y, void *const bufs[3]) { (void)y, (void)bufs; }
void yardstick_free(Yardstick *y) { (void)y; }
#endif
