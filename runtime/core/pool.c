// The thread pool: claims by one atomic word, spins a little, then parks on a futex.
//
// Why not OpenMP: the executable needs libc alone, and kernels are so short (a few microseconds)
// that waking threads for each would cost more than the kernel.
//
// The ticket holds the job's number (44 bits) and the next range to claim (20 bits). To claim is to
// compare-and-swap ticket -> ticket + 1. The description of the job is read before and is valid
// when the swap succeeds: it changes only while the ticket says CLOSED under a new number, and
// numbers never repeat in practice (2^44 jobs). So a thread that sleeps through a job misses it and
// nobody waits for it; the caller waits for the ranges that were claimed, not for threads.
//
// Lost wake-ups cannot happen: a worker counts itself as parked, looks at the ticket again and only
// then sleeps on `wake`; the caller opens the ticket and then looks at the count (both sequentially
// consistent), so at least one of them sees the other.
#define _GNU_SOURCE
#include "runtime/core/pool.h"
#include "runtime/core/cgroup.h"
#include <assert.h>
#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RANGE_BITS = 20, SPINS_WORKER = 4000, SPINS_CALLER = 4000 };
#define RANGE_MASK ((UINT64_C(1) << RANGE_BITS) - 1)
#define CLOSED     RANGE_MASK // as range number: nothing to claim

typedef struct {
    SnPool *pool;
    int thread;
    pthread_t id;
} Worker;

struct SnPool {
    alignas(64) _Atomic uint64_t ticket;
    alignas(64) _Atomic uint64_t done; // ranges finished in this job
    alignas(64) _Atomic uint32_t wake; // futex word, bumped to wake workers
    _Atomic uint32_t parked;
    _Atomic uint32_t stop;
    // The job. Atomic because a late worker may read them while they change; it then fails to
    // claim.
    alignas(64) _Atomic(SnTaskFn) fn;
    _Atomic(void *) user;
    _Atomic int64_t tasks, grain;
    int threads, started;
    Worker *workers; // threads - 1
};

static int64_t ranges_of(int64_t tasks, int64_t grain) { return (tasks + grain - 1) / grain; }

// Claims and runs ranges until none are left. Returns false if there was nothing to claim.
static bool work(SnPool *p, int thread) {
    bool any = false;
    uint64_t t = atomic_load_explicit(&p->ticket, memory_order_acquire);
    for (;;) {
        uint64_t range = t & RANGE_MASK;
        int64_t tasks = atomic_load_explicit(&p->tasks, memory_order_relaxed);
        int64_t grain = atomic_load_explicit(&p->grain, memory_order_relaxed);
        SnTaskFn fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        void *user = atomic_load_explicit(&p->user, memory_order_relaxed);
        if (range == CLOSED || (int64_t)range >= ranges_of(tasks, grain)) return any;
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &t, t + 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        int64_t task0 = (int64_t)range * grain;
        int64_t task1 = task0 + grain < tasks ? task0 + grain : tasks;
        fn(user, task0, task1, thread);
        any = true;
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
        t = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, (uint32_t *)(void *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (uint32_t *)(void *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

// Waits until the ticket differs from `seen` (a finished job) or the pool stops.
static void wait_for_job(SnPool *p, uint64_t seen) {
    for (int i = 0; i < SPINS_WORKER; i++) {
        if (atomic_load_explicit(&p->ticket, memory_order_relaxed) != seen) return;
        _mm_pause();
    }
    uint32_t wake = atomic_load(&p->wake);
    atomic_fetch_add(&p->parked, 1);
    if (atomic_load(&p->ticket) == seen && !atomic_load(&p->stop)) futex_wait(&p->wake, wake);
    atomic_fetch_sub(&p->parked, 1);
}

static void *worker_main(void *arg) {
    Worker *w = arg;
    SnPool *p = w->pool;
    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        uint64_t seen = atomic_load_explicit(&p->ticket, memory_order_relaxed);
        if (!work(p, w->thread)) wait_for_job(p, seen);
    }
    return NULL;
}

// Opens a job that nobody is working on yet.
static void publish(SnPool *p, int64_t tasks, int64_t grain, SnTaskFn fn, void *user) {
    uint64_t job = (atomic_load(&p->ticket) >> RANGE_BITS) + 1;
    atomic_store(&p->ticket, job << RANGE_BITS | CLOSED);
    atomic_thread_fence(memory_order_release); // CLOSED is seen before any new field
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->user, user, memory_order_relaxed);
    atomic_store_explicit(&p->tasks, tasks, memory_order_relaxed);
    atomic_store_explicit(&p->grain, grain, memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store(&p->ticket, (job + 1) << RANGE_BITS);
    if (atomic_load(&p->parked)) {
        atomic_fetch_add(&p->wake, 1);
        futex_wake_all(&p->wake);
    }
}

void sn_pool_run(SnPool *p, int64_t tasks, int64_t grain, SnTaskFn fn, void *user) {
    assert(grain >= 1 && tasks >= 0);
    if (tasks == 0) return;
    if (p->threads == 1 || tasks <= grain) {
        fn(user, 0, tasks, 0);
        return;
    }
    int64_t most = (int64_t)RANGE_MASK - 1; // keep range numbers below CLOSED
    if (ranges_of(tasks, grain) > most) grain = tasks / most + 1;
    uint64_t ranges = (uint64_t)ranges_of(tasks, grain);
    publish(p, tasks, grain, fn, user);
    work(p, 0);
    for (int spins = 0; atomic_load_explicit(&p->done, memory_order_acquire) != ranges; spins++) {
        if (spins < SPINS_CALLER)
            _mm_pause();
        else
            sched_yield(); // the thread that we wait for has lost its CPU
    }
}

int sn_pool_threads(const SnPool *p) { return p->threads; }

SnPool *sn_pool_new(int threads) {
    assert(threads >= 1);
    SnPool *p = aligned_alloc(64, sizeof *p);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    atomic_store(&p->ticket, CLOSED);
    p->threads = threads;
    p->workers = calloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) {
        free(p);
        return NULL;
    }
    for (; p->started < threads - 1; p->started++) {
        Worker *w = &p->workers[p->started];
        w->pool = p;
        w->thread = p->started + 1;
        if (pthread_create(&w->id, NULL, worker_main, w)) {
            sn_pool_free(p);
            return NULL;
        }
    }
    return p;
}

void sn_pool_free(SnPool *p) {
    if (!p) return;
    atomic_store(&p->stop, 1);
    atomic_store(&p->ticket, ((atomic_load(&p->ticket) >> RANGE_BITS) + 1) << RANGE_BITS | CLOSED);
    atomic_fetch_add(&p->wake, 1);
    futex_wake_all(&p->wake);
    for (int i = 0; i < p->started; i++) pthread_join(p->workers[i].id, NULL);
    free(p->workers);
    free(p);
}

static int affinity_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

int sn_pool_default_threads(void) {
    int n = affinity_cpus();
    double limit = sn_cgroup_limits("/proc/self/cgroup", "/sys/fs/cgroup").cpus;
    if (limit >= n) return n;
    return limit < 1 ? 1 : (int)limit;
}
