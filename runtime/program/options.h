// The command line of a training executable: what it gives to the settings of plan.def.
#pragma once
#include "runtime/setting.h"
#include "runtime/sinter.h"

enum { SN_MAX_SETS = 32 };
typedef struct {
    const char
        *given[SN_SETTINGS]; // the text of each, checked; of a FLAG its name; NULL: not given
    const char *scalars[SN_MAX_SETS]; // "KEY=VALUE" of --set for scalars of the run
    uint32_t nscalars;
} SnOptions;

// Values are borrowed from argv. Of one setting the last value counts, whatever name gave it.
SnStatus sn_options_parse(int argc, char **argv, SnOptions *to, SnError *e);
// The value of scalar i of --set; its name goes to key.
const char *sn_options_scalar(const SnOptions *o, uint32_t i, char *key, size_t size);
// Refuses scalars that the program lacks and values that they cannot have.
SnStatus sn_options_check(const SnOptions *o, const SnPlan *plan, SnError *e);
// Refuses values of the environment's variables that are none.
SnStatus sn_environ_check(SnError *e);
// What --help says of a setting: how it is written, and what it means with what holds in this program.
typedef struct {
    char head[64], text[512];
} SnOptionHelp;
// False: it is not given to an executable by a name of its own.
bool sn_option_help(const SnPlan *plan, SnSettingId id, SnOptionHelp *to);
