/* SPDX-License-Identifier: Apache-2.0 */
/* net/http.c - see http.h. Pure functions; any thread. */
#include "net/http.h"

#include <stdio.h>
#include <time.h>

const char *rbk_http_reason(int status)
{
    switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
    }
}

rbk_str rbk_http_find(const rbk_http_header *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (rbk_str_ieqz(h[i].name, name))
            return h[i].value;
    return RBK_STR_NONE;
}

void rbk_http_date(rbk_wall_ms now, char out[30])
{
    /* strftime() would follow the locale of the embedding program. */
    static const char day[] = "SunMonTueWedThuFriSat";
    static const char month[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)(now / 1000);
    struct tm tm = {0};
    if (gmtime_r(&t, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099)
        tm = (struct tm){.tm_mday = 1, .tm_year = 70, .tm_wday = 4};
    snprintf(out, 30, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", day + 3 * (tm.tm_wday % 7),
             (unsigned)tm.tm_mday % 100, month + 3 * (tm.tm_mon % 12),
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}
