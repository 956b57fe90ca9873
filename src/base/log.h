/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.h - events for the operator.
 *
 * An event is a name and key=value fields, one line each. Names are API and are
 * listed in docs/events.md. The library writes nothing itself: a line goes to the
 * function that the embedder gave. Values are quoted and stripped where a line is
 * made, so peer bytes are safe to pass. Any thread. */
#ifndef RBK_BASE_LOG_H
#define RBK_BASE_LOG_H

#include "base/str.h"

typedef enum rbk_level { RBK_DEBUG, RBK_INFO, RBK_WARN, RBK_ERROR } rbk_level;

typedef struct rbk_log_field {
    const char *key;
    rbk_str text; /* used when `p` is not NULL */
    int64_t num;
} rbk_log_field;

typedef struct rbk_log {
    _Atomic rbk_level level; /* events below it cost nothing but this comparison; may be
                                changed at any time */
    bool json;       /* one JSON object a line in place of logfmt */
    /* `line` is NUL-terminated, without the end of line. */
    void (*write)(void *user, rbk_level level, const char *line, size_t n);
    void *user;
} rbk_log;

void rbk_log_fields(const rbk_log *log, rbk_level level, const char *event,
                    const rbk_log_field *f, size_t n);

/* rbk_event(log, RBK_WARN, "store.full", RBK_F("free", bytes), RBK_FS("path", path)) */
#define RBK_F(k, v) ((rbk_log_field){.key = (k), .num = (int64_t)(v)})
#define RBK_FS(k, v) ((rbk_log_field){.key = (k), .text = (v)})
#define RBK_FZ(k, v) ((rbk_log_field){.key = (k), .text = rbk_str_z(v)})
#define rbk_event(log, level, event, ...)                                                          \
    rbk_log_fields((log), (level), (event), (const rbk_log_field[]){__VA_ARGS__},                  \
                   sizeof((const rbk_log_field[]){__VA_ARGS__}) / sizeof(rbk_log_field))

#endif
