# SPDX-License-Identifier: Apache-2.0
"""Where callbacks may not go, nothing goes: the vectors of URLs and addresses, name servers
that lie, redirects, and a policy that changes, all seen by the kernel's eye (strace).

Nothing but loopback is ever contacted: 127.0.0.2 plays the public internet."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from lib import trace
from lib.names import (DENIED, EMPTY, NXDOMAIN, SERVFAIL, SILENT, Alias, NameServer, Spoofed)
from lib.receiver import Answer, Receiver
from lib.server import clean_env, ringback
from lib.wait import until

GOOD, BAD = "127.0.0.2", "127.0.0.3"
NO_ADDRESS = "host has no allowed address"
DAY = 86400
LONG = bool(os.environ.get("RBK_LONG"))  # see soak_delivery

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture
def names():
    with NameServer() as ns:
        yield ns


@pytest.fixture(scope="module")
def hooks_cert(ca):
    return ca.issue("hooks", names=("*.hooks.test", GOOD, BAD))


@pytest.fixture
def hooks(make_receiver, hooks_cert):
    return make_receiver(cert=hooks_cert, host=GOOD)


@pytest.fixture
def traced(make_server, names, tmp_path):
    """make(options) -> a server that asks `names` and may reach 127.0.0.2; its connects are
    in server.connects(), without those to the name server."""
    def make(options=(), **kw):
        out = tmp_path / f"connects-{len(list(tmp_path.glob('connects-*')))}.txt"
        env = {"ASAN_OPTIONS": "detect_leaks=0", **kw.pop("env", {})}
        s = make_server({"callback.allow": f"{GOOD}/32", "callback.name_servers": names.address,
                         "callback.resolve": "yes", "callback.resolve_timeout": "10s", "delivery.breaker": "0",
                         "delivery.jitter": "0", **dict(options)},
                        start=False, env=env, **kw,
                        wrap=["strace", "-f", "-qq", "-e", "signal=none", "-e", "trace=connect", "-o", str(out)])
        s.connects = lambda: [c for c in trace.connects(out) if c != ("127.0.0.1", names.port)]
        return s.start(limit=60)
    return make


def reason_of(reply):
    return reply.error["data"]["$rpc.callback"] if "error" in reply.json else None


def submit(server, url, **rpc):
    """None when it was acknowledged, or the reason."""
    with server.client() as c:
        reply = c.call("test.echo", {"u": url}, callback=url, **rpc)
    reason = reason_of(reply)
    if reason is None:
        assert reply.json["result"]["callback"]["status"] is True
    else:
        assert reply.error["code"] == -32602
    return reason


# --- The vectors, at the door ------------------------------------------------------------------

def fits(stage, reason):
    """May a URL that the vectors refuse at `stage` be refused with this reason? What is no
    URL at all may be so first."""
    allowed = {
        "scheme": ("invalid protocol",),
        "parse": ("must be", "too long", "invalid URL", "must have", "invalid protocol"),
        "userinfo": ("user info not allowed", "invalid URL"),
        "port": ("port not allowed", "invalid URL"),
        "host": ("host not allowed", "invalid URL"),
        "ip": ("address not allowed", "invalid URL"),
        "dns": (NO_ADDRESS,),
    }[stage]
    return reason is not None and reason.startswith(allowed)


@needs_strace
def test_urls(traced, names, data):
    """In one batch: each verdict as the vectors have it. Jobs are delayed by a day, so that
    not even an allowed address is tried."""
    cases = json.loads(data("callback-urls.json").read_text())["cases"]
    assert len(cases) > 200
    names.default = [GOOD]
    for host in ("127.0.0.1.nip.io", "company.127.0.0.1.nip.io", "localtest.me"):
        names.zone[host] = [["127.0.0.1"]]
    names.zone["169.254.169.254.nip.io"] = [["169.254.169.254"]]
    names.zone["10-0-0-1.sslip.io"] = [["10.0.0.1"]]
    server = traced()
    batch = [{"id": i, "method": "test.echo", "params": {"$rpc.callback": c["url"], "$rpc.delay": DAY}}
             for i, c in enumerate(cases)]
    wrong = []
    with server.client() as c:
        for got in c.post(batch).json:
            case = cases[got["id"]]
            reason = got["error"]["data"]["$rpc.callback"] if "error" in got else None
            ok = reason is None if case["verdict"] == "allowed" else fits(case["stage"], reason)
            if not ok:
                wrong.append((case["url"], case["stage"], reason))
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"
    server.stop()
    assert server.connects() == []


@needs_strace
def test_addresses(traced, names, data):
    """Each address as a literal, and as what a name answers."""
    cases = json.loads(data("addresses.json").read_text())["cases"]
    batch, want = [], []
    for i, case in enumerate(cases):
        a = case["address"]
        names.zone[f"n{i}.hooks.test"] = [[a]]
        for url in (f"https://[{a}]/" if ":" in a else f"https://{a}/", f"https://n{i}.hooks.test/"):
            batch.append({"id": len(want), "method": "test.echo",
                          "params": {"$rpc.callback": url, "$rpc.delay": DAY}})
            want.append((a, case["verdict"] == "allowed", "n" in url.split("/")[2][:1]))
    server = traced()
    answers = []
    with server.client() as c:
        for i in range(0, len(batch), 60):
            answers += c.post(batch[i:i + 60]).json
    wrong = []
    for got in answers:
        address, allowed, named = want[got["id"]]
        reason = got["error"]["data"]["$rpc.callback"] if "error" in got else None
        if reason != (None if allowed else NO_ADDRESS if named else "address not allowed"):
            wrong.append((address, named, reason))
    assert len(answers) == 2 * len(cases) and not wrong, wrong[:5]
    server.stop()
    assert server.connects() == []


# --- Name servers ---------------------------------------------------------------------------------

# name of the scenario: what the name answers with 127.0.0.2 for the public address, and what
# becomes of a callback: refused at the door, delivered, or accepted and then failing.
SCENARIOS = {
    "public A": ([[GOOD]], "delivered"),
    "private A": ([["10.0.0.1"]], "refused"),
    "mixed A public and private": ([[GOOD, "10.0.0.1"]], "refused"),
    "mixed order swapped": ([["10.0.0.1", GOOD]], "refused"),
    "A public, AAAA private": ([[GOOD, "fd00::1"]], "refused"),
    "AAAA v4-mapped metadata": ([["::ffff:169.254.169.254"]], "refused"),
    "AAAA NAT64 of loopback": ([["64:ff9b::7f00:1"]], "refused"),
    "rebind between accept and delivery": ([[GOOD], ["127.0.0.1"]], "ADDRESS"),
    "rebind between check and connect": ([[GOOD], [GOOD], ["169.254.169.254"]], "delivered"),
    "rebind between retries": None,  # a test of its own
    "TTL 0 and TTL 2^31-1": ([[GOOD]], "delivered"),
    "CNAME chain to a private name": ([Alias("metadata.google.internal", ["169.254.169.254"])], "refused"),
    "CNAME loop": ([Alias("loop.hooks.test", None)], "RESOLVE"),
    "NXDOMAIN": ([NXDOMAIN], "refused"),
    "SERVFAIL or timeout": ([SERVFAIL], "RESOLVE"),
    "1000 A records": ([[f"127.7.{i // 250}.{i % 250 + 1}" for i in range(1000)]], "refused"),
    "answer to another name / wrong id / cache poisoning burst": ([Spoofed([BAD], [GOOD])], "delivered"),
    "search domain expansion": ([[GOOD]], "delivered"),
    "hosts file entry": None,  # a test of its own
    "own public address": None,  # a test of its own
    "split horizon: internal resolver gives RFC 1918 for a public name": ([["10.1.2.3"]], "refused"),
    # The name server itself is at an address that no callback may reach.
    "DNS over /etc/resolv.conf on a metadata address": ([[GOOD]], "delivered"),
    # Further ones.
    "no address at all": ([EMPTY], "refused"),
    "denied without an SOA record": ([DENIED], "RESOLVE"),
}


def test_no_scenario_is_left_out(data):
    listed = {c["name"] for c in json.loads(data("dns-scenarios.json").read_text())["cases"]}
    assert len(listed) == 22 and listed <= set(SCENARIOS)


def hosts():
    rows = ((name, s) for name, s in SCENARIOS.items() if s)
    return [(name, f"s{i}.hooks.test", *s) for i, (name, s) in enumerate(rows)]


@needs_strace
def test_scenarios(traced, names, hooks):
    for name, host, answers, _ in hosts():
        names.zone[host] = answers
    names.ttl["s9.hooks.test"] = 0
    server = traced({"delivery.schedule": "1h"}, env={"LOCALDOMAIN": "corp.internal"})
    wrong = []
    for name, host, _, end in hosts():
        reason = submit(server, f"https://{host}:{hooks.port}/{host}")
        if reason != (NO_ADDRESS if end == "refused" else None):
            wrong.append((name, end, reason))
    assert not wrong, wrong
    ends = {host: end for _, host, _, end in hosts()}
    for host, end in ends.items():
        if end == "delivered":
            until(lambda: any(p.target == f"/{host}" for p in hooks.posts), 30, f"{host} is delivered")
        elif end != "refused":
            server.wait_log(rf"event=delivery\.failed .*host={host} .*error={end} ")
    # One look-up at the door, one for the attempt; names are absolute.
    rebound = next(h for n, h, *_ in hosts() if n == "rebind between check and connect")
    assert (names.queries[(rebound, 1)], names.queries[(rebound, 28)]) == (2, 2)
    assert not [q for q in names.queries if "corp" in q[0]]
    server.stop()
    assert set(server.connects()) == {(GOOD, hooks.port)}
    assert len(hooks.posts) == list(ends.values()).count("delivered")


@needs_strace
def test_without_the_check_at_the_door_attempts_are_checked(traced, names, hooks):
    """callback.resolve=no: what the door would have refused is accepted, and never sent."""
    refused = [(n, h, a) for n, h, a, end in hosts() if end == "refused"]
    for _, host, answers in refused:
        names.zone[host] = answers
    server = traced({"callback.resolve": "no", "delivery.schedule": "1h"})
    for _, host, _ in refused:
        assert submit(server, f"https://{host}:{hooks.port}/") is None
    for _, host, _ in refused:
        server.wait_log(rf"event=delivery\.failed .*host={host} .*error=(ADDRESS|RESOLVE) ")
    assert "10.0.0.1" not in server.log(), "the log names no address that a caller chose"
    server.stop()
    assert server.connects() == [] and not hooks.posts


@needs_strace
def test_the_trace_shows_a_connection_that_is_made(traced, names, hooks):
    """The control: with the address allowed, the same name is connected to."""
    names.zone["s.hooks.test"] = [[BAD]]
    server = traced({"callback.allow": f"{BAD}/32", "delivery.schedule": "1h"})
    assert submit(server, f"https://s.hooks.test:{hooks.port}/") is None
    server.wait_log(r"event=delivery\.failed .*host=s\.hooks\.test .*error=CONNECT ")
    server.stop()
    assert set(server.connects()) == {(BAD, hooks.port)}


@needs_strace
def test_rebinding_between_retries(traced, names, hooks):
    """The second attempt finds another address, and is refused; the third one delivers."""
    names.zone["s.hooks.test"] = [[GOOD], [GOOD], [BAD], [GOOD]]
    names.ttl["s.hooks.test"] = 1
    hooks.on("/x", Answer(500), Answer(200))
    server = traced({"delivery.schedule": "6s,6s"})
    assert submit(server, f"https://s.hooks.test:{hooks.port}/x") is None
    until(lambda: len(hooks.posts) == 2, 40, lambda: f"two posts: {server.log()[-1500:]}")
    assert [p.headers["ringback-attempt"] for p in hooks.posts] == ["1", "3"]
    server.wait_log(r"event=delivery\.failed .*attempt=2 .*error=ADDRESS ")
    server.stop()
    assert set(server.connects()) == {(GOOD, hooks.port)}


@needs_strace
def test_rebinding_by_turns(traced, names, hooks):
    """Names that answer well at the door and badly ever after, and the other way round."""
    n = 100
    for i in range(n):
        names.zone[f"a{i}.hooks.test"] = [[GOOD], [BAD]]
        names.zone[f"b{i}.hooks.test"] = [[BAD], [GOOD]]
    server = traced({"delivery.schedule": "1h"})
    batch = [{"id": f"{k}{i}", "method": "test.echo",
              "params": {"$rpc.callback": f"https://{k}{i}.hooks.test:{hooks.port}/"}}
             for k in "ab" for i in range(n)]
    accepted = set()
    with server.client() as c:
        for i in range(0, len(batch), 40):  # so that no packet is lost and asked for again
            accepted |= {a["id"] for a in c.post(batch[i:i + 40]).json if "error" not in a}
    assert accepted == {f"a{i}" for i in range(n)}
    until(lambda: server.log().count("error=ADDRESS") == n, 60, "every attempt was refused")
    for i in range(n):
        assert (names.queries[(f"a{i}.hooks.test", 1)], names.queries[(f"a{i}.hooks.test", 28)]) == (2, 2)
    server.stop()
    assert server.connects() == [] and not hooks.posts


@needs_strace
def test_rebinding_under_load(traced, names, hooks):
    """Many deliveries are under way while their name leads elsewhere for a while: what would go there
    waits, nothing is lost, and nothing comes twice."""
    jobs = 3000 if LONG else 600
    names.zone["s.hooks.test"] = [[GOOD], [GOOD], [BAD], [GOOD]]
    names.ttl["s.hooks.test"] = 1
    hooks.answer = Answer(200, delay=0.04, then="answer+close")  # each attempt connects anew
    server = traced({"delivery.schedule": ",".join(["500ms"] * 32), "delivery.max_age": "10m",
                     "delivery.per_receiver": "4" if jobs < 1000 else "16"})
    batch = [{"id": i, "method": "test.echo", "params": {"$rpc.callback": f"https://s.hooks.test:{hooks.port}/"}}
             for i in range(jobs)]
    with server.client() as c:
        for i in range(0, jobs, 200):
            assert all("result" in a for a in c.post(batch[i:i + 200]).json)
    until(lambda: server.pending() == 0, 90, lambda: f"all is delivered, {server.pending()} are left", poll=0.2)
    assert server.log().count("error=ADDRESS") > 3, "the name led elsewhere meanwhile"
    assert server.dead() == set()
    assert len({p.webhook_id for p in hooks.posts}) == len(hooks.posts) == jobs
    server.stop()
    assert set(server.connects()) == {(GOOD, hooks.port)}


def can_unshare():
    return os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(
        ["unshare", "-m", "true"], capture_output=True).returncode == 0


@needs_strace
@pytest.mark.skipif(not can_unshare(), reason="no mount namespace of our own")
def test_hosts_file(make_server, names, hooks, tmp_path):
    """A name of the hosts file is judged by its address, as any other."""
    (tmp_path / "hosts").write_text(f"{BAD} bad.hooks.test\n{GOOD} good.hooks.test\n")
    out = tmp_path / "connects.txt"
    server = make_server({"callback.allow": f"{GOOD}/32", "callback.name_servers": names.address,
                          "callback.resolve": "yes", "delivery.schedule": "1h"}, start=False, env={"ASAN_OPTIONS": "detect_leaks=0"},
                         wrap=["unshare", "-m", "sh", "-c", f'mount --bind {tmp_path}/hosts /etc/hosts && exec "$@"',
                               "sh", "strace", "-f", "-qq", "-e", "trace=connect", "-o", str(out)]).start(limit=60)
    assert submit(server, f"https://bad.hooks.test:{hooks.port}/") == NO_ADDRESS
    assert submit(server, f"https://good.hooks.test:{hooks.port}/") is None
    until(lambda: hooks.posts, 20, "the other one is delivered")
    server.stop()
    assert set(trace.connects(out)) == {(GOOD, hooks.port)}


# --- The wait at the door ---------------------------------------------------------------------------

def test_a_silent_name_server_delays_little(make_server, names, hooks):
    """The acknowledgement comes after callback.resolve_timeout, once for a whole batch; other
    calls wait for nothing."""
    for i in range(20):
        names.zone[f"q{i}.hooks.test"] = [SILENT]
    names.zone["fine.hooks.test"] = [[GOOD]]
    server = make_server({"callback.allow": f"{GOOD}/32", "callback.name_servers": names.address,
                          "callback.resolve": "yes", "callback.resolve_timeout": "3s"})
    batch = [{"id": i, "method": "test.echo",
              "params": {"$rpc.delay": DAY, "$rpc.callback": f"https://q{i}.hooks.test/"}} for i in range(20)]
    took = []

    def post():
        with server.client() as c:
            begin = time.monotonic()
            answers = c.post(batch).json
            took.append(time.monotonic() - begin)
            assert all("result" in a for a in answers) and len(answers) == 20
    t = threading.Thread(target=post)
    t.start()
    until(lambda: names.queries[("q19.hooks.test", 1)], 10, "the look-ups are out")
    begin = time.monotonic()
    assert submit(server, f"https://fine.hooks.test:{hooks.port}/") is None
    assert submit(server, f"https://{GOOD}:{hooks.port}/") is None
    others = time.monotonic() - begin
    assert t.is_alive() and others < 2.5, f"others waited {others} s"
    t.join(60)
    assert 2.9 < took[0] < 20
    server.stop()


def test_what_is_known_is_not_asked_again(make_server, names, hooks):
    names.zone["s.hooks.test"] = [[GOOD]]
    names.zone["t.hooks.test"] = [["10.0.0.1"]]
    server = make_server({"callback.allow": f"{GOOD}/32", "callback.name_servers": names.address,
                          "callback.resolve": "yes", "callback.resolve_timeout": "10s"})
    for _ in range(20):
        assert submit(server, f"https://S.hooks.test.:{hooks.port}/", delay=DAY) is None
        assert submit(server, f"https://t.hooks.test:{hooks.port}/", delay=DAY) == NO_ADDRESS
    assert names.queries[("s.hooks.test", 1)] == names.queries[("t.hooks.test", 1)] == 1
    server.stop()


def test_stop_while_calls_wait_for_names(make_server, names):
    """They are answered: nothing was stored, so they are told to come again."""
    names.zone["q.hooks.test"] = [SILENT]
    server = make_server({"callback.name_servers": names.address, "callback.resolve": "yes",
                          "callback.resolve_timeout": "10s"})
    got = []

    def post():
        with server.client() as c:
            got.append(c.call("test.echo", callback="https://q.hooks.test/"))
    t = threading.Thread(target=post)
    t.start()
    until(lambda: names.queries[("q.hooks.test", 1)], 10, "the look-up is out")
    server.stop()
    t.join(10)
    assert got[0].status == 503 and got[0].error["code"] == -32009
    assert server.pending() == 0


# --- Itself -----------------------------------------------------------------------------------------

@needs_strace
def test_never_itself(traced, names):
    server = traced({"callback.allow": "127.0.0.0/8"})
    names.zone["own.hooks.test"] = [["127.0.0.1"]]
    names.zone["any.hooks.test"] = [["0.0.0.0"]]
    for url, reason in ((f"https://127.0.0.1:{server.port}/api", "address not allowed"),
                        (f"https://0.0.0.0:{server.port}/api", "address not allowed"),
                        (f"https://own.hooks.test:{server.port}/api", NO_ADDRESS),
                        (f"https://any.hooks.test:{server.port}/api", NO_ADDRESS)):
        assert submit(server, url) == reason, url
    server.stop()
    assert server.connects() == []


def test_a_listener_on_every_address(tmp_path):
    """The machine's own addresses are asked for; `check-dsn` asks the same way."""
    out = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True) if shutil.which("ip") else None
    own = {line.split()[3].split("/")[0] for line in out.stdout.splitlines()} if out else {"127.0.0.1"}
    for address in own:
        run = subprocess.run([ringback(), "check-dsn", "--set", "server.listen=:7600", "--set",
                              "auth.open=yes", "--set", "callback.allow=0.0.0.0/0", f"https://{address}:7600/"],
                             capture_output=True, text=True, cwd=tmp_path, env=clean_env())
        assert run.returncode == 1 and "refused: address not allowed" in run.stdout, address


# --- Redirects --------------------------------------------------------------------------------------

@needs_strace
def test_redirects(traced, hooks, data):
    """Answers that try to move the client: none opens a second connection elsewhere, with the
    proxy variables of the environment set."""
    cases = json.loads(data("redirects.json").read_text())["cases"]
    for i, case in enumerate(cases):
        answer = Answer()
        answer.bytes = case["response"].encode("latin-1")
        hooks.on(f"/{i}", answer)
    proxy = f"http://{BAD}:9"
    server = traced({"delivery.schedule": "1h", "log.level": "debug"},
                    env={k: proxy for k in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")})
    for i in range(len(cases)):
        assert submit(server, f"https://{GOOD}:{hooks.port}/{i}") is None
    delivered = sum(c["expect"].startswith("delivered") for c in cases)
    until(lambda: server.log().count("event=job.delivered") == delivered and
          server.log().count("event=delivery.failed") == len(cases) - delivered, 60,
          lambda: f"every answer is in: {server.log()[-1500:]}")
    assert len(cases) == 28 and sorted(p.target for p in hooks.posts) == sorted(f"/{i}" for i in range(len(cases)))
    assert not any("cookie" in p.headers or "authorization" in p.headers for p in hooks.posts)
    server.stop()
    assert set(server.connects()) == {(GOOD, hooks.port)}


# --- A new policy -------------------------------------------------------------------------------------

def with_file(server, ini):
    before = server.argv
    server.argv = lambda: [*before(), "-c", str(ini)]
    return server


def reload(server, pattern):
    n = len(server.log())
    server.signal(signal.SIGHUP)
    until(lambda: pattern in server.log()[n:], 20, lambda: f"the log says {pattern}: {server.log()[n:][-2000:]}")
    return server.log()[n:]


def test_a_new_policy_decides_at_the_next_attempt(make_server, hooks, tmp_path):
    """Thousands of jobs wait for a receiver that is down; its address is forbidden; it comes
    back and gets nothing: all of them go dead, with the reason."""
    count = 10_000 if LONG else 2000
    ini = tmp_path / "extra.ini"
    ini.write_text("[callback]\nports = \n")
    server = with_file(make_server({"callback.allow": f"{GOOD}/32", "delivery.schedule": ",".join(["3s"] * 30),
                                    "delivery.breaker": "0"}, start=False), ini).start()
    hooks.stop()
    url = f"https://{GOOD}:{hooks.port}/"
    with server.client() as c:
        for i in range(0, count, 500):
            batch = [{"id": k, "method": "test.echo", "params": {"$rpc.callback": url}} for k in range(i, i + 500)]
            assert all("result" in a for a in c.post(batch).json)
    until(lambda: server.log().count("event=delivery.failed") >= count, 120, "all were tried")
    ini.write_text(f"[callback]\ndeny = {GOOD}\n[log]\nlevel = warn\n")
    reload(server, "event=config.reloaded")
    hooks.start()
    assert submit(server, url) == "address not allowed"
    until(lambda: len(server.dead()) == count, 120, lambda: f"all are dead, {len(server.dead())} are", poll=0.2)
    assert {r for r, in server.rows("select distinct reason from dead")} == {"address not allowed"}
    assert server.pending() == 0 and not hooks.posts
    server.stop()


def test_reload(make_server, hooks, tmp_path):
    """Both ways, with the log's level; what needs a start is named; a fault changes nothing."""
    ini = tmp_path / "extra.ini"
    ini.write_text("[callback]\nhosts = \n")
    server = with_file(make_server({"callback.allow": f"{GOOD}/32"}, start=False), ini).start()
    url = f"https://{GOOD}:{hooks.port}/"
    assert submit(server, url) is None
    until(lambda: hooks.posts, 20, "it is delivered by the first policy")
    ini.write_text("[callback]\nhosts = **.example.com\n[server]\nmax_batch = 7\n[log]\nlevel = debug\n")
    assert 'event=config.needs_restart keys=server.max_batch' in reload(server, "event=config.needs_restart")
    assert submit(server, url) == "host not allowed"
    for text in ("[callback]\nallow = 1.2.3\n", "[callback]\nhosts = \nnope = 1\n", "[server]\nmax_batch = x\n"):
        ini.write_text(text)
        said = reload(server, "event=config.refused")
        assert said.count("level=error") == 1 and "config.reloaded" not in said
        assert submit(server, url) == "host not allowed"
    ini.write_text("")
    assert "needs_restart" not in reload(server, "event=config.reloaded")
    assert submit(server, url) is None
    until(lambda: len(hooks.posts) == 2, 20, "both are delivered")
    server.stop()
