// Options of the plan, of the command line and of the environment: the rows of plan.def, and the one check
// of a value, whoever gives it. The compiler reads them too, so that a value that it accepts is one that the
// executable accepts.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
#define LINE(...)
#define LATER(...)
#define GROUP(id)        SN_FIRST_##id, SN_BEFORE_##id = SN_FIRST_##id - 1,
#define SETTING(id, ...) SN_SET_##id,
#include "runtime/plan.def"
#undef SETTING
#undef GROUP
    SN_SETTINGS
} SnSettingId;

typedef enum { SN_BUILD, SN_RUN, SN_ARGUMENT, SN_SCALAR, SN_COMMAND, SN_ENVIRON } SnSource;
typedef enum {
    SN_COUNT,
    SN_REAL,
    SN_BOOL,
    SN_CHOICE,
    SN_PATH,
    SN_TEXT,
    SN_FLAG,
    SN_SET
} SnSettingType;

typedef struct {
    const char *key, *flag, *shown; // "" where it has none
    SnSource when;
    SnSettingType type;
    const char *values; // "[0, 1)", or words with spaces between
    const char *without,
        *words; // the value that holds when none is given, or NULL and the same in words
    const char *meaning;
} SnSetting;

extern const SnSetting sn_settings[SN_SETTINGS];

typedef struct {
    const char *title;
    SnSettingId first; // the group ends where the next one begins
} SnGroup;
// In order; behind the last one a row whose first setting is SN_SETTINGS.
extern const SnGroup sn_groups[];

typedef enum {
    SN_LINE_VALUE,
    SN_LINE_OPTIONS,
    SN_LINE_AXES,
    SN_LINE_CALL,
    SN_LINE_SCALED,
    SN_LINE_TYPED,
    SN_LINE_WORD,
    SN_LINE_NOTHING
} SnShape;
typedef enum { SN_PATHS_NO, SN_PATHS_MAY, SN_PATHS_MUST } SnPaths;

typedef struct {
    const char *name;
    bool later; // the compiler does not know it yet; nothing below is set
    SnShape shape;
    SnPaths paths;
    bool once;
    const char *form, *meaning;
} SnLine;

extern const SnLine sn_lines[];
extern const uint32_t sn_line_count;
const SnLine *sn_line_find(const char *name); // NULL: the language has none

// The row of a key; of "lr.floor" that of "lr.*" when it has none of its own, of "lr.GROUP.peak" that of
// "lr.peak". NULL: there is none.
const SnSetting *sn_setting_find(const char *key);
// The row of an option of the executable, n letters without "--".
const SnSetting *sn_setting_flag(const char *name, size_t n);
// A decimal number that is the whole text: no "0x1", " 1", "nan". It may be too large: then it is infinite.
bool sn_number(const char *text, double *x);
// Whether a number is a value of s.
bool sn_setting_number(const SnSetting *s, double x);
// Whether a text is a value of s. *x receives the number of a COUNT or REAL, 1 or 0 of a BOOL, which word
// of a CHOICE; x may be NULL.
bool sn_setting_text(const SnSetting *s, const char *text, double *x);
// What s takes, in words: "a whole number from 1 to 2147483647".
void sn_setting_allowed(const SnSetting *s, char *text, size_t size);
// Which of two candidates, each may be NULL, is nearer to a name that nothing has; NULL: neither is near.
const char *sn_nearer(const char *name, const char *a, const char *b);

// What the environment says of a row that is ENVIRON: a text that may be no value, or NULL.
const char *sn_setting_environ(SnSettingId id);
// The same as a number, or what holds without; the value must have been checked.
double sn_environ_number(SnSettingId id);
