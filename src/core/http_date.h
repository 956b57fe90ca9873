/* SPDX-License-Identifier: Apache-2.0 */
/* core/http_date.h - the date of an HTTP header (RFC 9110 5.6.7). Pure; any thread. */
#ifndef RBK_CORE_HTTP_DATE_H
#define RBK_CORE_HTTP_DATE_H

#include "base/str.h"

/* All three forms: "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
 * "Sun Nov  6 08:49:37 1994". A year of two digits is the one that
 * lies within 50 years of `now`. 0, or RBK_E_INVAL. */
int rbk_http_date_parse(rbk_str s, rbk_wall_ms now, rbk_wall_ms *ret);

#endif
