# SPDX-License-Identifier: Apache-2.0
"""The operators' side: what it tells, what it changes, whom it lets in; and its commands."""
import http.client
import json
import re
import socket
import sqlite3
import subprocess

import pytest

from lib.receiver import HANG, Answer
from lib.server import clean_env, ringback
from lib.wait import until

FAST = {"delivery.schedule": "50ms", "delivery.jitter": "0", "delivery.breaker": "0"}
TOKEN = "an-operators-token-of-some-length"


def admin_port(server):
    return int(server.wait_log(r"admin\.listening\b.*?\bport=(\d+)").group(1))


def ask(port, path, body=None, headers=(), method=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        head = {"Content-Type": "application/json"} if body is not None else {}
        c.request(method or ("GET" if body is None else "POST"), path, body, {**head, **dict(headers)})
        r = c.getresponse()
        return r.status, r.read().decode(), dict(r.getheaders())
    finally:
        c.close()


class Admin:
    def __init__(self, server):
        self.port = admin_port(server)

    def raw(self, method, params=None, **kw):
        body = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            body["params"] = params
        status, text, _ = ask(self.port, "/rpc", json.dumps(body), **kw)
        assert status == 200, (status, text)
        reply = json.loads(text)
        assert reply["jsonrpc"] == "2.0" and reply["id"] == 7
        return reply

    def call(self, method, /, **params):
        reply = self.raw(method, params)
        assert "result" in reply, reply
        return reply["result"]

    def error(self, method, /, **params):
        return self.raw(method, params)["error"]

    def jobs(self, /, **filter):
        return {j["job"] for j in self.call("rpc.jobs.list", limit=1000, **filter)["jobs"]}

    def state(self, job):
        return self.call("rpc.jobs.get", job=job)["state"]

    def run(self, *words, code=0):
        p = subprocess.run([str(ringback()), *words, "--admin", f"http://127.0.0.1:{self.port}"],
                           capture_output=True, text=True, timeout=60, env=clean_env())
        assert p.returncode == code, (p.returncode, p.stdout, p.stderr)
        return p


def make_dead(server, admin, receiver, n=1, path="/dead", method="test.echo"):
    """Jobs that were given up: 410 is the end at once."""
    receiver.on(path, Answer(410))
    with server.client() as c:
        jobs = [c.call(method, {"n": i}, id=f"{path}-{i}", callback=receiver.url(path)).jobs[0] for i in range(n)]
    until(lambda: admin.jobs(state="dead") >= set(jobs), 20, "all are dead")
    return jobs


def test_every_filter(make_server, receiver, make_receiver):
    server, other = make_server(FAST), make_receiver()
    admin = Admin(server)
    dead = make_dead(server, admin, receiver)[0]
    with server.client() as c:
        good = c.call("demo.echo", {"x": 1}, id=42, callback=other.url("/good")).jobs[0]
    until(lambda: admin.jobs(state="delivered") == {good}, 20, "it is delivered")
    assert admin.jobs() == {dead, good}
    assert admin.jobs(state=["DEAD", "delivered"]) == {dead, good}
    assert admin.jobs(method="demo.echo") == {good} and admin.jobs(method="test.*") == {dead}
    assert admin.jobs(receiver=f"https://127.0.0.1:{other.port}") == {good}
    assert admin.jobs(id=42) == {good} and admin.jobs(id="/dead-0") == {dead} and admin.jobs(id="42") == set()
    assert admin.jobs(caller="nobody") == set()
    created = admin.call("rpc.jobs.get", job=good)["created"]
    assert good in admin.jobs(**{"from": created}) and good not in admin.jobs(to=created)
    assert admin.jobs(**{"from": "2020-01-01T00:00:00+02:00", "to": 4102444800}) == {dead, good}
    assert admin.jobs(**{"from": 4102444800}) == set()


def test_show_has_it_all(make_server, receiver):
    server = make_server({**FAST, "delivery.schedule": "50ms,50ms", "delivery.max_age": "10m"})
    admin = Admin(server)
    receiver.on("/cb", Answer(500), Answer(500), Answer(410))  # the end, however slow the machine is
    with server.client() as c:
        job = c.call("test.echo", {"n": 1.50}, id="mine", callback=receiver.url("/cb")).jobs[0]
    until(lambda: admin.state(job) == "DEAD", 20, "it is dead")
    got = admin.call("rpc.jobs.get", job=job)
    assert got["params"] == {"n": 1.5} and got["id"] == "mine" and got["method"] == "test.echo"
    assert got["response"]["id"] == "mine" and "result" in got["response"]
    assert got["attempts"] == 3 and got["last_status"] == 410 and len(receiver.posts) == 3
    log = got["attempt_log"]
    assert [(a["number"], a["status"]) for a in log] == [(1, 500), (2, 500), (3, 410)]
    text = admin.run("jobs", "show", job).stdout
    assert job in text and "failed attempts:" in text and text.count(" 500 ") >= 2 and " 410 " in text
    assert json.loads(admin.run("jobs", "show", job, "--json").stdout) == got


def test_pages(make_server, receiver):
    server = make_server()
    admin = Admin(server)
    receiver.answer = HANG
    call = {"method": "test.echo", "params": {"$rpc.callback": receiver.url()}}
    with server.client() as c:
        for start in range(0, 2500, 500):
            c.post(json.dumps([{**call, "id": i} for i in range(start, start + 500)]).encode())
    seen, cursor = [], None
    while True:
        page = admin.call("rpc.jobs.list", limit=300, cursor=cursor)
        assert len(page["jobs"]) <= 300
        seen += [j["id"] for j in page["jobs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
        assert isinstance(cursor, str)
    assert len(seen) == 2500 and set(seen) == set(range(2500))
    lines = admin.run("jobs", "list", "--json", "--limit", "2400").stdout.splitlines()
    assert len({json.loads(x)["job"] for x in lines}) == 2400
    table = admin.run("jobs", "list", "--limit", "5")
    assert len(table.stdout.splitlines()) == 6 and "there are more" in table.stderr
    server.kill()


def test_retry_keeps_the_id(make_server, receiver):
    server = make_server(FAST)
    admin = Admin(server)
    one, *more = make_dead(server, admin, receiver, 4)
    receiver.on("/dead", Answer(200))
    assert admin.call("rpc.jobs.retry", job=one) == {"changed": 1, "skipped": 0, "cursor": None}
    until(lambda: admin.state(one) == "DELIVERED", 20, "it is delivered")
    assert [p.webhook_id for p in receiver.at("/dead")].count(one) == 2
    assert admin.run("jobs", "retry", "--state", "dead").stdout.startswith("3 changed")
    until(lambda: admin.jobs(state="delivered") == {one, *more}, 20, "all are")
    posts = [p.webhook_id for p in receiver.at("/dead")]
    assert all(posts.count(j) == 2 for j in more)
    # The same bytes again, elsewhere.
    admin.run("jobs", "retry", one, "--to", receiver.url("/else"))
    post, = receiver.wait(1, "/else")
    assert post.webhook_id == one and post.body == [p for p in receiver.at("/dead") if p.webhook_id == one][0].body


def test_retry_to_is_checked(make_server, receiver):
    server = make_server(FAST)
    admin = Admin(server)
    job, = make_dead(server, admin, receiver)
    e = admin.error("rpc.jobs.retry", job=job, to="http://example.com/")
    assert e["code"] == -32602 and "to" in e["data"]
    e = admin.error("rpc.jobs.retry", job=job, to=f"https://127.0.0.1:{admin.port}/")
    assert "to" in e["data"], "the operators' side is no receiver"
    p = admin.run("jobs", "retry", job, "--to", "https://10.0.0.1/", code=2)
    assert "to: " in p.stderr
    assert admin.state(job) == "DEAD"


def test_cancel_and_purge(make_server, receiver):
    server = make_server({**FAST, "delivery.schedule": "1h"})
    admin = Admin(server)
    receiver.answer = Answer(500)
    with server.client() as c:
        jobs = [c.call("test.echo", {}, id=i, callback=receiver.url()).jobs[0] for i in range(3)]
    until(lambda: all(admin.call("rpc.jobs.get", job=j)["attempts"] == 1 for j in jobs), 20, "each was tried")
    assert admin.call("rpc.jobs.cancel", job=jobs[0])["changed"] == 1
    assert admin.state(jobs[0]) == "CANCELLED"
    assert "data" in admin.error("rpc.jobs.cancel", job=jobs[0])
    assert admin.error("rpc.jobs.purge", job=jobs[1])["code"] == -32602, "it is not ended"
    assert admin.run("jobs", "cancel", "--method", "test.echo").stdout == "2 changed, 1 skipped\n"
    assert admin.jobs(state="cancelled") == set(jobs)
    assert admin.run("jobs", "purge", "--all").stdout == "3 changed, 0 skipped\n"
    assert admin.jobs() == set()
    assert admin.error("rpc.jobs.get", job=jobs[0])["code"] == -32003
    assert len(receiver.posts) == 3, "nothing more was sent"


def test_pause_and_resume(make_server, receiver):
    server = make_server()  # the schedule is long: what waits for too long is given up
    admin = Admin(server)
    name = f"https://127.0.0.1:{receiver.port}"
    admin.run("receivers", "pause", name)
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
    until(lambda: admin.state(job) == "DUE", 20, "its response waits")
    shown = {r["receiver"]: r for r in admin.call("rpc.receivers.list")["receivers"]}
    assert shown[name]["held"] is True
    assert re.search(re.escape(name) + r" +held", admin.run("receivers", "list").stdout)
    server.restart()
    admin = Admin(server)
    assert admin.call("rpc.receivers.list")["receivers"][0]["held"] is True
    assert receiver.posts == []
    admin.run("receivers", "resume", name)
    assert receiver.wait(1)[0].webhook_id == job
    assert "receiver" in admin.error("rpc.receivers.pause", receiver="nonsense")["data"]


@pytest.mark.parametrize("method,params,member", [
    ("rpc.jobs.list", {"stat": "DEAD"}, "stat"), ("rpc.jobs.list", {"state": "DAED"}, "state"),
    ("rpc.jobs.list", {"state": []}, "state"), ("rpc.jobs.list", {"limit": 1001}, "limit"),
    ("rpc.jobs.list", {"limit": 0}, "limit"), ("rpc.jobs.list", {"cursor": 5}, "cursor"),
    ("rpc.jobs.list", {"from": "yesterday"}, "from"), ("rpc.jobs.list", {"to": "2026-02-30"}, "to"),
    ("rpc.jobs.list", {"method": 1}, "method"), ("rpc.jobs.list", {"id": {}}, "id"),
    ("rpc.jobs.list", ["DEAD"], "params"), ("rpc.jobs.get", {}, "job"), ("rpc.jobs.get", {"job": "x"}, "job"),
    ("rpc.jobs.retry", {}, "job"), ("rpc.jobs.cancel", None, "job"), ("rpc.jobs.purge", {"all": False}, "job"),
    ("rpc.jobs.purge", {"all": True, "state": "DEAD"}, "all"), ("rpc.jobs.cancel", {"to": 1, "job": "x"}, "job"),
    ("rpc.receivers.pause", {}, "receiver"), ("rpc.callback.check", {}, "url"), ("rpc.stats", {"x": 1}, "x"),
    ("rpc.stats", {"$rpc.callback": "https://127.0.0.1/"}, "$rpc"),
])
def test_bad_params_name_the_member(server, method, params, member):
    e = Admin(server).raw(method, params)["error"]
    assert e["code"] == -32602 and list(e["data"]) == [member], e


def test_unknown_jobs_and_methods(server):
    admin = Admin(server)
    nobody = "01890000-0000-7000-8000-000000000000"
    for method in ("get", "retry", "cancel", "purge"):
        assert admin.error(f"rpc.jobs.{method}", job=nobody)["code"] == -32003
    assert admin.error("demo.echo")["code"] == -32601, "no method of callers"
    status, text, _ = ask(admin.port, "/rpc", '[{"id":1,"method":"rpc.stats"},{"method":"rpc.stats"},'
                          '{"id":2,"method":"rpc.jobs.list"},7]')
    batch = json.loads(text)
    assert status == 200 and [b.get("id") for b in batch] == [1, 2, None]
    assert batch[0]["result"]["accepted"] == 0 and batch[1]["result"] == {"jobs": [], "cursor": None}
    assert ask(admin.port, "/rpc", '{"method":"rpc.stats"}')[0] == 204
    assert json.loads(ask(admin.port, "/rpc", "{")[1])["error"]["code"] == -32700


def test_callback_check(server, receiver):
    admin = Admin(server)
    assert admin.call("rpc.callback.check", url=receiver.url()) == {
        "accepted": True, "receiver": f"https://127.0.0.1:{receiver.port}"}
    got = admin.call("rpc.callback.check", url="https://10.0.0.1/")
    assert got["accepted"] is False and got["check"].startswith("address")


def test_who_may_come_in(server):
    port = Admin(server).port
    for host, status in ((f"127.0.0.1:{port}", 200), (f"LOCALHOST:{port}", 200), ("127.0.0.1", 403),
                         (f"evil.example:{port}", 403), (f"127.0.0.1:{server.port}", 403)):
        for path in ("/metrics", "/healthz", "/readyz"):
            assert ask(port, path, headers={"Host": host})[0] == status, host
    for origin, status in ((f"http://127.0.0.1:{port}", 200), (f"http://localhost:{port}", 200),
                           ("http://evil.example", 403), ("null", 403), (f"https://127.0.0.1:{port}", 403)):
        assert ask(port, "/metrics", headers={"Origin": origin})[0] == status, origin
    assert ask(port, "/rpc", "{}", {"Content-Type": "text/plain"})[0] == 415
    assert ask(port, "/rpc")[0] == 405 and ask(port, "/metrics", "{}")[0] == 405 and ask(port, "/")[0] == 404
    assert ask(server.port, "/metrics")[0] == 404, "callers do not see it"


def test_token(make_server, tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    server = make_server({"admin.token_file": str(path)})
    port = admin_port(server)
    assert ask(port, "/healthz")[0] == 200 and ask(port, "/readyz")[0] == 200
    for value in (None, TOKEN, "Bearer", "Bearer " + TOKEN[:-1], "Bearer " + TOKEN + "x", "Basic " + TOKEN):
        for body, url in ((None, "/metrics"), ("{}", "/rpc")):
            status, _, headers = ask(port, url, body, {"Authorization": value} if value else {})
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer", value
    good = {"Authorization": f"Bearer {TOKEN}", "Host": "ringback.internal"}
    assert ask(port, "/metrics", headers=good)[0] == 200
    base = [str(ringback()), "stats", "--admin", f"http://127.0.0.1:{port}"]
    assert subprocess.run(base, capture_output=True, env=clean_env()).returncode == 1
    p = subprocess.run([*base, "--token-file", str(path)], capture_output=True, text=True, env=clean_env())
    assert p.returncode == 0 and "accepted" in p.stdout, p
    path.write_text("another-operators-token")
    server.signal(1)
    until(lambda: ask(port, "/metrics", headers=good)[0] == 401, 20, "the new token counts")
    assert ask(port, "/metrics", headers={"Authorization": "Bearer another-operators-token"})[0] == 200
    assert TOKEN not in server.log() and "another-operators-token" not in server.log()


def test_token_is_switched_on(make_server, tmp_path):
    path, conf = tmp_path / "token", tmp_path / "more.conf"
    conf.write_text("")
    server = make_server(start=False)
    argv = server.argv
    server.argv = lambda: [*argv(), "-c", str(conf)]
    server.start()
    port = admin_port(server)
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def kept_status():
        kept.request("GET", "/metrics")
        r = kept.getresponse()
        r.read()
        return r.status
    assert kept_status() == 200
    conf.write_text(f"[admin]\ntoken_file = {path}\n")
    server.signal(1)
    server.wait_log(r"config\.refused\b.*token_file")
    assert kept_status() == 200, "there is no such file"
    path.write_text(TOKEN)
    path.chmod(0o600)
    server.signal(1)
    until(lambda: ask(port, "/metrics")[0] == 401, 20, "it is asked for")
    assert kept_status() == 401, "on connections that were open before, too"
    kept.close()
    good = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(port, "/metrics", headers=good)[0] == 200 and "needs_restart" not in server.log()
    conf.write_text("")
    server.signal(1)
    server.wait_log(r"admin\.token_refused\b.*new start")
    assert ask(port, "/metrics")[0] == 401 and ask(port, "/metrics", headers=good)[0] == 200


@pytest.mark.parametrize("text,mode", [("sh0rt!", 0o600), (TOKEN, 0o644), ("two words of a long token", 0o600)])
def test_bad_token_files(make_server, tmp_path, text, mode):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    server = make_server({"admin.token_file": str(path)}, start=False).spawn()
    assert server.wait() == 2 and "admin.token_file" in server.log() and text not in server.log()


def test_other_addresses_need_a_token(make_server):
    server = make_server({"admin.listen": ":0"}, start=False).spawn()
    assert server.wait() == 2 and "admin.listen" in server.log()


def test_port_is_taken(make_server, server):
    second = make_server({"admin.listen": f"127.0.0.1:{admin_port(server)}"}, start=False).spawn()
    assert second.wait() != 0 and "admin.listen" in second.log()


def test_health_while_draining(make_server, receiver):
    server = make_server({"server.drain": "30s"})
    admin = Admin(server)
    receiver.on("/slow", Answer(200, delay=3))
    with server.client() as c:
        c.call("test.echo", {}, callback=receiver.url("/slow"))
    receiver.wait(1, "/slow")
    assert ask(admin.port, "/readyz")[0] == 200
    server.signal(15)
    until(lambda: ask(admin.port, "/readyz")[0] == 503, 3, "it drains")
    assert ask(admin.port, "/healthz")[0] == 200 and ask(admin.port, "/metrics")[0] == 200
    # Not ready is said first; that nobody is asked for receivers any more, a moment later.
    refused = until(lambda: admin.raw("rpc.receivers.list").get("error"), 3, "receivers are not listed any more")
    assert refused["code"] == -32009
    assert server.wait() == 0


def parse_metrics(text):
    """Strictly: each family once, with HELP and TYPE before its samples."""
    types, values = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, help_text = line[7:].split(" ", 1)
            assert help_text and name not in types, line
            types[name] = None
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert types[name] is None and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        else:
            m = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? (-?[0-9.]+)', line)
            assert m, line
            family = m[1] if m[1] in types else re.sub(r"_(bucket|sum|count)$", "", m[1])
            assert types[family] and (types[family] == "counter") == family.endswith("_total"), line
            assert family.startswith("ringback_") and m[1] + (m[2] or "") not in values
            values[m[1] + (m[2] or "")] = float(m[3])
    assert text.endswith("\n")
    return values


def test_metrics_agree(make_server, receiver):
    server = make_server(FAST)
    admin = Admin(server)
    make_dead(server, admin, receiver, 2)
    with server.client() as c:
        for i in range(5):
            c.call("test.echo", {}, id=i, callback=receiver.url("/ok"))
    until(lambda: len(admin.jobs(state="delivered")) == 5, 20, "five are delivered")
    def settled():
        m = parse_metrics(ask(admin.port, "/metrics")[1])
        return m if m["ringback_jobs_delivered_total"] == 5 and m['ringback_jobs_kept{shelf="dead"}'] == 2 and \
            m['ringback_jobs_kept{shelf="done"}'] == 5 else None
    m = until(settled, 20, "the numbers are there")
    assert m["ringback_jobs_accepted_total"] == 7 and m["ringback_jobs_dead_total"] == 2
    assert m['ringback_delivery_attempts_total{outcome="delivered"}'] == 5
    assert m['ringback_delivery_attempts_total{outcome="gone"}'] == 2
    buckets = [v for k, v in m.items() if k.startswith("ringback_delivery_latency_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == m["ringback_delivery_latency_seconds_count"] == 5
    assert sum(v for k, v in m.items() if k.startswith("ringback_jobs_pending{")) == 0
    assert any(k.startswith("ringback_build_info{") and v == 1 for k, v in m.items())
    stats = json.loads(admin.run("stats", "--json").stdout)
    assert stats["delivered"] == 5 and stats["attempts"]["gone"] == 2


def test_backup(make_server, receiver, tmp_path):
    server = make_server(FAST)
    admin = Admin(server)
    jobs = make_dead(server, admin, receiver, 3)
    copy = tmp_path / "copy.db"
    words = [str(ringback()), "store", "backup", str(copy), "--set", f"store.dsn=sqlite:{server.store}"]
    p = subprocess.run(words, capture_output=True, text=True, env=clean_env())
    assert p.returncode == 0, p
    before = copy.read_bytes()
    assert subprocess.run(words, capture_output=True, env=clean_env()).returncode == 2
    assert copy.read_bytes() == before and copy.stat().st_mode & 0o777 == 0o600
    db = sqlite3.connect(copy)
    assert db.execute("select count(*) from dead").fetchone() == (3,)
    db.close()
    second = Admin(make_server({**FAST, "store.dsn": f"sqlite:{copy}"}))
    assert second.jobs(state="dead") == set(jobs)


def put_long(server, pad):
    """A job that waits, with params of so many letters."""
    body = {"id": 1, "method": "test.echo",
            "params": {"pad": "x" * pad, "$rpc.callback": "https://127.0.0.1:4443/cb", "$rpc.delay": 3600}}
    with server.client() as c:
        reply = c.post(json.dumps(body).encode())
    assert reply.status == 200 and len(reply.jobs) == 1, reply
    return reply.jobs[0]


@pytest.mark.alone  # hundreds of MiB at once
def test_answers_are_bounded(make_server):
    server = make_server({"server.max_body": "64M", "server.max_connections": 500})
    admin = Admin(server)
    most, each = 64 << 20, 30 << 20

    def get(job):
        return {"id": 7, "method": "rpc.jobs.get", "params": {"job": job}}

    # A batch of two has 20 bytes left: not enough for what must be said of the others.
    first = put_long(server, each)
    length = len(ask(admin.port, "/rpc", json.dumps(get(first)))[1])
    job = put_long(server, each + (most - 20 - 3) // 2 - length)
    batch = [get(job), get(job), get(job), {"id": 8, "method": "rpc.stats"}, {"id": 9, "method": "none"}]
    status, text, _ = ask(admin.port, "/rpc", json.dumps(batch))
    assert status == 200 and len(text) > most - 30
    got = json.loads(text)
    assert [a["id"] for a in got] == [7, 7, 7, 8, 9]
    assert got[0]["result"]["job"] == job and got[1]["result"] == got[0]["result"]
    assert got[2]["error"]["code"] == -32008 and "pending" in got[3]["result"] and got[4]["error"]["code"] == -32601

    # Many who ask and do not read.
    deaf = []
    for _ in range(8):
        s = socket.create_connection(("127.0.0.1", admin.port))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(get(job))
        s.sendall((f"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1:{admin.port}\r\nContent-Type: application/json\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        deaf.append(s)
    until(lambda: admin.raw("rpc.jobs.get", {"job": job}).get("error", {}).get("code") == -32009, 15,
          "there is no room for more")
    assert admin.call("rpc.stats")["pending"] == 2
    for s in deaf:
        s.close()
    until(lambda: "result" in admin.raw("rpc.jobs.get", {"job": job}), 15, "there is room again")


@pytest.mark.parametrize("words", [["jobs"], ["jobs", "eat"], ["jobs", "show"], ["jobs", "purge"],
                                   ["jobs", "cancel", "--to", "https://a/"], ["jobs", "list", "word"],
                                   ["receivers"], ["receivers", "pause"], ["stats", "word"],
                                   ["jobs", "list", "--state", "eaten"], ["jobs", "list", "--from", "noon"]])
def test_usage(server, words):
    assert Admin(server).run(*words, code=2).stderr.startswith("ringback: ")


def test_nobody_there():
    p = subprocess.run([str(ringback()), "stats"], capture_output=True, text=True,
                       env=clean_env({"RINGBACK_ADMIN": "http://127.0.0.1:1"}))
    assert p.returncode == 1 and "127.0.0.1:1" in p.stderr


# --- a socket in place of a port ------------------------------------------------------------------

def ask_at(place, *words, by_env=False):
    env = clean_env({"RINGBACK_ADMIN": place} if by_env else {})
    return subprocess.run([str(ringback()), *words, *([] if by_env else ["--admin", place])],
                          capture_output=True, text=True, timeout=60, env=env)


@pytest.mark.parametrize("by_env", [False, True])
def test_commands_over_a_unix_socket(make_server, receiver, tmp_path, by_env):
    place = f"unix:{tmp_path}/admin"
    server = make_server({"admin.listen": place})
    with server.client() as c:
        job = c.call("test.echo", callback=receiver.url(), delay=1000).jobs[0]
    listed = ask_at(place, "jobs", "list", "--json", by_env=by_env)
    assert json.loads(listed.stdout)["job"] == job, listed.stderr
    assert ask_at(place, "receivers", "list", by_env=by_env).returncode == 0
    assert "accepted" in ask_at(place, "stats", by_env=by_env).stdout
    assert ask_at(place, "jobs", "cancel", job, by_env=by_env).returncode == 0
    receiver.wait(1)


def test_a_token_over_a_unix_socket(make_server, tmp_path):
    place, file = f"unix:{tmp_path}/admin", tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    make_server({"admin.listen": place, "admin.token_file": file})
    without = ask_at(place, "stats")
    assert without.returncode == 1 and f"{place} answered HTTP 401: --token-file wants" in without.stderr
    assert ask_at(place, "stats", "--token-file", str(file)).returncode == 0


@pytest.mark.parametrize("path, code, says", [("/none/s", 1, "unix:/none/s: "), ("", 2, "needs the path of a socket"),
                                              ("/" + "x" * 107, 2, "at most 107 bytes")])
def test_no_such_socket(path, code, says):
    p = ask_at(f"unix:{path}", "stats")
    assert p.returncode == code and says in p.stderr, p.stderr
