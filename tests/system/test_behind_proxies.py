# SPDX-License-Identifier: Apache-2.0
"""ringback behind nginx and HAProxy: whatever a client sends to the proxy, who comes after it on the
proxy's connections to ringback gets the answer to his own request, and only what was sent is run."""
import json
import shutil
import socket
import subprocess
import threading

import pytest

from lib.client import Client
from lib.raw import Raw, post
from lib.server import Server
from lib.wait import until
from test_http_vectors import bytes_of, vectors

NGINX, HAPROXY = shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("haproxy", path="/usr/sbin:/usr/bin")

# One kept connection to ringback, so that the next request follows on it.
NGINX_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream ringback {{ server 127.0.0.1:{upstream}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port}; merge_slashes off; client_max_body_size 0; underscores_in_headers on;
    ignore_invalid_headers off;
    location / {{
      proxy_pass http://ringback; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_request_buffering off; proxy_next_upstream off;
    }}
  }}
}}
"""
HAPROXY_CONF = """
global
  nbthread 1
  maxconn 512
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  option accept-invalid-http-request
  http-reuse always
  retries 0
listen ringback
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{upstream} pool-max-conn 1
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    def __init__(self, name, folder, upstream):
        for _ in range(5):  # another may take the port that was free
            self.port = free_port()
            conf = folder / f"{name}.conf"
            text = NGINX_CONF if name == "nginx" else HAPROXY_CONF
            conf.write_text(text.format(folder=folder, upstream=upstream, port=self.port))
            argv = [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(conf)] if name == "nginx" \
                else [HAPROXY, "-db", "-f", str(conf)]
            with open(folder / "out.txt", "ab") as out:
                self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            if until(lambda: self.answers() or self.proc.poll() is not None, 10, f"{name} listens") is True:
                if self.proc.poll() is None:
                    return
        raise AssertionError((folder / "out.txt").read_text()[-2000:])

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self):
        self.proc.terminate()
        self.proc.wait(20)


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def chain(request, tmp_path_factory, ca):
    if not (NGINX if request.param == "nginx" else HAPROXY):
        pytest.skip(f"{request.param} is not installed")
    server = Server(tmp_path_factory.mktemp("behind"), ca.pem, {"server.path": "/rpc"}).start()
    proxy = Proxy(request.param, tmp_path_factory.mktemp(request.param), server.port)
    yield proxy
    proxy.close()
    server.stop()
    server.check_sanitizers()


def canary(name, *headers):
    body = json.dumps({"id": name, "method": "test.echo", "params": [name]}).encode()
    return post(body, "/rpc", headers)


def check_canary(client, name):
    """On the canary's own connection to the proxy."""
    client.send(canary(name))
    reply = client.receive()
    assert reply.status == 200 and reply.json == {"id": name, "result": [name]}, f"{name}: {reply}"


def drop(port, data):
    """What the proxy answers, and when it closes, is its own affair: the bytes that come until it is
    silent. Whether it waits for more of a broken request nobody can tell, but it has read all of it."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        try:
            s.sendall(data)
            s.settimeout(0.15)
            while part := s.recv(65536):
                found += part
        except OSError:
            pass
    return found


class Plain(Client):
    """The proxy's own answers are not ours to lint."""
    lints = False


def test_canary_after_each_case(chain):
    """The cases again, with another one's request at once behind each."""
    refused_by_us = 0
    with Plain(chain.port, path="/rpc", timeout=20) as after:
        for case in vectors():
            bad = case["ringback"].startswith("reject")
            found = drop(chain.port, bytes_of(case) + (canary("smuggled", "Connection: close") if bad else b""))
            refused_by_us += found.count(b'{"id":null,"error":{"code":-32600')
            assert found.count(b'{"id":"smuggled"') <= 1, (case["id"], found)
            check_canary(after, case["id"])
    assert refused_by_us >= 5, "hardly a case came through the proxy: the test tests little"


def test_canaries_while_cases_come(chain):
    """Several at a time, so that the connections of the proxy are shared in every order."""
    cases = [c for c in vectors() if len(bytes_of(c)) < 1 << 16]
    faults, done = [], threading.Event()

    def attack():
        try:
            for c in cases:
                drop(chain.port, bytes_of(c))
        except Exception as e:  # noqa: BLE001: told below
            faults.append(e)
        finally:
            done.set()

    def canaries(k):
        try:
            with Plain(chain.port, path="/rpc", timeout=20) as c:
                n = 0
                while not done.is_set() or n == 0:
                    check_canary(c, f"canary {k} {n}")
                    n += 1
        except Exception as e:  # noqa: BLE001
            faults.append(e)

    threads = [threading.Thread(target=attack)] + [threading.Thread(target=canaries, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not faults, faults
