// The page of 'sinter dump --html'; see page.c.
#pragma once
#include "tools/driver.h"

// The text of the page, with @DATA@ where the data goes.
extern const char page_html[];
extern const size_t page_html_size;

// Adds the module as it is after a pass, or before all (reason "").
void page_add(Driver *d, const char *pass, const char *reason, bool changed);
// Writes the page to d->o.html. False after reporting.
bool page_write(Driver *d);
