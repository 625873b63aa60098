// Devices to plan for, as people write them: "64xA100-80G", "8 x H100", "rtx4090", "cpu:24G".
#pragma once
#include "ir/base/str.h"
#include "tools/roofline.h"

enum { FLEET_MOST = 1 << 16 };
typedef struct {
    const Gpu *gpu; // NULL: the CPU
    uint32_t count; // devices; 1 of the CPU
    int64_t
        memory; // bytes of each that programs can have; of the CPU as asked for, else what this machine allows
    int64_t uncertain; // bytes that the context may take more or less: the row does not say
    int64_t context;   // bytes that driver and libraries take for themselves
    int threads;       // of the CPU
} Fleet;

// False with the reason in *why, which names what is near.
bool fleet_parse(Arena *a, const char *text, Fleet *to, Text *why);
// "64 x A100 SXM 80GB", "cpu, 2 threads".
const char *fleet_text(Arena *a, const Fleet *f);
