// See plain.h. Compiled for the baseline: messages come before the CPU is checked.
#include "runtime/plain.h"
#include <string.h>

size_t sn_character(const char *s) {
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 1;
    return n;
}

bool sn_is_control(const char *s) {
    unsigned char c = (unsigned char)*s;
    return sn_character(s) == 1 ? c < 0x20 || c >= 0x7f : c == 0xc2 && (unsigned char)s[1] < 0xa0;
}

void sn_plain(char *text) {
    char *to = text;
    for (const char *from = text; *from;) {
        size_t n = sn_character(from);
        bool control = sn_is_control(from);
        if (control)
            *to++ = '?';
        else
            memmove(to, from, n), to += n;
        from += n;
    }
    *to = 0;
}
