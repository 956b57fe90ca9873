/* SPDX-License-Identifier: Apache-2.0 */
/* Where the proxy is: literals are taken as they are, a name is asked for, and a failure
 * names the key. No name server is asked: getaddrinfo() is the test's. */
#include "server/proxy.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    if (strcmp(node, "gone.example") == 0)
        return EAI_NONAME;
    return __real_getaddrinfo(strcmp(node, "proxy.example") == 0 ? "127.0.0.9" : node, service,
                              hints, ret);
}

static void test_found(void **state)
{
    (void)state;
    static const struct {
        const char *text, *ip;
    } cases[] = {{"http://10.0.0.8:3128", "10.0.0.8"},
                 {"http://Proxy.Example:3128/", "127.0.0.9"},
                 {"http://[fd00::8]:3128", "fd00::8"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_storage sa;
        char ip[64] = "";
        assert_int_equal(rbk_proxy_find(rbk_str_z(cases[i].text), &sa, NULL), 0);
        const struct sockaddr_in *four = (const void *)&sa;
        const struct sockaddr_in6 *six = (const void *)&sa;
        bool v6 = sa.ss_family == AF_INET6;
        const void *raw = v6 ? (const void *)&six->sin6_addr : &four->sin_addr;
        inet_ntop(sa.ss_family, raw, ip, sizeof ip);
        assert_string_equal(ip, cases[i].ip);
        assert_int_equal(ntohs(v6 ? six->sin6_port : four->sin_port), 3128);
    }
}

static void test_none(void **state)
{
    (void)state;
    struct sockaddr_storage sa;
    rbk_error err = {0};
    assert_int_equal(rbk_proxy_find(RBK_STR(""), &sa, &err), 0);
    assert_int_equal(sa.ss_family, AF_UNSPEC);
    assert_int_equal(rbk_proxy_find(RBK_STR("http://gone.example:1"), &sa, &err), RBK_E_CONFIG);
    assert_memory_equal(err.detail, "delivery.proxy: gone.example: ", 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_found), cmocka_unit_test(test_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
