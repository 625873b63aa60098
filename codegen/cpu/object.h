// Shared by object.c and jit.c.
#pragma once
#include "codegen/cpu/llvm.h"

// Adds the function table and the programs and compiles every unit into out[]. Buffers
// are the caller's, also after a failure (NULL where there is none).
bool object_compile(CpuModule *m, const ObjectProgram *programs, uint32_t n,
                    LLVMMemoryBufferRef out[CPU_MAX_UNITS], Text *why);
