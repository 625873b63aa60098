// libFuzzer on the safetensors reader: any bytes are accepted or refused, never a fault, and what is
// accepted can be read in full. Build with -DFUZZ=ON and clang.
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void read_everything(SnSafetensors *st) {
    for (uint32_t i = 0; i < sn_st_count(st); i++) {
        const SnTensorInfo *t = sn_st_at(st, i);
        void *to = malloc(t->bytes + 1);
        if (!to || sn_st_read(st, t, 0, t->bytes, to, NULL) || sn_st_find(st, t->name) != t)
            abort();
        free(to);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    SnSafetensors *st;
    // The header alone: most inputs get further this way.
    if (!sn_st_parse((const char *)bytes, n, 16, &st, NULL)) sn_st_close(st);
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!sn_st_open(path, &st, NULL)) {
        read_everything(st);
        sn_st_close(st);
    }
    close(fd);
    return 0;
}
