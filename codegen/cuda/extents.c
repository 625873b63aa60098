// Folding of extents. The code generator folds what it lowers, but a product may also come from a
// dumped plan or a test, and extents of 1 carry strides that mean nothing.
#include "codegen/cuda/extents.h"

Extents extents_of(const SnDim *d, uint32_t n, bool swap) {
    Extents x = {.size = 1};
    for (uint32_t i = 0; i < n; i++) {
        SnDim e = d[i];
        if (swap) e.a = d[i].b, e.b = d[i].a;
        x.size *= e.extent;
        if (e.extent == 1) continue;
        SnDim *last = x.count ? &x.dim[x.count - 1] : NULL;
        if (last && last->a == e.a * e.extent && last->b == e.b * e.extent &&
            last->c == e.c * e.extent)
            *last = (SnDim){last->extent * e.extent, e.a, e.b, e.c};
        else
            x.dim[x.count++] = e;
    }
    return x;
}
