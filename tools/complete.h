// What a shell may offer behind the words of a command line.
#pragma once
#include "tools/driver.h"

// words: of the command line after the program's name; the last one is begun, perhaps empty. Prints a candidate
// a line, or for names of files a line of its own: ":files sn ir" (those that end so, and folders), ":files" (any)
// or ":folders". Of "--name=begun" it prints what may stand behind the '='; a candidate that ends in '=' goes on.
void complete_sinter(Driver *d, int n, char **words); // of sinter
void complete_train(int n, char **words);             // of an executable that it built
