/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_channel.c - see resolver_channel.h. Each try asks one server, and how many
 * there are is known only from a channel: where they are several, it is made twice. */
#include "net/resolver_channel.h"

#include <pthread.h>
#include <stddef.h>

enum { ONE_MS = RBK_LOOKUP_MS / 3, TRY_MS_MIN = 250 };

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void init_library(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_once(ares_channel *ret, const rbk_channel_conf *conf, int try_ms)
{
    char lookups[] = "fb"; /* the hosts file, then DNS */
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = try_ms,
        .tries = RBK_LOOKUP_TRIES,
        .ndots = 0,
        .ndomains = 0,
        .lookups = lookups,
        .sock_state_cb = conf->on_sock,
        .sock_state_cb_data = conf->user,
    };
    int status =
        ares_init_options(ret, &o, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_NDOTS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS |
                                       ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS || conf->servers == NULL)
        return status;
    status = ares_set_servers_ports_csv(*ret, conf->servers);
    if (status != ARES_SUCCESS)
        ares_destroy(*ret);
    return status;
}

static int count_servers(ares_channel channel)
{
    struct ares_addr_port_node *servers = NULL;
    int n = 0;
    if (ares_get_servers_ports(channel, &servers) != ARES_SUCCESS)
        return 1;
    for (const struct ares_addr_port_node *s = servers; s; s = s->next)
        n++;
    ares_free_data(servers);
    return n > 0 ? n : 1;
}

int rbk_channel_open(ares_channel *ret, const rbk_channel_conf *conf)
{
    pthread_once(&library_once, init_library);
    int status = library_status;
    if (status == ARES_SUCCESS)
        status = open_once(ret, conf, ONE_MS);
    int n = status == ARES_SUCCESS ? count_servers(*ret) : 1;
    if (n == 1)
        return status;
    ares_destroy(*ret);
    return open_once(ret, conf, ONE_MS / n > TRY_MS_MIN ? ONE_MS / n : TRY_MS_MIN);
}
