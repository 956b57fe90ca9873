/* SPDX-License-Identifier: Apache-2.0 */
/* core/hosts.h - globs of host names and addresses: `callback.hosts`, and those of a caller.
 *
 * `*` is any text without a dot, `**` any text, both perhaps empty. Never changed once read: any
 * number of threads may ask. */
#ifndef RBK_CORE_HOSTS_H
#define RBK_CORE_HOSTS_H

#include "core/dsn.h"

typedef struct rbk_glob {
    size_t n;
    char p[RBK_HOST_MAX + 1];
} rbk_glob;

typedef struct rbk_hosts {
    rbk_glob *v;
    size_t n; /* 0: every host fits */
} rbk_hosts;

enum { RBK_HOSTS_MAX = 1024 }; /* globs of one list */

/* Add the globs of a comma-separated list; names are lower-cased, a trailing dot goes. 0, or
 * RBK_E_CONFIG with `key` and the item in `err`, or RBK_E_NOMEM. */
int rbk_hosts_read(rbk_hosts *h, const char *key, rbk_str list, rbk_error *err);
void rbk_hosts_free(rbk_hosts *h);

/* `host` as rbk_dsn.host_lower has it. */
bool rbk_hosts_fit(const rbk_hosts *h, rbk_str host);
/* Does a glob fit the host that spells out the part that makes it special, letter by letter?
 * "*.corp.internal" does so for "a.corp.internal" under "internal", and "**" never. */
bool rbk_hosts_name(const rbk_hosts *h, rbk_str host, rbk_str suffix);
/* Is `name` the suffix, or under it? */
bool rbk_hosts_is_under(rbk_str name, rbk_str suffix);

#endif
