// Opening the files that people name. A pipe in the place of a file would make the open wait for
// somebody who writes, and opening a device can do something to it; so neither is opened.
#pragma once
#include "runtime/sinter.h"

// What a program does before it opens anything: descriptors 0 to 2 that its parent has closed lead
// nowhere, so that no file gets one of them and what is printed lands in none; writing beyond the limit
// of a file's size is an error and not the end.
void sn_file_prepare(void);
// Whose fault a failed call is by its errno: SN_USER where another name or other rights help.
SnStatus sn_file_status(int error);
// Opens a regular file for reading and says how long it is. What it is instead (a folder, a pipe, a
// device, a socket) is in the message, which begins with the path. SN_MACHINE: no descriptor, no memory.
SnStatus sn_file_open(const char *path, int *fd, int64_t *size, SnError *e);
// Makes a new file DIR/.NAME.KEY.tmp that nobody else knows, to be written and renamed.
SnStatus sn_file_temporary(const char *dir, const char *name, char *path, size_t size, int *fd,
                           SnError *e);
// Syncs what was written to fd, closes it, and gives it its final name. After a failure there or before
// (status), it is removed. The texts name no file.
SnStatus sn_file_finish(int fd, const char *temporary, const char *path, SnStatus status,
                        SnError *e);
// Whether both names are of one file that is there.
bool sn_file_same(const char *a, const char *b);
// Sees to it that `files` more files can be open at once, and a few for the rest of the run: raises the
// soft limit of descriptors as far as the hard one. what: for the message, "data".
SnStatus sn_file_reserve(uint64_t files, const char *what, SnError *e);
