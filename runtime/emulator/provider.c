// The emulated device as an executable's program refers to it: by one symbol, so that it is linked
// exactly where it is used.
#include "runtime/emulator/emulator.h"

const SnEmulator sn_emulator = {sn_emulator_configure, sn_emulator_api, sn_emulator_first_nan};
