/* SPDX-License-Identifier: Apache-2.0 */
/* server/files.h - how the descriptors that the process may open are shared out. */
#ifndef RBK_SERVER_FILES_H
#define RBK_SERVER_FILES_H

#include "server/options.h"

enum {
    RBK_FILES_OTHER = 24,      /* the store with a backup, key files, and what comes and goes */
    RBK_FILES_LOOP = 6,        /* of an event loop, with its name servers */
    RBK_FILES_ADMIN = 8,       /* operators, when descriptors are few */
    RBK_FILES_ADMIN_FULL = 68, /* operators */
    RBK_FILES_SHED = 64,       /* of each thread: callers that are told 503 */
    RBK_FILES_LEAST = 8,       /* connections of clients; attempts */
    RBK_FILES_ATTEMPT = 3,     /* its connection, another address that it tries, a kept one */
    RBK_FILES_WORKER = 4,      /* its pipes */
    RBK_FILES_DIAL = 2         /* sockets of one attempt while addresses race, at least */
};

/* What is used. `few`: it is less than the options ask for. */
typedef struct rbk_files {
    int64_t limit, wanted;
    unsigned connections, shed; /* of clients; of those that are turned away, besides */
    size_t in_flight;
    unsigned held; /* connections to receivers, used or kept or being closed; 0: no bound */
    unsigned dial_sockets; /* of one attempt while addresses race, one of them among `held`; 0: no
                              bound */
    int64_t calls; /* connections to all upstreams; those that a reload adds share in it */
    bool few;
} rbk_files;

/* `open`: how many are open already. RBK_E_SYS when `limit` is too little, which is said. */
int rbk_files_share(int64_t limit, int64_t open, const rbk_options *o, size_t threads,
                    size_t couriers, rbk_files *ret, rbk_error *err);
/* What the upstreams of these options may have of it: their connections are lowered to that. */
void rbk_files_bound_calls(const rbk_files *f, rbk_options *o);
/* The same as rbk_files_share() with the limit of this process and what it has open now. */
int rbk_files_plan(const rbk_options *o, size_t threads, size_t couriers, rbk_files *ret,
                   rbk_error *err);

#endif
