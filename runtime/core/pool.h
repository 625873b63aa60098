// One pool of threads for the whole run. A job is `tasks` independent tasks; threads claim ranges
// of `grain` consecutive tasks. Which thread runs which range is not fixed, so tasks must not
// depend on it. Results are the same for any number of threads because the cut into tasks never
// changes, or changes no bit.
//
// One thread at a time may call sn_pool_run, and never from inside a task.
#pragma once
#include <stdint.h>

typedef struct SnPool SnPool;

// Runs tasks [task0, task1). thread is in [0, sn_pool_threads): at most one call per thread is
// active, so that it may index private scratch memory.
typedef void (*SnTaskFn)(void *user, int64_t task0, int64_t task1, int thread);

// CPUs that this process may use: the affinity mask, cut down by the cgroup's cpu quota; at
// least 1.
int sn_pool_default_threads(void);
// threads >= 1, the caller counts as one. NULL when memory or threads are short.
SnPool *sn_pool_new(int threads);
void sn_pool_free(SnPool *pool); // NULL is allowed
int sn_pool_threads(const SnPool *pool);
// Returns when all tasks are done. grain >= 1; the cost of claiming one range is well below a
// microsecond, the cost of a job a few microseconds when threads still spin.
void sn_pool_run(SnPool *pool, int64_t tasks, int64_t grain, SnTaskFn fn, void *user);
