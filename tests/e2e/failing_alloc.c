// A library to be loaded before all others (LD_PRELOAD): lets allocation number FAIL_AT fail, and with
// FAIL_ON also all that follow. FAIL_COUNT names a file for the number of allocations.
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static _Atomic long count;
static long fail_at;
static int fail_on, ready;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("FAIL_AT");
    fail_at = at ? atol(at) : 0;
    fail_on = getenv("FAIL_ON") != NULL;
    ready = 1;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAIL_COUNT");
    long all = count;
    ready = 0;
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) fprintf(f, "%ld\n", all);
    if (f) fclose(f);
}

static int fails(void) {
    if (!ready) return 0;
    long now = atomic_fetch_add(&count, 1) + 1;
    int failing = fail_at && (now == fail_at || (fail_on && now > fail_at));
    if (failing) errno = ENOMEM;
    return failing;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return fails() ? NULL : __libc_memalign(align, n); }
void *memalign(size_t align, size_t n) { return fails() ? NULL : __libc_memalign(align, n); }

int posix_memalign(void **to, size_t align, size_t n) {
    void *p = fails() ? NULL : __libc_memalign(align, n);
    if (!p) return ENOMEM;
    *to = p;
    return 0;
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t from) {
    if (flags & MAP_ANONYMOUS && fails()) return MAP_FAILED;
    return (void *)(uintptr_t)syscall(SYS_mmap, at, n, prot, flags, fd, from);
}
