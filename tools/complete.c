// See complete.h. The options and their values are the rows of command.def and plan.def; tools/completion.bash
// asks. Linear in the names that there are.
#include "tools/complete.h"
#include "frontend/reference.h"
#include "runtime/setting.h"
#include "tools/roofline.h"
#include <string.h>

static void offer(const char *begun, const char *name) {
    if (strncmp(begun, name, strlen(begun)) == 0) puts(name);
}

// Words with spaces between.
static void offer_words(const char *begun, const char *words) {
    char word[64];
    for (; *words; words += strspn(words, " ")) {
        size_t n = strcspn(words, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        offer(begun, word);
        words += n;
    }
}

// One more of a list "a,b,c".
static void offer_item(const char *begun, const char *name) {
    const char *comma = strrchr(begun, ',');
    size_t before = comma ? (size_t)(comma - begun) + 1 : 0;
    if (strncmp(begun + before, name, strlen(begun + before)) == 0)
        printf("%.*s%s\n", (int)before, begun, name);
}

// ---- sinter -------------------------------------------------------------------------------------

static void offer_value(OptionId o, const char *begun) {
    const char *kind = option_info[o].values;
    if (strcmp(kind, "file") == 0) puts(":files");
    if (strcmp(kind, "folder") == 0) puts(":folders");
    if (strcmp(kind, "pass") == 0)
        for (uint32_t i = 0; i < pass_count; i++) offer(begun, pass_table[i].name);
    if (strcmp(kind, "passes") == 0)
        for (uint32_t i = 0; i < pass_count; i++) offer_item(begun, pass_table[i].name);
    if (strcmp(kind, "targets") == 0) {
        offer_item(begun, "cpu");
        for (uint32_t i = 0; cuda_target_at(i); i++) offer_item(begun, cuda_target_at(i)->name);
    }
    if (strcmp(kind, "isa") == 0) offer_words(begun, "native x86-64-v3 x86-64-v4 x86-64-v4+bf16");
    if (strcmp(kind, "gpu") == 0)
        for (uint32_t i = 0; gpu_at(i); i++) offer(begun, gpu_at(i)->name);
    if (strcmp(kind, "devices") == 0) {
        offer(begun, "cpu");
        for (uint32_t i = 0; gpu_at(i); i++) offer(begun, gpu_at(i)->short_name);
    }
}

static void offer_commands(const char *begun) {
    for (CommandId c = 0; c < COMMANDS; c++) offer(begun, command_info[c].name);
}

static void offer_input(Driver *d, CommandId c, const char *begun) {
    if (*command_info[c].files) printf(":files %s\n", command_info[c].files);
    if (c == CMD_help) offer_commands(begun);
    if (c != CMD_std) return;
    const Reference *r = reference_std(d->arena, d->diag);
    for (uint32_t i = 0; i < r->entries.n; i++) offer(begun, r->entries.at[i].name);
}

// The option that waits for a value behind `word`, or OPTIONS.
static OptionId waiting(CommandId c, const char *word) {
    for (OptionId o = 0; o < OPTIONS; o++)
        if (option_taken(o, c) && option_info[o].type != OPTION_FLAG &&
            strcmp(option_info[o].name, word) == 0)
            return o;
    return OPTIONS;
}

static void offer_argument(Driver *d, CommandId c, const char *before, const char *begun) {
    char name[64];
    const char *value = strchr(begun, '=');
    snprintf(name, sizeof name, "%.*s", (int)strcspn(begun, "="), begun);
    OptionId o = waiting(c, before);
    if (o < OPTIONS) {
        offer_value(o, begun);
    } else if (value) {
        o = waiting(c, name);
        if (o < OPTIONS) offer_value(o, value + 1);
    } else if (*begun == '-') {
        for (o = 0; o < OPTIONS; o++)
            if (option_taken(o, c)) offer(begun, option_info[o].name);
    } else {
        offer_input(d, c, begun);
    }
}

void complete_sinter(Driver *d, int n, char **words) {
    if (n <= 1) {
        const char *begun = n ? words[0] : "";
        offer_commands(begun);
        if (*begun == '-') offer_words(begun, "--help --version");
        return;
    }
    CommandId c = command_find(words[0]);
    if (c == COMMANDS) return;
    for (int i = 1; i < n - 1; i++)
        if (strcmp(words[i], "--") == 0) {
            if (c == CMD_run) complete_train(n - i - 1, words + i + 1);
            return;
        }
    offer_argument(d, c, n > 2 ? words[n - 2] : "", words[n - 1]);
}

// ---- executables --------------------------------------------------------------------------------

// Behind --set: the name of a setting, then its value.
static void offer_set(const char *begun) {
    const char *equals = strchr(begun, '=');
    char name[64];
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
        bool here = s->when == SN_RUN || s->when == SN_SCALAR;
        if (!here || strchr(s->key, '*')) continue;
        snprintf(name, sizeof name, "%s=", s->key);
        if (!equals)
            offer(begun, name);
        else if (strncmp(begun, name, strlen(name)) == 0)
            if (s->type == SN_CHOICE || s->type == SN_BOOL) offer_words(equals + 1, s->values);
    }
}

static void offer_setting(const SnSetting *s, const char *begun) {
    switch (s->type) {
    case SN_BOOL:
    case SN_CHOICE: offer_words(begun, s->values); return;
    case SN_PATH: puts(strstr(s->shown, "FILE") ? ":files" : ":folders"); return;
    case SN_SET: offer_set(begun); return;
    case SN_COUNT:
    case SN_REAL:
    case SN_TEXT:
    case SN_FLAG: return;
    }
}

// The setting that waits for a value behind "--name", n letters; NULL: none does.
static const SnSetting *waiting_setting(const char *word, size_t n) {
    const SnSetting *s =
        n > 2 && strncmp(word, "--", 2) == 0 ? sn_setting_flag(word + 2, n - 2) : NULL;
    return s && s->type != SN_FLAG ? s : NULL;
}

void complete_train(int n, char **words) {
    const char *begun = n ? words[n - 1] : "", *before = n > 1 ? words[n - 2] : "";
    const SnSetting *s = waiting_setting(before, strlen(before));
    const char *value = strchr(begun, '=');
    char flag[64];
    if (s) {
        offer_setting(s, begun);
    } else if (value) {
        s = waiting_setting(begun, (size_t)(value - begun));
        if (s) offer_setting(s, value + 1);
    } else {
        for (s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
            snprintf(flag, sizeof flag, "--%s", s->flag);
            if (*s->flag) offer(begun, flag);
        }
    }
}
