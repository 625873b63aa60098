// Failures as values: a status and one line of text. Everything else in the runtime returns these.
#include "runtime/plain.h"
#include "runtime/sinter.h"
#include <stdarg.h>
#include <stdio.h>

SnStatus sn_fail(SnError *e, SnStatus status, const char *format, ...) {
    if (!e) return status;
    va_list args;
    va_start(args, format);
    e->status = status;
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    sn_plain(e->text);
    return status;
}
