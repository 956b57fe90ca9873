/* SPDX-License-Identifier: Apache-2.0 */
/* core/dsn.c - see dsn.h.
 *
 * Reads the text once, from left to right: size and control characters, scheme, the
 * characters of all the rest, authority, host, port, target. What the grammar of
 * RFC 3986 does not hold is refused, never mended, and these narrow it further:
 *   - host labels are letters, digits, "-" and "_", 1 to 63 of them, no "-" at either
 *     end, 253 in all, perhaps one trailing dot; nothing is percent-decoded;
 *   - a host whose last label is a number (decimal or 0x…) must be a canonical dotted
 *     quad: other readers take "127.1" or "0x7f.1" for an address;
 *   - IPv6 literals have no zone, and IPvFuture is unknown;
 *   - a port is 1 to 65535 without leading zeros, and not empty;
 *   - no user info, no fragment.
 * Path and query go out as they came, dot segments included. Pure; any thread. */
#include "core/dsn.h"

#include <stdio.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return rbk_lower(c) >= 'a' && rbk_lower(c) <= 'z';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = rbk_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_digits(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return true;
}

static rbk_str skip(rbk_str s, size_t n)
{
    return (rbk_str){s.p + n, s.n - n};
}

/* Where the first of the two bytes stands, or the length. */
static size_t find_either(rbk_str s, const char pair[2])
{
    size_t i = 0;
    while (i < s.n && s.p[i] != pair[0] && s.p[i] != pair[1])
        i++;
    return i;
}

bool rbk_list_next(rbk_str *list, rbk_str *ret_item)
{
    if (list->n == 0)
        return false;
    size_t n = find_either(*list, ",,");
    *ret_item = rbk_str_trim((rbk_str){list->p, n});
    *list = skip(*list, n < list->n ? n + 1 : n);
    return true;
}

static bool list_has(rbk_str list, const char *z)
{
    rbk_str item;
    while (rbk_list_next(&list, &item))
        if (rbk_str_eqz(item, z))
            return true;
    return false;
}

/* ---- addresses ---- */

/* One number of a dotted quad; the bytes that it takes, 0 when it is none. */
static size_t parse_octet(rbk_str s, uint8_t *ret)
{
    unsigned v = 0;
    size_t n = 0;
    while (n < s.n && n < 3 && is_digit(s.p[n]))
        v = v * 10 + (unsigned)(s.p[n++] - '0');
    if (n == 0 || v > 255 || (n > 1 && s.p[0] == '0'))
        return 0;
    *ret = (uint8_t)v;
    return n;
}

int rbk_parse_ipv4(rbk_str s, uint8_t ret_addr[4])
{
    uint8_t a[4];
    for (int i = 0;; i++) {
        size_t n = parse_octet(s, &a[i]);
        if (n == 0)
            return RBK_E_INVAL;
        s = skip(s, n);
        if (i == 3)
            break;
        if (s.n == 0 || s.p[0] != '.')
            return RBK_E_INVAL;
        s = skip(s, 1);
    }
    if (s.n)
        return RBK_E_INVAL;
    memcpy(ret_addr, a, sizeof a);
    return 0;
}

/* One to four hex digits; the bytes that they take, 0 when there are none. */
static size_t parse_group(rbk_str s, uint8_t out[2])
{
    unsigned v = 0;
    size_t n = 0;
    while (n < s.n && n < 4 && hex_value(s.p[n]) >= 0)
        v = v << 4 | (unsigned)hex_value(s.p[n++]);
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
    return n;
}

/* The "::" stands for zeros at byte `gap`, so the `n - gap` bytes behind it move to the end. */
static int fill_gap(uint8_t a[16], size_t n, size_t gap, uint8_t ret_addr[16])
{
    if (n > 14)
        return RBK_E_INVAL;
    memset(ret_addr, 0, 16);
    memcpy(ret_addr, a, gap);
    memcpy(ret_addr + 16 - (n - gap), a + gap, n - gap);
    return 0;
}

int rbk_parse_ipv6(rbk_str s, uint8_t ret_addr[16])
{
    enum { NO_GAP = 17 };
    uint8_t a[16] = {0};
    size_t n = 0, gap = NO_GAP;
    if (rbk_str_starts(s, RBK_STR("::"))) {
        gap = 0;
        s = skip(s, 2);
    } else if (s.n == 0) {
        return RBK_E_INVAL;
    }
    while (s.n) {
        uint8_t group[2];
        size_t w = parse_group(s, group);
        if (w < s.n && s.p[w] == '.') {
            if (n > 12 || rbk_parse_ipv4(s, a + n) < 0)
                return RBK_E_INVAL;
            n += 4;
            break;
        }
        if (w == 0 || n == 16)
            return RBK_E_INVAL;
        memcpy(a + n, group, 2);
        n += 2;
        s = skip(s, w);
        if (s.n == 0)
            break;
        if (s.n == 1 || s.p[0] != ':') /* something else, or a colon at the end */
            return RBK_E_INVAL;
        s = skip(s, 1);
        if (s.p[0] == ':') {
            if (gap != NO_GAP)
                return RBK_E_INVAL;
            gap = n;
            s = skip(s, 1);
        }
    }
    if (gap != NO_GAP)
        return fill_gap(a, n, gap, ret_addr);
    if (n != 16)
        return RBK_E_INVAL;
    memcpy(ret_addr, a, 16);
    return 0;
}

/* First of the longest runs of two or more zero groups: index in `*ret_at`, length returned. */
static int find_zero_run(const uint16_t g[8], int *ret_at)
{
    int best = 1, run = 0;
    *ret_at = -1;
    for (int i = 0; i < 8; i++) {
        run = g[i] ? 0 : run + 1;
        if (run > best) {
            best = run;
            *ret_at = i + 1 - run;
        }
    }
    return best;
}

static void format_ipv6(const uint8_t *a, char out[46])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint16_t g[8];
    int at, n = 0;
    if (memcmp(a, mapped, 12) == 0) {
        snprintf(out, 46, "::ffff:%u.%u.%u.%u", a[12], a[13], a[14], a[15]);
        return;
    }
    for (int i = 0; i < 8; i++)
        g[i] = (uint16_t)(a[2 * i] << 8 | a[2 * i + 1]);
    int run = find_zero_run(g, &at);
    for (int i = 0; i < 8; i++) {
        if (i == at) {
            n += snprintf(out + n, (size_t)(46 - n), "::");
            i += run - 1;
        } else {
            const char *colon = i == 0 || i == at + run ? "" : ":";
            n += snprintf(out + n, (size_t)(46 - n), "%s%x", colon, g[i]);
        }
    }
}

void rbk_format_addr(rbk_host_kind kind, const uint8_t *addr, char out[46])
{
    if (kind == RBK_HOST_IPV4)
        snprintf(out, 46, "%u.%u.%u.%u", addr[0], addr[1], addr[2], addr[3]);
    else
        format_ipv6(addr, out);
}

/* ---- the parts ---- */

static bool has_control(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    return false;
}

/* The length of the scheme in front of the first ":", 0 without one. */
static size_t scheme_len(rbk_str s)
{
    size_t n = 0;
    while (n < s.n && (is_alpha(s.p[n]) || (n > 0 && (is_digit(s.p[n]) || s.p[n] == '+' ||
                                                      s.p[n] == '-' || s.p[n] == '.'))))
        n++;
    return n < s.n && s.p[n] == ':' ? n : 0;
}

static rbk_dsn_fault parse_scheme(rbk_str text, rbk_str schemes, rbk_dsn *ret)
{
    size_t n = scheme_len(text);
    if (n == 0)
        return RBK_DSN_NO_PROTOCOL;
    if (n >= sizeof ret->scheme_lower)
        return RBK_DSN_PROTOCOL;
    for (size_t i = 0; i < n; i++)
        ret->scheme_lower[i] = rbk_lower(text.p[i]);
    ret->scheme = (rbk_str){text.p, n};
    return list_has(schemes, ret->scheme_lower) ? RBK_DSN_OK : RBK_DSN_PROTOCOL;
}

static uint16_t default_port(const char *scheme)
{
    return strcmp(scheme, "https") == 0 || strcmp(scheme, "wss") == 0 ? 443 : 0;
}

static bool is_uri_char(char c)
{
    static const char marks[] = "-._~!$&'()*+,;=:@/?[]";
    return is_alpha(c) || is_digit(c) || memchr(marks, c, sizeof marks - 1);
}

/* Only the characters of a URI without a fragment, and every "%" with its two digits. */
static bool has_uri_chars(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            if (!is_uri_char(s.p[i]))
                return false;
            continue;
        }
        if (s.n - i < 3 || hex_value(s.p[i + 1]) < 0 || hex_value(s.p[i + 2]) < 0)
            return false;
        i += 2;
    }
    return true;
}

static bool is_label(rbk_str s)
{
    if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alpha(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return true;
}

/* What the WHATWG calls "ends in a number": 17, 0x1f, and 0x alone. */
static bool is_number(rbk_str s)
{
    if (s.n < 2 || s.p[0] != '0' || rbk_lower(s.p[1]) != 'x')
        return all_digits(s);
    for (size_t i = 2; i < s.n; i++)
        if (hex_value(s.p[i]) < 0)
            return false;
    return true;
}

static rbk_dsn_fault parse_name(rbk_str s, rbk_dsn *ret)
{
    if (s.n && s.p[s.n - 1] == '.')
        s.n--;
    if (s.n == 0 || s.n > RBK_HOST_MAX)
        return RBK_DSN_INVALID;
    for (size_t i = 0; i < s.n; i++)
        ret->host_lower[i] = rbk_lower(s.p[i]);
    for (;;) {
        rbk_str label = {s.p, find_either(s, "..")};
        if (!is_label(label))
            return RBK_DSN_INVALID;
        if (label.n == s.n)
            return is_number(label) ? RBK_DSN_INVALID : RBK_DSN_OK;
        s = skip(s, label.n + 1);
    }
}

static rbk_dsn_fault parse_host(rbk_str s, bool bracketed, rbk_dsn *ret)
{
    ret->host = s;
    if (bracketed)
        ret->kind = RBK_HOST_IPV6;
    else if (rbk_parse_ipv4(s, ret->addr) == 0)
        ret->kind = RBK_HOST_IPV4;
    else
        return parse_name(s, ret);
    if (bracketed && rbk_parse_ipv6(s, ret->addr) < 0)
        return RBK_DSN_INVALID;
    rbk_format_addr(ret->kind, ret->addr, ret->host_lower);
    return RBK_DSN_OK;
}

/* `s` begins with the ":" in front of the port, or is empty. A number that is no port is
 * a port that is not allowed; anything else is no URL. */
static rbk_dsn_fault parse_port(rbk_str s, rbk_dsn *ret)
{
    uint64_t v;
    if (s.n == 0) {
        ret->port = default_port(ret->scheme_lower);
        return RBK_DSN_OK;
    }
    s = skip(s, 1);
    if (s.n == 0 || !all_digits(s))
        return RBK_DSN_INVALID;
    if (s.p[0] == '0' || rbk_str_u64(s, 65535, &v) < 0)
        return RBK_DSN_PORT;
    ret->port = (uint16_t)v;
    return RBK_DSN_OK;
}

static rbk_dsn_fault parse_authority(rbk_str s, rbk_dsn *ret)
{
    bool bracketed = s.n && s.p[0] == '[';
    if (bracketed)
        s = skip(s, 1);
    rbk_str host = {s.p, find_either(s, bracketed ? "]]" : "::")};
    rbk_str port = skip(s, host.n);
    if (bracketed) {
        if (port.n == 0)
            return RBK_DSN_INVALID;
        port = skip(port, 1);
        if (port.n && port.p[0] != ':')
            return RBK_DSN_INVALID;
    }
    rbk_dsn_fault fault = parse_host(host, bracketed, ret);
    return fault ? fault : parse_port(port, ret);
}

static void set_receiver(rbk_dsn *d)
{
    bool v6 = d->kind == RBK_HOST_IPV6;
    snprintf(d->receiver, sizeof d->receiver, "%s://%s%s%s:%u", d->scheme_lower, v6 ? "[" : "",
             d->host_lower, v6 ? "]" : "", (unsigned)d->port);
}

/* Everything behind "scheme:". */
static rbk_dsn_fault parse_rest(rbk_str s, rbk_dsn *ret)
{
    if (!rbk_str_starts(s, RBK_STR("//")) || !has_uri_chars(s))
        return RBK_DSN_INVALID;
    s = skip(s, 2);
    rbk_str authority = {s.p, find_either(s, "/?")};
    rbk_str target = skip(s, authority.n);
    if (find_either(target, "[]") < target.n)
        return RBK_DSN_INVALID;
    if (find_either(authority, "@@") < authority.n)
        return RBK_DSN_USERINFO;
    rbk_dsn_fault fault = parse_authority(authority, ret);
    if (fault)
        return fault;
    ret->target_slash = target.n && target.p[0] == '?';
    ret->target = target.n ? target : RBK_STR("/");
    set_receiver(ret);
    return RBK_DSN_OK;
}

rbk_dsn_fault rbk_dsn_parse(rbk_str text, rbk_str schemes, rbk_dsn *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->text = text;
    if (text.n == 0)
        return RBK_DSN_EMPTY;
    if (text.n > RBK_DSN_MAX)
        return RBK_DSN_TOO_LONG;
    if (has_control(text))
        return RBK_DSN_INVALID;
    rbk_dsn_fault fault = parse_scheme(text, schemes, ret);
    return fault ? fault : parse_rest(skip(text, ret->scheme.n + 1), ret);
}

/* ---- reasons ---- */

static void add(char out[160], const char *p, size_t n)
{
    size_t at = strlen(out);
    if (n > 159 - at)
        n = 159 - at;
    memcpy(out + at, p, n);
    out[at + n] = 0;
}

static void name_protocols(rbk_str text, rbk_str schemes, char out[160])
{
    rbk_str item, list = schemes;
    size_t n = 0;
    snprintf(out, 160, "invalid protocol: ");
    if (rbk_str_ieqz((rbk_str){text.p, scheme_len(text)}, "http") && list_has(schemes, "https")) {
        add(out, "http is not encrypted, use https", 32);
        return;
    }
    add(out, "only ", 5);
    for (; rbk_list_next(&list, &item); n++) {
        add(out, ", ", n ? 2 : 0);
        add(out, item.p, item.n);
    }
    add(out, n == 1 ? " is" : " are", n == 1 ? 3 : 4);
    add(out, " supported", 10);
}

void rbk_dsn_reason(rbk_dsn_fault fault, rbk_str text, rbk_str schemes, char out[160])
{
    static const char *const reason[] = {
        [RBK_DSN_OK] = "",
        [RBK_DSN_EMPTY] = "must be a non-empty string",
        [RBK_DSN_TOO_LONG] = "too long",
        [RBK_DSN_INVALID] = "invalid URL",
        [RBK_DSN_NO_PROTOCOL] = "must have a protocol",
        [RBK_DSN_USERINFO] = "user info not allowed",
        [RBK_DSN_PORT] = "port not allowed",
        [RBK_DSN_HOST] = "host not allowed",
        [RBK_DSN_ADDRESS] = "address not allowed",
        [RBK_DSN_NO_ADDRESS] = "host has no allowed address",
        [RBK_DSN_SOCKET] = "not on a websocket",
    };
    if (fault == RBK_DSN_PROTOCOL)
        name_protocols(text, schemes, out);
    else
        snprintf(out, 160, "%s", reason[fault]);
}

const char *rbk_dsn_check(rbk_dsn_fault fault)
{
    switch (fault) {
    case RBK_DSN_OK:
    case RBK_DSN_EMPTY:
    case RBK_DSN_TOO_LONG:
        return "text (1 to 2,048 bytes, no control characters)";
    case RBK_DSN_NO_PROTOCOL:
    case RBK_DSN_PROTOCOL:
        return "protocol (callback.schemes)";
    case RBK_DSN_INVALID:
    case RBK_DSN_USERINFO:
        return "grammar (RFC 3986, without user info and fragment)";
    case RBK_DSN_PORT:
        return "port (callback.ports)";
    case RBK_DSN_HOST:
        return "host (callback.hosts, special-use names)";
    case RBK_DSN_ADDRESS:
    case RBK_DSN_NO_ADDRESS:
        return "address (callback.allow, callback.deny, own listeners)";
    case RBK_DSN_SOCKET:
        return "websocket (the request came over one)";
    }
    return "unknown";
}
