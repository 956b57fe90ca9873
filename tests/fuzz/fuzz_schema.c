/* SPDX-License-Identifier: Apache-2.0 */
/* A schema in the first line, params behind it: neither may upset the checker, whatever they are;
 * and what is said of a fault is short text. */
#include "core/rpc.h"
#include "core/schema.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const rbk_schema *s, rbk_str params)
{
    rbk_schema_fault f;
    if (!rbk_schema_fits(s, params, &f) &&
        (strnlen(f.name, sizeof f.name) == sizeof f.name ||
         strnlen(f.reason, sizeof f.reason) == sizeof f.reason || f.reason[0] == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1);
    if (text == NULL)
        return 0;
    if (n)
        memcpy(text, data, n);
    text[n] = 0;
    char *line = memchr(text, '\n', n), *params = line ? line + 1 : text + n;
    rbk_str schema = {text, line ? (size_t)(line - text) : n};
    rbk_str rest = {params, n - (size_t)(params - text)};
    rbk_schema *s = NULL;
    rbk_error err = {0};
    if (rbk_schema_new(schema, &s, &err) == 0) {
        check(s, RBK_STR_NONE);
        const char *at = params;
        while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
            at++;
        if ((*at == '{' || *at == '[') && rbk_json_check(rest) == 0)
            check(s, rest);
        rbk_schema_free(s);
    }
    free(text);
    return 0;
}
