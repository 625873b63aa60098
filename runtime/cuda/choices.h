// cuBLASLt's algorithms that were measured: those of this run, and those that earlier ones left in the
// cache's folder. One file for each device and version of the library, because an algorithm means nothing
// to another.
#pragma once
#include "runtime/cuda/api.h"
#include "runtime/sinter.h"

enum { SN_LT_KEY = 384 }; // bytes of a key's text with its NUL

// Whose algorithms they are.
typedef struct {
    char device[80]; // its name
    int sm;          // 90 for compute capability 9.0
    size_t library;  // cublasLtGetVersion
} SnLtOwner;

typedef struct {
    SnLtAlgo algo;
    uint64_t ns,
        first_ns;   // of one call; of one by the library's first choice, 0: that one did not run
    uint32_t tried; // algorithms that were measured
    bool fresh;     // by this run
} SnLtKnown;

// Keys are lines of printable text that say everything an algorithm depends on.
typedef struct SnLtChoices SnLtChoices;
// Reads the file. One that is damaged, of another owner or not to be read is no failure: see the note.
SnStatus sn_choices_open(const SnLtOwner *owner, SnLtChoices **out, SnError *e);
void sn_choices_free(SnLtChoices *c);
// NULL: nobody measured it. Valid until the next put.
const SnLtKnown *sn_choices_find(const SnLtChoices *c, const char *key);
// A fresh one, in the place of what was known of the key.
SnStatus sn_choices_put(SnLtChoices *c, const char *key, const SnLtKnown *known, SnError *e);
// Writes the fresh ones beside what is in the file by now. The file appears whole or not at all, and of
// writers at the same time none loses what another wrote, unless one cannot have the lock for a second.
SnStatus sn_choices_save(const SnLtChoices *c, SnError *e);
// What of the file could not be used; "" when nothing.
const char *sn_choices_note(const SnLtChoices *c);
const char *sn_choices_file(const SnLtChoices *c); // its name; "": there is no folder for it
// The same before it is opened; false: the environment names no folder for it, or it is too long.
bool sn_choices_path(const SnLtOwner *owner, char *to, size_t size);
