// The words that kernels leave when they store a NaN (SnCudaEnv): one comes back with every run of a
// section, into pinned memory that holds as many as there may be runs on their way. What counts is the
// first of a section, and its step.
#pragma once
#include "runtime/cuda/api.h"
#include "runtime/cuda/feed.h"
#include "runtime/plan.h"
#include "runtime/sinter.h"

// A slot of the feed is free when the run that filled it has been copied, which began when the run that
// filled it before had been taken: then all runs before that one are over, which is all but the last four.
enum { SN_WATCH_WORDS = 2 * SN_FEED_SLOTS + 1 };
#define SN_NO_FAULT UINT64_MAX

typedef struct SnWatch SnWatch;
SnStatus sn_watch_open(const SnCudaApi *api, uint32_t sections, SnWatch **out, SnError *e);
void sn_watch_close(SnWatch *w);
// A run of this section begins, and a slot of the feed was free for it: where its word is to be copied to.
void *sn_watch_begin(SnWatch *w, uint32_t section, uint32_t step);
// The first NaN of the section: its word, the number of the run among all, the step. The device has nothing
// to do. False: there was none.
bool sn_watch_first(SnWatch *w, uint32_t section, uint64_t *word, uint64_t *run, uint32_t *step);
