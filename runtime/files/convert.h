// From the element types of safetensors files to those of inputs, by one loop for each pair.
//
//   real inputs   take every type: rounded to nearest even; a finite number that f32 cannot hold is refused
//   int inputs    (indices too) take the whole types: outside of [least, most] is refused
//   bool inputs   take every type: 0 and 1, everything else is refused
#pragma once
#include "runtime/sinter.h"

// Makes n elements at `to` of those at `from`. Returns how many of the first are good: n, or the
// position of the first that is refused.
typedef int64_t SnConvert(const void *from, int64_t n, int64_t least, int64_t most, void *to);
// The loop from a dtype to an element type (SnElem); NULL when it does not fit.
SnConvert *sn_convert_find(const char *dtype, uint32_t elem);
// The names of the dtypes that fit, in words: "I64, I32, ...".
const char *sn_convert_fits(uint32_t elem);
// One element as text.
void sn_convert_text(const char *dtype, const void *element, char *to, size_t size);
