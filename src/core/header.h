/* SPDX-License-Identifier: Apache-2.0 */
/* core/header.h - names and values of HTTP header lines (RFC 9110 section 5). Pure. */
#ifndef RBK_CORE_HEADER_H
#define RBK_CORE_HEADER_H

#include "base/str.h"

/* A token: not empty. */
bool rbk_header_is_name(rbk_str s);
/* Visible ASCII, blanks and tabs, not empty: nothing in it may end the line or begin another. */
bool rbk_header_is_value(rbk_str s);
/* One that a delivery writes itself, or that belongs to one connection or to the framing. */
bool rbk_header_is_ours(rbk_str name);
/* Do `lines` ("Name: value\r\n" each) have one of that name? ASCII case is ignored. */
bool rbk_header_line(rbk_str lines, rbk_str name);

#endif
