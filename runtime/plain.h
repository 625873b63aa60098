// Text of others on a terminal: names in files and of files may hold anything, and some bytes move the cursor
// or change what the terminal does.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Bytes of the character at s, in UTF-8: 1 where the bytes are none.
size_t sn_character(const char *s);
// Whether the character at s is a control character, or no character.
bool sn_is_control(const char *s);
// Puts '?' in the place of each of those.
void sn_plain(char *text);
