/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_doc.c - the option table for people: Markdown for
 * docs/configuration.md, text for `ringback help`. No state; any thread. */
#include "server/options_impl.h"

/* A `|` would end the cell. */
static void add_cell(rbk_buf *b, const char *text)
{
    rbk_buf_lit(b, " ");
    for (; *text; text++) {
        if (*text == '|')
            rbk_buf_c(b, '\\');
        rbk_buf_c(b, *text);
    }
    rbk_buf_lit(b, " |");
}

static void add_code_cell(rbk_buf *b, const char *text)
{
    rbk_buf_addf(b, text[0] ? " `%s` |" : "%s |", text);
}

static void add_markdown_row(rbk_buf *b, const rbk_option *opt)
{
    rbk_buf range = RBK_BUF(256);
    rbk_option_range(opt, &range);
    rbk_buf_addf(b, "| `%s` |", opt->name);
    add_code_cell(b, opt->def);
    rbk_buf_addf(b, " %.*s | %s |", RBK_FMT(rbk_buf_view(&range)), opt->reload ? "yes" : "no");
    add_cell(b, opt->help);
    rbk_buf_lit(b, "\n");
    rbk_buf_free(&range);
}

static void add_text_row(rbk_buf *b, const rbk_option *opt, const char *prefix)
{
    rbk_buf_addf(b, "  %s%s=%s\n      ", prefix, opt->name, opt->def);
    for (const char *c = opt->help; *c; c++)
        if (*c != '`')
            rbk_buf_c(b, *c);
    rbk_buf_lit(b, "\n");
}

static void add_section(rbk_buf *b, const char *title)
{
    rbk_buf_addf(b, "\n### `[%s]`\n\n| key | default | takes | reload | meaning |\n|---|---|---|---|---|\n",
                 title);
}

static void add_table(rbk_buf *b, const rbk_option *table, const char *rule, bool markdown)
{
    const char *section = "";
    for (const rbk_option *opt = table; opt->name; opt++) {
        if (markdown && strcmp(section, opt->section) != 0)
            add_section(b, rule ? "method \"pattern\"" : opt->section);
        section = opt->section;
        rbk_buf prefix = RBK_BUF(64);
        rbk_buf_addf(&prefix, "%s.%s", opt->section, rule ? rule : "");
        rbk_buf_c(&prefix, 0);
        if (markdown)
            add_markdown_row(b, opt);
        else
            add_text_row(b, opt, prefix.err ? "" : prefix.p);
        rbk_buf_free(&prefix);
    }
}

void rbk_options_doc(rbk_buf *b, bool markdown)
{
    add_table(b, rbk_option_table, NULL, markdown);
    add_table(b, rbk_option_rule_table, "\"pattern\".", markdown);
}
