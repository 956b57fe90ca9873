# SPDX-License-Identifier: Apache-2.0
"""One place of the house connects, and one asks for addresses: what the objects of this build
call of the system and of libraries."""
import collections
import json
import pathlib
import subprocess

from lib.server import build

# What may lead out, and whose it is.
DOORS = {
    "uv_tcp_connect": {"net/stream.c"},        # rbk_stream_connect(), which asks `allow` before
    "rbk_stream_connect": {"net/connect.c"},   # the race of addresses, under all transports
    "ares_getaddrinfo": {"net/resolver.c"},
    "ares_query": {"net/resolver.c"},          # negative answers' lifetimes
    "getaddrinfo": {"server/proxy.c",          # delivery.proxy, at the start
                    "app/post.c"},             # `ringback call`: no delivery
    "socket": {"net/http_listen.c", "net/listen.c"},  # of listeners, on TCP and Unix sockets
    "connect": {"net/listen.c"},               # AF_UNIX alone: does somebody listen at that path already?
    "uv_pipe_connect": {"net/stream.c"},       # of upstreams: refused where the client is not made for it
    "syscall": {"method/worker_spawn.c"},      # pidfd_open, close_range
}
CLOSED = """connectx sendto sendmsg sendmmsg uv_udp_connect uv_udp_send uv_udp_try_send
uv_pipe_connect2 uv_getaddrinfo getnameinfo uv_getnameinfo gethostbyname gethostbyname2 gethostbyname_r
getaddrinfo_a ares_gethostbyname ares_search ares_query_dnsrec res_query res_search res_nquery res_nsearch
BIO_new_connect BIO_do_connect BIO_connect BIO_lookup BIO_lookup_ex BIO_socket BIO_new_ssl_connect OSSL_HTTP_get
OSSL_HTTP_transfer curl_easy_perform curl_multi_perform io_uring_prep_connect""".split()


def calls():
    """Which source files call what they do not have."""
    found = collections.defaultdict(set)
    outputs = [pathlib.Path(c["output"]) for c in json.loads((build() / "compile_commands.json").read_text())]
    # Those of today: an object whose source has gone stays in the folder.
    objects = [build() / o for o in outputs if o.parts[0] == "src" and ".so" not in o.parent.name]
    out = subprocess.run(["nm", "-A", "-u", *map(str, objects)], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        path, _, symbol = line.rpartition(" U ")
        if not symbol:
            continue
        name = path.rsplit("/", 1)[1].split(".o")[0]
        folder = path.rsplit("/", 2)[0].rsplit("/", 1)[1]
        source = name.replace("_", "/", 1) if folder == "src" else f"{folder}/{name}"
        found[symbol.split("@")[0].strip()].add(source)
    return found


def test_one_place_connects():
    found = calls()
    assert len(found) > 500, "the search finds too little"
    assert "net/stream.c" in found["uv_tcp_init"], "the search knows the files"
    assert {d: found[d] for d in DOORS} == DOORS
    assert {c: found[c] for c in CLOSED if found[c]} == {}
