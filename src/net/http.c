/* SPDX-License-Identifier: Apache-2.0 */
/* net/http.c - see http.h. Pure functions; any thread. */
#include "net/http.h"

#include <stdio.h>
#include <time.h>

const char *rbk_http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } row[] = {
        {100, "Continue"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].status == status)
            return row[i].reason;
    return "Unknown";
}

rbk_str rbk_http_find(const rbk_http_header *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (rbk_str_ieqz(h[i].name, name))
            return h[i].value;
    return RBK_STR_NONE;
}

bool rbk_http_is_json(rbk_str type)
{
    const char *semicolon = type.n ? memchr(type.p, ';', type.n) : NULL;
    if (semicolon)
        type.n = (size_t)(semicolon - type.p);
    type = rbk_str_trim(type);
    return rbk_str_ieqz(type, "application/json") || rbk_str_ieqz(type, "application/json-rpc");
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
