# SPDX-License-Identifier: Apache-2.0
"""Callers and their tokens: who is let in, whose job is whose, and what each may do."""
import ctypes
import os
import re

from lib.tokens import hash_of, new_token, reload
from lib.wait import until
from test_cli import run

LARGE = 1 << 40


def refused(reply):
    return (reply.status, reply.error["code"], reply.error["message"],
            reply.headers.get("www-authenticate")) == (401, -32001, "Unauthorized", "Bearer")


# --- who is let in ------------------------------------------------------------------------

def test_a_token_lets_in(serve, as_caller):
    server = serve()
    for name in ("alice", "bob"):
        assert as_caller(server, name).call("test.echo", {"a": 1}).json["result"] == {"a": 1}


WRONG = [
    {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
    {"Authorization": "Bearer {alice}x"}, {"Authorization": "Bearer x{alice}"}, {"Authorization": "bearer {none}"},
    {"Authorization": "Basic {alice}"}, {"Authorization": "{alice}"}, {"Authorization": "Bearer {alice} {alice}"},
    {"Authorization": "Bearer {alice},"}, {"Authorization": "Bearer {hash}"},
    {"Authorization": "Bearer {alice}", "authorization": "Bearer {alice}"},
    {"Authorization": "Bearer {bob}", "authorization": "Bearer {alice}"},
    {"Authorization": "Bearer " + "x" * 4000}, {"X-Authorization": "Bearer {alice}"},
    {"Cookie": "token={alice}"},
]


def test_anything_else_does_not(serve, callers, as_caller):
    server = serve()
    words = {**callers.tokens, "none": new_token(), "hash": hash_of(callers.tokens["alice"])}
    for head in WRONG:
        reply = as_caller(server).post({"id": 1, "method": "test.echo"},
                                       {k: v.format(**words) for k, v in head.items()})
        assert refused(reply), (head, reply)
    assert all(token not in server.log() for token in callers.tokens.values())


def test_the_scheme_is_written_in_any_case(serve, callers, as_caller):
    server = serve()
    for scheme in ("bearer", "BEARER", "Bearer "):
        reply = as_caller(server).post({"id": 1, "method": "test.echo"},
                                       {"Authorization": f"{scheme} {callers.tokens['bob']}"})
        assert reply.status == 200, reply


def head_of(port, token, *lines):
    return "\r\n".join(("POST /api HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json",
                        f"Authorization: Bearer {token}", *lines, "", "")).encode()


def test_refused_before_the_body(serve):
    """Only the head is sent; the answer is there, and the connection ends."""
    server = serve()
    for lines in (("Content-Length: 100000", "Expect: 100-continue"), (f"Content-Length: {LARGE}",),
                  ("Content-Length: 5",), ("Transfer-Encoding: chunked",)):
        with server.client() as c:
            c.send(head_of(server.port, new_token(), *lines))
            assert refused(c.receive())
            assert c.sock is None, "the connection is closed"


def test_the_same_head_with_a_token_goes_on(serve, callers):
    server = serve()
    with server.client() as c:
        c.send(head_of(server.port, callers.tokens["alice"], "Content-Length: 30", "Expect: 100-continue"))
        until(lambda: c._more() or b"100 Continue" in c.buf, 10, "100 Continue")


def test_other_paths_need_none(serve):
    server = serve()
    with server.client() as c:
        c.send(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.receive().status == 200
        c.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.receive().status == 404


def test_refusals_are_logged_and_a_flood_is_not(serve, as_caller):
    server = serve()
    client = as_caller(server, token="rbk_nobody")
    for _ in range(300):
        assert refused(client.post({"id": 1, "method": "test.echo"}))
    lines = re.findall(r"event=auth\.refused.*", server.log())
    assert 1 <= len(lines) <= 30, lines
    assert all(re.search(r"peer=127\.0\.0\.1:\d+ reason=(unknown|\"no token\")", line) for line in lines)
    assert "rbk_nobody" not in server.log()


# --- the file, read again -------------------------------------------------------------------

def test_reload_adds_and_removes(serve, callers, as_caller):
    server = serve()
    alice, carol = as_caller(server, "alice"), as_caller(server, token=new_token())
    assert alice.call("test.echo").status == 200 and carol.call("test.echo").status == 401
    callers.remove("alice").sections["carol"] = {"hash": hash_of(carol.token)}
    callers.write()
    reload(server)
    assert alice.call("test.echo").status == 401 and carol.call("test.echo").status == 200
    assert as_caller(server, "bob").call("test.echo").status == 200


def test_two_tokens_while_one_is_changed(serve, callers, as_caller):
    second = new_token()
    callers.sections["alice"]["hash"] = [hash_of(callers.tokens["alice"]), hash_of(second)]
    server = serve()
    job = as_caller(server, "alice").call("test.echo", callback="https://127.0.0.1:7999/x", delay=1000).jobs[0]
    found = as_caller(server, token=second).call("rpc.job.get", {"id": job}).json["result"]
    assert found["id"] == job, "both are the same caller"


FAULTY = [
    ("[token \"alice\"]\nhash = 12\n", r"tokens:2: hash: is not the SHA-256"),
    ("[token \"alice\"]\nnothing = 12\n", r"tokens:2: nothing: unknown key"),
    ("[caller \"alice\"]\n", r"tokens:1: is not a section like"),
    ("hash = 12\n", r"tokens:1: the key stands before the first section"),
]


def test_a_faulty_file_changes_nothing(serve, callers, as_caller):
    server = serve()
    for n, (text, says) in enumerate(FAULTY, 1):
        callers.write_text(text)
        reload(server, r"event=config\.refused .*auth\.tokens_file: .*" + says)
        assert as_caller(server, "alice").call("test.echo").status == 200
        assert len(re.findall(r"event=(config\.|auth\.tokens_)refused", server.log())) == n, "one line each"
    callers.remove("bob").write()
    reload(server)
    assert as_caller(server, "bob").call("test.echo").status == 401


def test_others_must_not_read_the_file(serve, callers, make_server):
    callers.write()
    callers.path.chmod(0o640)
    server = make_server({"auth.tokens_file": callers.path}, start=False).spawn()
    assert server.wait() == 2
    assert "others than its owner may read or write it" in server.log()


def test_switched_on_by_reload_and_not_off(make_server, callers, as_caller, tmp_path):
    conf = tmp_path / "c.ini"
    conf.write_text("[log]\nlevel = info\n")
    server = make_server(start=False)
    server.argv = lambda argv=server.argv: [*argv(), "-c", str(conf)]
    server.start()
    assert as_caller(server).call("test.echo").status == 200
    callers.write()
    conf.write_text(f"[auth]\ntokens_file = {callers.path}\n")
    reload(server)
    assert as_caller(server).call("test.echo").status == 401
    assert as_caller(server, "bob").call("test.echo").status == 200
    conf.write_text("[log]\nlevel = info\n")
    reload(server, r"event=auth\.tokens_refused .*goes away only with a new start")
    assert as_caller(server).call("test.echo").status == 401


def opens_of(path, during):
    """How often the file was opened meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    try:
        assert fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(path), 0x20) >= 0  # IN_OPEN
        during()
        return len(os.read(fd, 1 << 16)) // 16  # an event of a file itself has no name
    finally:
        os.close(fd)


def test_a_reload_reads_the_file_once(serve, callers):
    """What was checked is what is used, whoever writes the file meanwhile."""
    server = serve()
    assert opens_of(callers.path, lambda: reload(server)) == 1


# --- whose job is whose -----------------------------------------------------------------------

def test_a_job_is_its_callers_alone(serve, as_caller, receiver):
    server = serve()
    alice, bob = as_caller(server, "alice"), as_caller(server, "bob")
    job = alice.call("test.echo", callback=receiver.url("/later"), delay=1000).jobs[0]
    for method in ("rpc.job.get", "rpc.job.wait", "rpc.job.cancel"):
        assert bob.call(method, {"id": job}).error["code"] == -32003
    assert alice.call("rpc.job.get", {"id": job}).json["result"]["state"] == "QUEUED"
    assert "result" in alice.call("rpc.job.cancel", {"id": job}).json


def test_keys_are_the_callers_own(serve, as_caller, receiver):
    server = serve()
    alice, bob = as_caller(server, "alice"), as_caller(server, "bob")
    jobs = [c.call("test.echo", callback=receiver.url("/later"), idempotencyKey="k", delay=1000).jobs[0]
            for c in (alice, bob, alice)]
    assert jobs[0] == jobs[2] != jobs[1]


def test_kill_and_restart_keep_the_caller(serve, as_caller, receiver):
    server = serve()
    job = as_caller(server, "alice").call("test.echo", callback=receiver.url("/later"), delay=1000).jobs[0]
    server.kill()
    server.start()
    assert as_caller(server, "bob").call("rpc.job.get", {"id": job}).error["code"] == -32003
    assert as_caller(server, "alice").call("rpc.job.get", {"id": job}).json["result"]["id"] == job


# --- where one may listen without ------------------------------------------------------------

def test_beyond_loopback_without_tokens(make_server, callers):
    server = make_server({"server.listen": ":0"}, start=False).spawn()
    assert server.wait() == 2
    assert "server.listen: other addresses than loopback need auth.tokens_file" in server.log()
    assert "auth.open=yes" in server.log()
    for listen in ("0.0.0.0:0", "[::]:0", "127.0.0.1:0,:0"):
        assert run("config", "--set", f"server.listen={listen}", code=2).stderr.count("server.listen: other") == 1
    run("config", "--set", "server.listen=:0", "--set", "auth.open=yes")
    run("config", "--set", "server.listen=:0", "--set", f"auth.tokens_file={callers.path}")
