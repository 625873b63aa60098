// Signals that ask a run to end: SIGINT, SIGTERM, SIGHUP (a closed terminal), SIGUSR1 (a batch system's
// warning), SIGPIPE (whoever read the output has gone).
#pragma once
#include "runtime/sinter.h"

typedef struct SnSignals SnSignals;

// Takes the signals over for the process; call it before other threads are made. One that the parent
// ignores (nohup, a background job) stays ignored.
SnStatus sn_signals_open(SnSignals **out, SnError *e);
void sn_signals_close(SnSignals *s); // leaves the signals blocked
// Whether the run was asked to end. From any thread.
bool sn_signals_asked(SnSignals *s);
// Whether the parent let the process be ended by this signal.
bool sn_signals_heeded(int signal);
