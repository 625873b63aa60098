// Opening the files that a model or a cache names.
#pragma once
#include <stdio.h>

// A regular file, for reading; NULL with the reason in errno for anything else. A pipe or a
// device in the place of a file is not opened: that could wait for ever.
FILE *file_open(const char *path);
int file_descriptor(const char *path); // the same without a FILE; -1 with errno
// What errno says of a file that cannot be read.
const char *file_fault(void);
