// The text of bench_torch.py, in the program.
#pragma once
#include <stddef.h>
extern const char bench_torch_py[];
extern const size_t bench_torch_py_size;
