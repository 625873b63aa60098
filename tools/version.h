// What 'sinter --version' says.
#pragma once
#include <stdio.h>

// Version, commit, and the versions of what compiles kernels. Loads NVRTC to ask it.
void version_print(FILE *to);
