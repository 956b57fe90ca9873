# SPDX-License-Identifier: Apache-2.0
"""What belongs to one caller alone: the secret that signs its callbacks, the headers of its
receivers, the methods and hosts that it may use."""
import re
import sqlite3

import pytest

from lib.receiver import Answer
from lib.tokens import reload
from lib.wait import until
from test_signatures import fits_ed25519, fits_hmac, from_base64url, get_keys, keygen, signatures, write_secrets


@pytest.fixture
def secret_of(callers):
    """alice and bob each have a secret of their own, carol has none."""
    secrets = {name: keygen().strip() for name in ("alice", "bob")}
    callers.add("carol")
    for name, secret in secrets.items():
        callers.sections[name]["secret"] = secret
    return secrets


def public_key(server):
    with server.client() as c:
        return from_base64url(get_keys(c)[0]["x"])


def row_of(server, shelf):
    with sqlite3.connect(f"file:{server.store}?mode=ro", uri=True, timeout=20) as db:
        return db.execute(f"select caller, reason from {shelf}").fetchall()


def wait_dead(server, reason):
    until(lambda: re.search(rf'event=job\.refused .*reason="?{reason}', server.log()), 20,
          lambda: f"a job is refused: {server.log()[-1500:]}")
    return until(lambda: row_of(server, "dead"), 20, "it is dead")


# --- signatures -----------------------------------------------------------------------------

def test_each_callers_callbacks_have_its_own_signature(serve, secret_of, as_caller, receiver, tmp_path):
    write_secrets(tmp_path / "house", house := keygen())
    server = serve({"signing.secret_file": tmp_path / "house"})
    public = public_key(server)
    for name in ("alice", "bob", "carol"):
        assert as_caller(server, name).call("test.echo", {"x": 1}, callback=receiver.url(f"/{name}")).jobs
        post = receiver.wait(1, f"/{name}")[-1]
        assert fits_ed25519(post, public)
        assert not fits_hmac(post, house), "that of a server without callers"
        fitting = [n for n, secret in secret_of.items() if fits_hmac(post, secret)]
        assert fitting == ([name] if name in secret_of else [])
        assert len(signatures(post, "v1")) == len(fitting)


def test_a_retry_and_a_late_attempt_are_signed_the_same_way(serve, secret_of, as_caller, receiver):
    receiver.on("/again", Answer(500), Answer(200))
    server = serve({"delivery.schedule": "100ms", "delivery.max_age": "60s"})
    alice = as_caller(server, "alice")
    alice.call("test.echo", callback=receiver.url("/again"))
    alice.call("test.echo", callback=receiver.url("/wait"), delay=2)
    for post in (*receiver.wait(2, "/again"), *receiver.wait(1, "/wait")):
        assert fits_hmac(post, secret_of["alice"]) and not fits_hmac(post, secret_of["bob"])


def test_two_secrets_while_one_is_changed(serve, callers, secret_of, as_caller, receiver):
    second = keygen().strip()
    callers.sections["alice"]["secret"] = [secret_of["alice"], second]
    server = serve()
    alice = as_caller(server, "alice")
    alice.call("test.echo", callback=receiver.url("/both"))
    post = receiver.wait(1, "/both")[-1]
    assert fits_hmac(post, secret_of["alice"]) and fits_hmac(post, second)
    callers.sections["alice"]["secret"] = second
    callers.write()
    reload(server)
    alice.call("test.echo", callback=receiver.url("/one"))
    post = receiver.wait(1, "/one")[-1]
    assert fits_hmac(post, second) and len(signatures(post, "v1")) == 1


def test_a_caller_that_is_gone(serve, callers, secret_of, as_caller, receiver):
    """Its jobs are dead, and nobody else's secret has signed them; once it is back they can be sent."""
    server = serve()
    job = as_caller(server, "alice").call("test.echo", callback=receiver.url("/gone"), delay=3).jobs[0]
    callers.sections.pop("alice")
    callers.write()
    reload(server)
    assert wait_dead(server, "its caller is gone") == [("alice", "its caller is gone")]
    assert re.search(rf"event=job\.refused .*job={job} caller=alice", server.log())
    bob = as_caller(server, "bob")
    bob.call("test.echo", callback=receiver.url("/bob"))
    assert fits_hmac(receiver.wait(1, "/bob")[-1], secret_of["bob"])
    assert not receiver.at("/gone")


def test_gone_while_the_server_was_down(serve, callers, secret_of, as_caller, receiver):
    server = serve()
    assert as_caller(server, "alice").call("test.echo", callback=receiver.url("/gone"), delay=3).jobs
    server.kill()
    callers.sections.pop("alice")
    callers.write()
    server.start()
    assert wait_dead(server, "its caller is gone") == [("alice", "its caller is gone")]
    assert not receiver.at("/gone")


def test_jobs_from_before_there_were_callers(make_server, callers, receiver, as_caller, tmp_path):
    """They are nobody's: signed as they would have been, and nobody can ask for them."""
    write_secrets(tmp_path / "house", house := keygen())
    server = make_server({"signing.secret_file": tmp_path / "house"})
    with server.client() as c:
        job = c.call("test.echo", callback=receiver.url("/old"), delay=4).jobs[0]
    server.stop()
    callers.write()
    server.options["auth.tokens_file"] = callers.path
    server.start()
    assert as_caller(server, "bob").call("rpc.job.get", {"id": job}).error["code"] == -32003
    assert fits_hmac(receiver.wait(1, "/old")[-1], house)


# --- headers of its receivers ---------------------------------------------------------------

def test_headers_for_its_receivers(serve, callers, as_caller, receiver):
    callers.sections["alice"]["headers"] = ["Authorization: Bearer of-the-receiver", "X-Request-Id: fixed",
                                            '"X-Note: a # b"']
    server = serve()
    for name in ("alice", "bob"):
        as_caller(server, name).post({"id": 1, "method": "test.echo",
                                      "params": {"$rpc.callback": receiver.url(f"/{name}")}},
                                     {"X-Request-Id": "of-the-request", "traceparent": "00-1-2-01"})
    alice, bob = (receiver.wait(1, f"/{name}")[-1].headers for name in ("alice", "bob"))
    assert (alice["authorization"], alice["x-request-id"], alice["x-note"], alice["traceparent"]) == (
        "Bearer of-the-receiver", "fixed", "a # b", "00-1-2-01")
    assert (bob.get("authorization"), bob["x-request-id"]) == (None, "of-the-request")
    assert "of-the-receiver" not in server.log()


# --- rights -----------------------------------------------------------------------------------

def test_methods(serve, callers, as_caller):
    callers.sections["alice"]["methods"] = "test.echo, demo.*"
    server = serve()
    alice, bob = as_caller(server, "alice"), as_caller(server, "bob")
    assert "result" in alice.call("test.echo").json
    hidden, absent = alice.call("OrderService.processOrder"), alice.call("no.such.method")
    assert hidden.json["error"] == absent.json["error"] and hidden.error["code"] == -32601
    assert bob.call("OrderService.processOrder").error["code"] == -32602, "bob may, and left out a parameter"
    batch = alice.post([{"id": 1, "method": "test.echo"}, {"id": 2, "method": "OrderService.processOrder"},
                        {"id": 3, "method": "rpc.discover"}]).json
    assert [m.get("error", {}).get("code") for m in batch] == [None, -32601, None]
    server.wait_log(r"event=auth\.denied caller=alice peer=127\.0\.0\.1:\d+ reason=method "
                    r"method=OrderService\.processOrder")


def test_discover_shows_what_one_may_call(serve, callers, as_caller):
    callers.sections["alice"]["methods"] = "test.echo,demo.*"
    callers.sections["bob"]["methods"] = "nothing"
    server = serve()

    def names(name):
        doc = as_caller(server, name).call("rpc.discover").json["result"]
        return {m["name"] for m in doc["methods"]}
    own = {"rpc.discover", "rpc.job.ack", "rpc.job.get", "rpc.job.wait", "rpc.job.cancel"}
    assert names("bob") == own
    assert names("alice") == own | {"test.echo"} | {n for n in names("alice") if n.startswith("demo.")}
    assert any(n.startswith("demo.") for n in names("alice"))
    callers.sections["bob"].pop("methods")
    callers.write()
    reload(server)
    assert "OrderService.processOrder" in names("bob") and "OrderService.processOrder" not in names("alice")
    callers.sections["alice"]["methods"] = "OrderService.*"
    callers.write()
    reload(server)
    assert names("alice") == own | {n for n in names("bob") if n.startswith("OrderService.")} > own


def test_discover_is_each_ones_own_with_many_kinds_of_rights(serve, callers, as_caller):
    """More of them than documents are kept, by turns and again."""
    rights = ["test.echo", "test.late", "demo.echo", "sum", "subtract", "test.big", "test.whoami", "test.linger",
              "test.echo,sum", "test.ech*", "test.progress", "test.journal", "none"]
    for i, methods in enumerate(rights):
        callers.add(f"caller{i}", methods=methods)
    server = serve()
    for _ in range(2):
        for i, methods in enumerate(rights):
            doc = as_caller(server, f"caller{i}").call("rpc.discover").json["result"]
            assert ({m["name"] for m in doc["methods"] if not m["name"].startswith("rpc.")} ==
                    set(methods.replace("*", "o").split(",")) - {"none"})


def test_hosts(serve, callers, as_caller, receiver):
    callers.sections["alice"]["hosts"] = "127.0.0.1, *.alice.example"
    callers.sections["bob"]["hosts"] = "*.bob.example"
    server = serve()
    alice, bob = as_caller(server, "alice"), as_caller(server, "bob")
    assert alice.call("test.echo", callback=receiver.url("/a")).jobs
    reply = bob.call("test.echo", callback=receiver.url("/b"))
    assert reply.error["code"] == -32602 and reply.error["data"] == {"$rpc.callback": "host not allowed"}
    assert bob.call("test.echo", callback="https://x.bob.example/", delay=1000).jobs
    for url in ("https://x.alice.example/", "https://a.b.bob.example/", "https://bob.example/"):
        assert bob.call("test.echo", callback=url, delay=1000).error["data"] == {"$rpc.callback": "host not allowed"}
    reply = alice.call("test.echo", callback=receiver.url("/a"), failureCallback="https://x.bob.example/")
    assert reply.error["data"] == {"$rpc.failureCallback": "host not allowed"}
    server.wait_log(r"event=auth\.denied caller=bob .*reason=host")


def test_hosts_of_the_day(serve, callers, as_caller, receiver):
    server = serve()
    as_caller(server, "alice").call("test.echo", callback=receiver.url("/later"), delay=3)
    callers.sections["alice"]["hosts"] = "*.example"
    callers.write()
    reload(server)
    assert wait_dead(server, "host not allowed") == [("alice", "host not allowed")]
    assert not receiver.at("/later")


def test_the_servers_own_hosts_bind_too(serve, callers, as_caller, receiver):
    callers.sections["alice"]["hosts"] = "**"
    server = serve({"callback.hosts": "*.example"})
    reply = as_caller(server, "alice").call("test.echo", callback=receiver.url("/a"))
    assert reply.error["data"] == {"$rpc.callback": "host not allowed"}
