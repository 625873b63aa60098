// What stands in a checkpoint file, for those who name, find and remove the files (checkpoint_dir.c).
#pragma once
#include "runtime/safetensors.h"

// Writes a whole checkpoint to fd, which is empty and can be read too.
SnStatus sn_checkpoint_write(SnExec *x, const SnProgress *at, int fd, SnError *e);
// Restores the states, the scalars and the progress. A failure before the states are read changes
// nothing; one while they are leaves some of each. *damaged: the file is at fault as a file, not for
// being of another model. x NULL: only looks for damage.
SnStatus sn_checkpoint_read(SnExec *x, SnSafetensors *st, SnProgress *at, bool *damaged,
                            SnError *e);
