// Parses the command line by the rows of plan.def, from which --help is printed too. Compiled for the
// baseline: it runs before the CPU is checked. Values are borrowed from argv.
#include "runtime/program/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- help ---------------------------------------------------------------------------------------

bool sn_option_help(const SnPlan *plan, SnSettingId id, SnOptionHelp *to) {
    const SnSetting *s = &sn_settings[id];
    const SnScalar *scalar = s->when == SN_SCALAR ? sn_plan_scalar(plan, s->key) : NULL;
    const char *without = s->without ? s->without : s->words;
    char number[32];
    if (s->when == SN_BUILD || s->when == SN_ARGUMENT || (s->when == SN_SCALAR && !scalar))
        return false;
    if (scalar) {
        snprintf(number, sizeof number, "%g", scalar->value);
        without = number;
    }
    if (*s->flag)
        snprintf(to->head, sizeof to->head, "--%s%s%s", s->flag, *s->shown ? " " : "", s->shown);
    else
        snprintf(to->head, sizeof to->head, "%s%s", s->when == SN_ENVIRON ? "" : "--set ", s->key);
    if (s->when == SN_RUN) without = sn_plan_option(plan, s->key, without);
    snprintf(to->text, sizeof to->text, "%s%s%s", s->meaning, *without ? "; default: " : "",
             without);
    return true;
}

// ---- values -------------------------------------------------------------------------------------

// How a value that is none was given: "--steps" or "--set data.split".
static SnStatus refuse(const SnSetting *s, const char *how, const char *key, const char *text,
                       SnError *e) {
    char allowed[96];
    sn_setting_allowed(s, allowed, sizeof allowed);
    return *text ? sn_fail(e, SN_USER, "%s%s takes %s, not '%.200s'", how, key, allowed, text)
                 : sn_fail(e, SN_USER, "%s%s takes %s, not an empty text", how, key, allowed);
}

static SnStatus unknown_key(const char *key, const SnPlan *plan, SnError *e) {
    const char *near = NULL;
    for (uint32_t i = 0; i < SN_SETTINGS; i++)
        if (sn_settings[i].when == SN_RUN) near = sn_nearer(key, near, sn_settings[i].key);
    for (uint32_t i = 0; i < plan->scalars.count; i++) {
        const char *name = SN_STRING(plan, SN_AT(plan, SnScalar, scalars)[i].name);
        const SnSetting *s = sn_setting_find(name);
        if (s && s->when == SN_SCALAR) near = sn_nearer(key, near, name);
    }
    return near ? sn_fail(e, SN_USER, "--set: this program has no '%.100s'; did you mean '%s'?",
                          key, near)
                : sn_fail(e, SN_USER,
                          "--set: this program has no '%.100s'; --info lists what it has", key);
}

static SnStatus parse_set(const char *text, SnOptions *to, SnError *e) {
    const char *equals = strchr(text, '=');
    char key[128];
    if (!equals || equals == text)
        return sn_fail(e, SN_USER, "--set takes KEY=VALUE, not '%.200s'", text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text < 127 ? equals - text : 127), text);
    const SnSetting *s = sn_setting_find(key);
    if (s && (s->when == SN_BUILD || s->when == SN_ARGUMENT))
        return sn_fail(e, SN_USER,
                       "--set: '%s' is fixed when the program is built, with -D or in the plan",
                       key);
    if (s && s->when == SN_RUN) {
        if (!sn_setting_text(s, equals + 1, NULL)) return refuse(s, "--set ", key, equals + 1, e);
        to->given[s - sn_settings] = equals + 1;
        return SN_OK;
    }
    if (to->nscalars == SN_MAX_SETS)
        return sn_fail(e, SN_USER, "--set may be given for %d scalars", SN_MAX_SETS);
    to->scalars[to->nscalars++] = text;
    return SN_OK;
}

const char *sn_options_scalar(const SnOptions *o, uint32_t i, char *key, size_t size) {
    const char *equals = strchr(o->scalars[i], '=');
    snprintf(key, size, "%.*s", (int)(equals - o->scalars[i]), o->scalars[i]);
    return equals + 1;
}

SnStatus sn_options_check(const SnOptions *o, const SnPlan *plan, SnError *e) {
    for (uint32_t i = 0; i < o->nscalars; i++) {
        char key[128];
        const char *value = sn_options_scalar(o, i, key, sizeof key);
        const SnSetting *s = sn_setting_find(key);
        if (!s || s->when != SN_SCALAR || !sn_plan_scalar(plan, key))
            return unknown_key(key, plan, e);
        if (!sn_setting_text(s, value, NULL)) return refuse(s, "--set ", key, value, e);
    }
    return SN_OK;
}

SnStatus sn_environ_check(SnError *e) {
    for (int i = 0; i < SN_SETTINGS; i++) {
        const SnSetting *s = &sn_settings[i];
        const char *text = s->when == SN_ENVIRON ? sn_setting_environ((SnSettingId)i) : NULL;
        if (text && !sn_setting_text(s, text, NULL)) return refuse(s, "", s->key, text, e);
    }
    return SN_OK;
}

// ---- the command line ---------------------------------------------------------------------------

static SnStatus unknown_flag(const char *arg, size_t n, SnError *e) {
    char name[64];
    const char *near = NULL;
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), arg + 2);
    for (uint32_t i = 0; i < SN_SETTINGS; i++)
        if (*sn_settings[i].flag) near = sn_nearer(name, near, sn_settings[i].flag);
    return near ? sn_fail(e, SN_USER, "unknown option '--%s'; did you mean '--%s'?", name, near)
                : sn_fail(e, SN_USER, "unknown option '--%s'; --help lists the options", name);
}

SnStatus sn_options_parse(int argc, char **argv, SnOptions *to, SnError *e) {
    memset(to, 0, sizeof *to);
    for (int i = 1; i < argc; i++) {
        const char *arg = strcmp(argv[i], "-h") ? argv[i] : "--help";
        if (strncmp(arg, "--", 2) || !arg[2])
            return sn_fail(e, SN_USER, "unexpected argument '%.200s'; --help lists the options",
                           arg);
        const char *name = arg + 2, *value = strchr(name, '=');
        size_t n = value ? (size_t)(value - name) : strlen(name);
        const SnSetting *s = sn_setting_flag(name, n);
        if (!s) return unknown_flag(arg, n, e);
        bool flag = s->type == SN_FLAG;
        if (flag && value) return sn_fail(e, SN_USER, "--%s takes no value", s->flag);
        if (value) value++;
        if (!flag && !value) value = ++i < argc ? argv[i] : NULL;
        if (!flag && !value)
            return sn_fail(e, SN_USER, "--%s needs a value: %s", s->flag, s->shown);
        if (s->type == SN_SET) {
            SnStatus status = parse_set(value, to, e);
            if (status) return status;
            continue;
        }
        if (!flag && !sn_setting_text(s, value, NULL)) return refuse(s, "--", s->flag, value, e);
        to->given[s - sn_settings] = flag ? s->flag : value;
    }
    return SN_OK;
}
