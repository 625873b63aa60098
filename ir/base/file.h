// Opening the files that a model or a cache names.
#pragma once
#include <stdio.h>

// A regular file, for reading; NULL with the reason in errno for anything else. A pipe or a
// device in the place of a file is not opened: that could wait for ever.
FILE *file_open(const char *path);
