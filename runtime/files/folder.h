// Folders that the runtime makes, and the one whose content may be deleted at any time.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Makes a folder and all above it; one that is there is no failure. False with the reason in errno.
bool sn_folder_make(const char *path);
// Flushes a folder, so that a rename in it survives a power cut. False with the reason in errno.
bool sn_folder_sync(const char *path);
// Whether what is in the folder can be believed and executed: it belongs to this user, and nobody else may
// write there. One that is not there is private. False with the reason, which names the path, in why.
bool sn_folder_is_private(const char *path, char *why, size_t size);
// Makes it so that only this user may use it, and checks the one that is there.
bool sn_folder_make_private(const char *path, char *why, size_t size);
// $XDG_CACHE_HOME/sinter, else ~/.cache/sinter, made or not. False: the environment names neither, or
// the name is too long.
bool sn_folder_cache(char *to, size_t size);
