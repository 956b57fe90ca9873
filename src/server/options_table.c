/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_table.c - every option of ringback, one row each.
 *
 * The parser, `ringback config`, `--help` and docs/configuration.md come from here. A
 * default is written as a user would write it and goes through the same parser.
 * Constant; any thread. */
#include "server/options_impl.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

#define AT(field) .offset = offsetof(rbk_options, field)
#define TEXT(field) .kind = RBK_OPT_TEXT, AT(field)
#define INT(field, lo, hi) .kind = RBK_OPT_INT, AT(field), .min = (lo), .max = (hi)
#define SIZE(field, lo, hi) .kind = RBK_OPT_SIZE, AT(field), .min = (lo), .max = (hi)
#define MS(field, lo, hi) .kind = RBK_OPT_MS, AT(field), .min = (lo), .max = (hi)

const rbk_option rbk_option_table[] = {
    {"server", "listen", TEXT(listen), .def = "127.0.0.1:7600", .check = rbk_check_listen,
     .help = "What to listen on, several with commas: `127.0.0.1:7600`, `[::1]:7600`, `:7600` (every address; "
             "port 0 is a free one), `unix:/run/ringback.sock`, `fd:NAME` (a socket that systemd "
             "passes; `fd:` all)."},
    {"server", "socket_mode", TEXT(socket_mode), .def = "0600", .check = rbk_check_mode,
     .help = "Mode of the file of a Unix socket, of `admin.listen` too: who may write it may connect."},
    {"server", "path", TEXT(path), .def = "/api", .check = rbk_check_path,
     .help = "Path that requests are posted to."},
    {"server", "hosts", TEXT(server_hosts), .def = "", .check = rbk_check_server_hosts, .reload = true,
     .help = "What the `Host` of a request may be, with commas: `api.example`, `*.example.org` "
             "(`*` within a label, `**` across), with a port if it must have this one; others are answered "
             "403. Empty: any, but on a loopback address that asks for neither tokens nor "
             "certificates only `localhost`, `127.0.0.0/8` and `[::1]`. Not for Unix sockets."},
    {"server", "origins", TEXT(origins), .def = "", .check = rbk_check_origins, .reload = true,
     .help = "Origins whose pages may call from a browser, with commas, each in full: "
             "`https://app.example`, `http://localhost:3000`. A request with another `Origin` is "
             "answered 403."},
    {"server", "tls_cert", TEXT(tls_cert), .def = "", .reload = true,
     .help = "File (PEM) of the certificate, its chain behind it: with it the addresses of "
             "`server.listen` speak TLS alone. Read again at SIGHUP; on and off it goes by a new start."},
    {"server", "tls_key", TEXT(tls_key), .def = "", .reload = true,
     .help = "File (PEM) of its key, without a password. Mode 0600."},
    {"server", "tls_client_ca", TEXT(tls_client_ca), .def = "", .reload = true,
     .help = "File (PEM) of authorities: clients must show a certificate that one of them issued. "
             "Empty: none is asked for."},
    {"server", "threads", INT(threads, 0, 256), .def = "0",
     .help = "Event loops for requests; 0 is one for each core."},
    {"server", "max_body", SIZE(max_body, KIB, 256 * MIB), .def = "1M",
     .help = "Largest request body; a larger one is answered 413."},
    {"server", "max_batch", INT(max_batch, 1, 100000), .def = "1000",
     .help = "Most requests in one batch."},
    {"server", "max_connections", INT(max_connections, 1, 1000000), .def = "10000",
     .help = "Most connections of clients at one time."},
    {"server", "per_address", INT(client_connections, 0, 1000000), .def = "256",
     .help = "Most connections of one address at one time; all of an IPv6 /64 are one. 0: no bound."},
    {"server", "rate", TEXT(rate), .def = "", .check = rbk_check_rate,
     .help = "Most requests of one address, each of a batch for itself: `50/s`, `1000/m`, `20000/h`, "
             "all of them at once if it likes; further ones are answered 429. Empty: no bound."},
    {"server", "exempt", TEXT(exempt), .def = "127.0.0.0/8,::1", .check = rbk_check_exempt,
     .help = "Address blocks (CIDR) to which `server.per_address` and `server.rate` do not apply: "
             "this machine, and reverse proxies that many clients come through."},
    {"server", "max_websockets", INT(max_sockets, 0, 1000000), .def = "5000",
     .help = "Most of them that are websockets, which stay as long as their clients like. 0: none, "
             "and GET is refused."},
    {"server", "ping", MS(ping_ms, SECOND, HOUR), .def = "30s",
     .help = "A websocket that is silent this long is pinged; when nothing comes for as long again, "
             "it is closed."},
    {"server", "drain", MS(drain_ms, 0, HOUR), .def = "25s",
     .help = "How long a stop waits for what is under way; the rest stays in the store."},

    {"admin", "listen", TEXT(admin_listen), .def = "127.0.0.1:7601",
     .check = rbk_check_admin_listen,
     .help = "Addresses of the operators' side: health, metrics, `POST /rpc`. Empty: none. Without "
             "`admin.token_file` only loopback addresses and Unix sockets. An embedded server has none unless told."},
    {"admin", "token_file", TEXT(admin_token_file), .def = "", .reload = true,
     .help = "File whose one line is the token that operators send as `Authorization: Bearer`; at "
             "least 16 characters. Mode 0600. Read again at SIGHUP, which can also switch it on; off "
             "it goes only by a new start."},

    {"auth", "tokens_file", TEXT(tokens_file), .def = "", .check = rbk_check_tokens_path,
     .reload = true,
     .help = "File of the callers and their tokens: see docs/auth.md. With it every request needs "
             "`Authorization: Bearer` with one of them. Mode 0600. Read again at SIGHUP, which can "
             "also switch it on; off it goes only by a new start."},
    {"auth", "open", .kind = RBK_OPT_BOOL, AT(auth_open), .def = "no", .reload = true,
     .help = "Without `auth.tokens_file` let `server.listen` have other addresses than loopback: "
             "whoever reaches them may call every method."},

    {"store", "dsn", TEXT(store_dsn), .def = "sqlite:ringback.db", .check = rbk_check_store,
     .help = "Where jobs are kept: `sqlite:FILE`, or `memory:` for tests (nothing survives)."},
    {"store", "max_pending", INT(max_pending, 1, INT64_C(1000000000)), .def = "10000000",
     .help = "Most unfinished jobs; past it new ones are refused with 503."},
    {"store", "max_pending_bytes", SIZE(max_pending_bytes, MIB, 1024 * TIB), .def = "10G",
     .help = "Most bytes of unfinished jobs; past it new ones are refused with 503."},
    {"store", "retention", MS(retention_ms, 0, 3650 * DAY), .def = "24h",
     .help = "How long delivered and cancelled jobs are kept, to be looked at and sent again; "
             "0 keeps none. None are kept while there is less room than `store.min_free`."},
    {"store", "retention_bytes", SIZE(retention_bytes, 0, 1024 * TIB), .def = "1G",
     .help = "Most bytes of delivered and cancelled jobs; past it those that ended first go."},
    {"store", "retention_dead", MS(retention_dead_ms, SECOND, 3650 * DAY), .def = "30d",
     .help = "How long dead jobs are kept."},
    {"store", "dedup", MS(dedup_ms, 0, 3650 * DAY), .def = "24h",
     .help = "How long an idempotency key names its first job; at least until that job's end."},
    {"store", "min_free", SIZE(min_free, 0, 1024 * TIB), .def = "256M",
     .help = "New jobs are refused while the store's disk has less free space than this."},

    {"callback", "schemes", TEXT(schemes), .def = "https,wss", .check = rbk_check_schemes, .reload = true,
     .help = "Schemes that a callback may have."},
    {"callback", "hosts", TEXT(hosts), .def = "", .check = rbk_check_hosts, .reload = true,
     .help = "Hosts that a callback may name: globs, `*` within a label, `**` across labels. "
             "Empty: any public name."},
    {"callback", "allow", TEXT(allow), .def = "", .check = rbk_check_cidrs, .reload = true,
     .help = "Address blocks (CIDR) that callbacks may reach though they are not public."},
    {"callback", "deny", TEXT(deny), .def = "", .check = rbk_check_cidrs, .reload = true,
     .help = "Address blocks that callbacks never reach; stronger than `callback.allow`."},
    {"callback", "ports", TEXT(ports), .def = "", .check = rbk_check_ports, .reload = true,
     .help = "Ports that a callback may name: `443,8000-8999`. Empty: 443 and 1024-65535 "
             "without those that browsers block."},
    {"callback", "resolve", .kind = RBK_OPT_BOOL, AT(resolve), .def = "yes", .reload = true,
     .help = "Look up the host of a callback before the acknowledgement, and refuse it when an "
             "address is not allowed. Each attempt looks it up in any case."},
    {"callback", "resolve_timeout", MS(resolve_ms, 1, 10 * SECOND), .def = "250ms", .reload = true,
     .help = "How long the acknowledgement waits for that; a callback whose host is not known by "
             "then is accepted."},
    {"callback", "name_servers", TEXT(name_servers), .def = "", .check = rbk_check_name_servers,
     .help = "Name servers to ask in place of the system's: `10.0.0.53`, `127.0.0.1:5353`, "
             "`[::1]:53`."},

    {"delivery", "schedule", TEXT(schedule), .def = "5s,30s,2m,15m,1h,6h,12h,24h,24h",
     .check = rbk_check_schedule,
     .help = "Waits between the attempts to deliver one response."},
    {"delivery", "jitter", .kind = RBK_OPT_REAL, AT(jitter), .def = "0.2", .max = 1,
     .help = "Each wait is spread by up to this share, both ways."},
    {"delivery", "max_age", MS(max_age_ms, SECOND, 365 * DAY), .def = "", .none = true,
     .help = "A delivery is given up this long after its first attempt. Empty: the sum of "
             "the schedule."},
    {"delivery", "connect_timeout", MS(connect_ms, 10, 300 * SECOND), .def = "5s",
     .help = "How long one connection may take to open, TLS included."},
    {"delivery", "timeout", MS(delivery_ms, 10, HOUR), .def = "15s",
     .help = "How long one attempt may take in all."},
    {"delivery", "in_flight", INT(in_flight, 1, 65536), .def = "4096",
     .help = "Most attempts at one time."},
    {"delivery", "per_receiver", INT(per_receiver, 1, 65536), .def = "16",
     .help = "Most attempts at one time to one receiver."},
    {"delivery", "per_address", INT(per_address, 1, 65536), .def = "64",
     .help = "Most attempts at one time to one address and port, whatever names lead there."},
    {"delivery", "breaker", INT(breaker, 0, 1000000), .def = "10",
     .help = "Failures in a row that speak of the host and pause its deliveries, but for a "
             "probe every 30 s. 0: never."},
    {"delivery", "forward_headers", TEXT(forward_headers),
     .def = "traceparent,tracestate,x-request-id,x-correlation-id", .check = rbk_check_forward,
     .help = "Headers of the request that its callback carries too."},
    {"delivery", "proxy", TEXT(proxy), .def = "", .check = rbk_check_proxy,
     .help = "Proxy that every delivery goes through by CONNECT: `http://host:port`, looked up once "
             "at the start. Empty: none; the environment's proxies are never used."},
    {"delivery", "http2", .kind = RBK_OPT_BOOL, AT(http2), .def = "yes",
     .help = "Offer HTTP/2 to `https` receivers: many deliveries then share one connection. "
             "Receivers that do not want it get HTTP/1.1."},
    {"delivery", "ca_file", TEXT(ca_file), .def = "",
     .help = "PEM file of certificate authorities, trusted besides the system's."},
    {"delivery", "ca_only", .kind = RBK_OPT_BOOL, AT(ca_only), .def = "no",
     .help = "Trust `delivery.ca_file` alone, without the system's authorities."},
    {"delivery", "client_cert", TEXT(client_cert), .def = "",
     .help = "PEM file of the certificate, and its chain, for receivers that ask for one."},
    {"delivery", "client_key", TEXT(client_key), .def = "",
     .help = "PEM file of its key, without a password. Mode 0600."},

    {"signing", "key_file", TEXT(key_file), .def = "", .check = rbk_check_key_path,
     .help = "File of the ed25519 key (`whsk_`) that signs deliveries, made when it is not there. "
             "Empty: the store's name with `.key`; for `memory:` a key that is forgotten. Read "
             "again at SIGHUP."},
    {"signing", "secret_file", TEXT(secret_file), .def = "", .check = rbk_check_key_path,
     .help = "File of further keys that sign, `whsec_` (HMAC) or `whsk_`, one a line. Mode 0600. "
             "Read again at SIGHUP."},

    {"method", "threads", INT(method_threads, 1, 1024), .def = "32",
     .help = "Threads that run methods."},
    {"method", "max_waiting", INT(max_waiting, 1, 65536), .def = "10000",
     .help = "Most calls without a callback of one method that wait for their turn; further ones are "
             "answered -32009 at once. All methods together have 65536."},
    {"method", "timeout", MS(method_ms, 100, 7 * DAY), .def = "60s",
     .help = "How long one run of a method may take when nobody says otherwise."},
    {"method", "max_timeout", MS(max_timeout_ms, SECOND, 7 * DAY), .def = "1h",
     .help = "Greatest `$rpc.timeout` that a caller may ask for."},
    {"method", "max_result", SIZE(max_result, KIB, 256 * MIB), .def = "1M",
     .help = "Largest result; a larger one is answered with error -32008."},
    {"method", "max_runs", INT(max_runs, 1, 1000), .def = "3",
     .help = "A job that was running in this many deaths of the server is given up "
             "with error -32004."},
    {"method", "missing", MS(missing_ms, SECOND, 3650 * DAY), .def = "24h",
     .help = "How long a stored job waits whose method is gone, before it is answered -32601."},

    {"log", "level", .kind = RBK_OPT_LEVEL, AT(log_level), .def = "info", .reload = true,
     .help = "Least important events that are logged."},
    {"log", "format", .kind = RBK_OPT_FORMAT, AT(log_json), .def = "logfmt",
     .help = "How an event is written: one line of `key=value`, or one JSON object."},
    {.name = NULL},
};

#undef AT
#define AT(field) .offset = offsetof(rbk_method_rule, field)
/* Part of what runs the calls: another value means another worker, another upstream. */
#define RUNS .reload = true, .provider = true

const rbk_option rbk_option_rule_table[] = {
    {"method", "module", TEXT(module), .def = "",
     .help = "Shared object that has the methods.", .reload = true},
    {"method", "describe", TEXT(describe), .def = "", .reload = true,
     .help = "JSON file that describes the methods, their params and results, for `rpc.discover` and "
             "for the check of params before a call is taken."},
    {"method", "timeout", MS(timeout_ms, 100, 7 * DAY), .def = "", .none = true,
     .help = "How long one run may take. Empty: `method.timeout`.", .reload = true},
    {"method", "concurrency", INT(concurrency, 0, 100000), .def = "0", .reload = true,
     .help = "Calls at once; further ones wait. 0: as many as there are threads for."},
    {"method", "guarantee", .kind = RBK_OPT_GUARANTEE, AT(once), .def = "at-least-once",
     .reload = true,
     .help = "What a crash means for a job whose method was running: it runs again, or it is "
             "answered -32004. `at-most-once` costs one more commit a job."},
    {"method", "forward_headers", TEXT(forward_headers), .def = "",
     .check = rbk_check_method_forward, .reload = true,
     .help = "Headers of the request that the method is told too, kept with the job; 4 KiB in all. "
             "`Authorization` goes along only when it is named, and a warning says so."},
    {"method", "upstream", TEXT(upstream), .def = "", .check = rbk_check_upstream, RUNS,
     .help = "JSON-RPC server that runs the methods: `http://127.0.0.1:8080/api`, `https://…`, or "
             "`http+unix://%2Frun%2Fapp.sock/api`."},
    {"method", "upstream_token_file", TEXT(upstream_token_file), .def = "", RUNS,
     .help = "File whose one line is sent to it as `Authorization: Bearer`. Mode 0600. Read "
             "again at SIGHUP."},
    {"method", "upstream_ca_file", TEXT(upstream_ca_file), .def = "", RUNS,
     .help = "PEM file of certificate authorities that it is trusted by, besides the system's."},
    {"method", "upstream_connect_timeout", MS(upstream_connect_ms, 10, 300 * SECOND), .def = "5s",
     RUNS,
     .help = "How long a connection to it may take to open, TLS included."},
    {"method", "upstream_connections", INT(upstream_connections, 1, 65536), .def = "4096",
     RUNS,
     .help = "Most connections to it, each with one call; further calls wait."},
    {"method", "upstream_idle", MS(upstream_idle_ms, 10, HOUR), .def = "4s", RUNS,
     .help = "A connection is closed after this long unused; shorter than the upstream's own. A "
             "`Keep-Alive: timeout=` of the upstream counts too."},
    {"method", "worker", TEXT(worker), .def = "", .check = rbk_check_worker, RUNS,
     .help = "Program that runs the methods, and its arguments: see docs/workers.md."},
    {"method", "workers", INT(workers, 1, 1024), .def = "1", RUNS,
     .help = "Processes of `worker`."},
    {"method", "pipelining", INT(pipelining, 1, 1024), .def = "1", RUNS,
     .help = "Calls that one process of `worker` has at a time."},
    {"method", "retries", INT(retries, 0, 100), .def = "1", RUNS,
     .help = "How often an at-least-once job is begun anew when the process of `worker` that ran it "
             "died; then it is answered -32603."},
    {"method", "worker_memory", SIZE(worker_memory, MIB, 1024 * TIB), .def = "", .none = true,
     RUNS, .help = "Address space that a process of `worker` may have. Empty: no limit."},
    {"method", "worker_cpu", MS(worker_cpu_ms, SECOND, 3650 * DAY), .def = "", .none = true,
     RUNS,
     .help = "Processor time that a process of `worker` may use in all, in whole seconds. Empty: no "
             "limit."},
    {"method", "worker_files", INT(worker_files, 16, 1000000), .def = "", .none = true,
     RUNS, .help = "Descriptors that a process of `worker` may have open. Empty: no limit."},
    {.name = NULL},
};
