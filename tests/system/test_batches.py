# SPDX-License-Identifier: Apache-2.0
"""Batches whose members name each other's results, and callbacks for a whole batch: in the store and
in memory, and over kill -9."""
import json
import os
import random
import threading
import time

from lib.names import NameServer
from lib.wait import until
from test_admin import Admin

KILLS = int(os.environ.get("RBK_KILLS", "20")) * 3 // 2
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
HEADER = "Ringback-Batch-Callback"


def member(id, method, params=None, callback=None, **rpc):
    params = {} if params is None else params
    one = {"id": id, "method": method, "params": params}
    if callback:
        rpc["callback"] = callback
    return {**one, **{f"$rpc.{k}": v for k, v in rpc.items()}}


def bodies(receiver):
    return {body["id"]: body for body in (json.loads(p.body) for p in list(receiver.posts))}


def of(reply):
    return {r["id"]: r for r in reply.json}


def failed(response, data):
    assert response["error"] == {"code": -32602, "message": "Invalid params", "data": data}, response


# --- Members that wait in memory ---------------------------------------------------------------------


def test_synchronous(client):
    got = of(client.post([
        member("c", "test.echo", {"x": "@FROM:a(n)", "deep": [{"y": "@FROM:2"}, "@FROM:a()"], "z": "to @FROM:a"}),
        member("a", "test.echo", {"n": 1.50, "s": "@FROM:2"}),
        member(2, "test.echo", [7]),
        member("pos", "test.echo", ["@FROM:2(0)", "@FROM:a(s.0)"])]))
    assert got["a"]["result"] == {"n": 1.50, "s": [7]}
    assert got["c"]["result"] == {"x": 1.50, "deep": [{"y": [7]}, {"n": 1.50, "s": [7]}], "z": "to @FROM:a"}
    assert got["pos"]["result"] == [7, 7]


def test_digits_are_kept(client):
    reply = client.post(b'[{"id":1,"method":"test.echo","params":{"n":1.10e5}},'
                        b'{"id":2,"method":"test.echo","params":["@FROM:1(n)"]}]')
    assert b'"result":[1.10e5]' in reply.body, reply.body


def test_a_result_is_no_reference(client):
    got = of(client.post([member("a", "test.echo", {"t": "x\u0040FROM:b"}), member("b", "test.echo", {"s": 1}),
                          member("c", "test.echo", {"v": "@FROM:d"}), member("d", "subtract", [42, 23])]))
    assert got["c"]["result"] == {"v": 19}


def test_a_single_request_names_nobody(client):
    assert client.call("test.echo", {"a": "@FROM:x"}).json["result"] == {"a": "@FROM:x"}


def test_faults(client):
    got = of(client.post([
        member("gone", "test.echo", {"k": {"l": ["@FROM:nobody"]}}),
        member("twice", "test.echo", ["@FROM:d"]), member("d", "test.echo"), member("d", "test.echo"),
        member("self", "test.echo", {"k": "@FROM:self(a)"}),
        member("x", "test.echo", {"k": "@FROM:y"}), member("y", "test.echo", {"k": "@FROM:x"}),
        member("z", "test.echo", {"k": "@FROM:y"}),
        member("nomethod", "no.such"), member("child", "test.echo", {"p": "@FROM:nomethod"}),
        member("grandchild", "test.echo", {"q": "@FROM:child"}),
        member("path", "test.echo", {"k": "@FROM:d2(a.b)"}), member("d2", "test.echo", {"a": 1})]))
    failed(got["gone"], {"k": "no member of the batch has the id nobody"})
    failed(got["twice"], {"0": "more than one member of the batch has the id d"})
    failed(got["self"], {"k": "the member self names itself"})
    failed(got["x"], {"k": "the member y waits for this one: a cycle"})
    failed(got["y"], {"k": "the member x waits for this one: a cycle"})
    failed(got["z"], {"k": "the member y has no result"})
    assert got["nomethod"]["error"]["code"] == -32601
    failed(got["child"], {"p": "the member nomethod has no result"})
    failed(got["grandchild"], {"q": "the member child has no result"})
    failed(got["path"], {"k": "the result of the member d2 has no such part"})


def test_members_do_not_wait_for_others(client):
    """A chain of three beside a slow member: the slow one is all the time that it takes."""
    then = time.monotonic()
    client.post([member("slow", "test.linger", {"ms": 1600}), member("a", "test.linger", {"ms": 500}),
                 member("b", "test.linger", {"ms": 500, "after": "@FROM:a"}),
                 member("c", "test.linger", {"ms": 500, "after": "@FROM:b"})])
    assert time.monotonic() - then < 3


def test_a_long_chain(client):
    n = 900
    got = of(client.post([member(i, "test.echo", {"v": f"@FROM:{i + 1}(v)"} if i < n else {"v": [1]})
                          for i in range(n + 1)]))
    assert got[0]["result"] == {"v": [1]}


# --- Jobs ----------------------------------------------------------------------------------------------


def test_jobs(server, client, receiver):
    url = receiver.url()
    reply = client.post([member("c", "test.echo", {"x": "@FROM:b(v)", "y": "@FROM:a(n)"}, url),
                         member("b", "test.echo", {"v": "@FROM:a"}, url),
                         member("a", "test.echo", {"n": 1.50}, url)])
    assert all(r["result"]["callback"]["status"] for r in reply.json) and len(reply.jobs) == 3
    until(lambda: len(receiver.posts) == 3, 10, "all are delivered")
    got = bodies(receiver)
    assert got["b"]["result"] == {"v": {"n": 1.50}}
    assert got["c"]["result"] == {"x": {"n": 1.50}, "y": 1.50}
    until(lambda: server.pending() == 0, 10, "nothing is left")
    assert server.rows("select count(*) from part")[0][0] == 0


def test_jobs_that_fail(server, client, receiver):
    """What is found out later is answered to the callback, down the chain."""
    url = receiver.url()
    client.post([member("c", "test.echo", {"x": "@FROM:b"}, url), member("b", "test.echo", {"v": "@FROM:a(no)"}, url),
                 member("a", "test.echo", {"n": 1}, url), member("d", "test.echo", ["@FROM:c"], url),
                 member("e", "test.echo", ["@FROM:nobody"], url)])
    until(lambda: len(receiver.posts) == 4, 10, "those that were accepted are answered")
    got = bodies(receiver)
    failed(got["b"], {"v": "the result of the member a has no such part"})
    failed(got["c"], {"x": "the member b has no result"})
    failed(got["d"], {"0": "the member c has no result"})
    until(lambda: server.pending() == 0, 10, "nothing is left")


def test_refused_before_the_acknowledgement(client, receiver):
    url = receiver.url()
    got = of(client.post([member("a", "no.such", {}, url), member("b", "test.echo", ["@FROM:a"], url),
                          member("c", "test.echo", {"k": "@FROM:b"}, url),
                          member("d", "test.echo", ["@FROM:e"], url, delay=1), member("e", "test.echo", {}, url),
                          member("f", "test.echo", ["@FROM:e"], url, idempotencyKey="k")]))
    failed(got["b"], {"0": "the member a has no result"})
    failed(got["c"], {"k": "the member b has no result"})
    failed(got["d"], {"$rpc.delay": "not where params name other members"})
    assert "$rpc.idempotencyKey" in got["f"]["error"]["data"]
    assert "result" in got["e"]


def test_jobs_and_synchronous(server, client, receiver):
    url = receiver.url()
    got = of(client.post([
        member("s", "test.echo", {"v": 1}), member("j", "test.echo", {"v": "@FROM:s(v)"}, url),
        member("s2", "test.echo", {"v": "@FROM:j(v)"}), member("j2", "test.echo", ["@FROM:s2", "@FROM:j"], url),
        member("j3", "test.echo", {"v": 3}, url), member("s3", "test.echo", ["@FROM:j3(v)", "@FROM:j2"]),
        member("bad", "test.echo", ["@FROM:j3(w)"]), member("worse", "test.echo", ["@FROM:bad"], url)]))
    assert got["s2"]["result"] == {"v": 1}
    assert got["s3"]["result"] == [3, [{"v": 1}, {"v": 1}]]
    assert "callback" in got["j"]["result"] and "callback" in got["j2"]["result"]
    failed(got["bad"], {"0": "the result of the member j3 has no such part"})
    failed(got["worse"], {"0": "the member bad has no result"})
    until(lambda: len(receiver.posts) == 3, 10, "the jobs are delivered")
    assert bodies(receiver)["j2"]["result"] == [{"v": 1}, {"v": 1}]


def test_held_jobs_are_listed_and_cancelled(server, client, receiver):
    url = receiver.url()
    reply = client.post([member("a", "test.linger", {"ms": 60000}, url), member("b", "test.echo", ["@FROM:a"], url),
                         member("c", "test.echo", {"k": "@FROM:b"}, url)])
    jobs = reply.jobs
    held = Admin(server).call("rpc.jobs.list", state="HELD")["jobs"]
    assert {j["job"] for j in held} == set(jobs[1:]), held
    Admin(server).call("rpc.jobs.cancel", job=jobs[1])
    until(lambda: len(receiver.posts) == 2, 10, "the cancelled one and its child are answered")
    got = bodies(receiver)
    assert got["b"]["error"]["code"] == -32005
    failed(got["c"], {"k": "the member b has no result"})
    Admin(server).call("rpc.jobs.cancel", job=jobs[0])
    until(lambda: server.pending() == 0, 10, "nothing is left")


def test_deadline_of_a_held_job(server, client, receiver):
    """It is answered when it is over, and who names it at once; the one that they wait for runs on."""
    url, deadline = receiver.url(), time.time() + 1
    client.post([member("a", "test.linger", {"ms": 60000}, url), member("b", "test.echo", ["@FROM:a"], url, deadline=deadline),
                 member("c", "test.echo", {"k": "@FROM:b"}, url)])
    client.post([member("m", "test.linger", {"ms": 2500}), member("n", "test.echo", ["@FROM:m"], deadline=deadline)],
                headers={HEADER: receiver.url("/whole")})
    until(lambda: len(receiver.posts) == 3, 15, "two are answered, and the whole")
    whole = [json.loads(p.body) for p in receiver.posts if p.target == "/whole"][0]
    assert [r.get("error", {}).get("code") for r in whole] == [None, -32002]
    got = {r["id"]: r for r in (json.loads(p.body) for p in receiver.posts if p.target != "/whole")}
    assert got["b"]["error"]["code"] == -32002
    failed(got["c"], {"k": "the member b has no result"})
    until(lambda: server.pending() == 1, 10, "one runs on")
    server.kill()


# --- A callback for the whole ----------------------------------------------------------------------------


def test_whole(server, client, receiver):
    own = receiver.url("/own")
    reply = client.post([member("a", "test.echo", {"v": 1}), member("b", "test.linger", {"ms": 300}),
                         member("c", "no.such"), {"method": "test.echo"}, 7,
                         member("e", "test.echo", ["@FROM:a(v)"]), member("f", "test.echo", {}, own),
                         {"jsonrpc": "2.0", "id": "g", "method": "test.echo", "params": {"$rpc.receipt": True}}],
                        headers={HEADER: receiver.url("/whole")})
    got = of(reply)
    for id in "abeg":
        assert got[id]["result"]["callback"]["url"] == receiver.url("/whole")
    assert got["f"]["result"]["callback"]["url"] == own
    assert got["g"]["result"]["callback"]["data"] == [{"job": reply.jobs[-1]}]
    assert got["c"]["error"]["code"] == -32601 and got[None]["error"]["code"] == -32600
    until(lambda: len(receiver.posts) == 2, 10, "the array and the one of its own")
    whole = [p for p in receiver.posts if p.target == "/whole"][0]
    body = json.loads(whole.body)
    assert [r["id"] for r in body] == ["a", "b", "c", None, "e", "g"]
    assert body[0] == {"id": "a", "result": {"v": 1}}
    assert body[2] == got["c"] and body[3] == got[None]
    assert body[4]["result"] == [1] and body[5]["jsonrpc"] == "2.0"
    assert whole.webhook_id == reply.headers["ringback-batch-job"] and whole.webhook_id not in reply.jobs
    until(lambda: server.pending() == 0, 10, "nothing is left")


def test_whole_of_one(client, receiver):
    reply = client.post(member("a", "test.echo", {"v": "@FROM:a"}), headers={HEADER: receiver.url()})
    assert reply.json["result"]["callback"]["url"] == receiver.url()
    until(lambda: receiver.posts, 10, "it is delivered")
    assert json.loads(receiver.posts[0].body) == [{"id": "a", "result": {"v": "@FROM:a"}}]


def test_whole_refused(client, receiver):
    for bad, reason in (("http://example.com/", "invalid protocol: http is not encrypted, use https"),
                        ("", "must be a non-empty string"), ("https://localhost/", "host not allowed")):
        reply = client.post([member("a", "test.echo")], headers={HEADER: bad})
        assert reply.status == 200 and reply.json["id"] is None
        failed(reply.json, {HEADER: reason})
    nothing = client.post([member("c", "no.such"), {"method": "test.echo"}], headers={HEADER: receiver.url()})
    assert nothing.json[0]["error"]["code"] == -32601 and "ringback-batch-job" not in nothing.headers


def test_whole_is_a_job(make_server, make_receiver):
    """Tried again, dead, and sent to another receiver by hand."""
    down, up = make_receiver(), make_receiver()
    server, url = make_server({"delivery.schedule": "100ms,100ms"}), down.url()
    down.stop()
    with server.client() as c:
        reply = c.post([member("a", "test.echo", {"v": 1}), member("b", "test.echo", ["@FROM:a"])],
                       headers={HEADER: url})
    job, admin = reply.headers["ringback-batch-job"], Admin(server)
    until(lambda: admin.state(job) == "DEAD", 20, "it is given up")
    admin.call("rpc.jobs.retry", job=job, to=up.url())
    until(lambda: up.posts, 10, "it is delivered")
    assert up.posts[0].webhook_id == job
    assert json.loads(up.posts[0].body) == [{"id": "a", "result": {"v": 1}}, {"id": "b", "result": [{"v": 1}]}]
    until(lambda: admin.state(job) == "DELIVERED", 10, "it is done")
    assert {admin.state(j) for j in reply.jobs} == {"COLLECTED"}


def test_cancelled_members(server, client, receiver):
    reply = client.post([member("a", "test.linger", {"ms": 60000}), member("b", "test.echo", ["@FROM:a"]),
                         member("c", "test.echo", {}), ], headers={HEADER: receiver.url()})
    Admin(server).call("rpc.jobs.cancel", job=reply.jobs[0])
    until(lambda: receiver.posts, 10, "the array is delivered")
    body = json.loads(receiver.posts[0].body)
    assert body[0]["error"]["code"] == -32005 and body[2]["result"] == {}
    failed(body[1], {"0": "the member a has no result"})


# --- With keys, hosts and headers ------------------------------------------------------------------------


def test_cancel_of_one_that_waits_for_its_turn(server, client, receiver):
    """A synchronous call names a job that waits behind another of its key: it hears of the cancel at once."""
    url = receiver.url()
    blocker = client.post(member("z", "test.linger", {"ms": 60000}, url, key="k")).jobs[0]
    answers, admin = [], Admin(server)

    def ask():
        with server.client() as c:
            answers.append(of(c.post([member("a", "test.echo", {}, url, key="k"), member("s", "test.echo", ["@FROM:a"])])))
    asking = threading.Thread(target=ask)
    asking.start()
    held = until(lambda: admin.call("rpc.jobs.list", state="HELD")["jobs"], 10, "it is held")
    admin.call("rpc.jobs.cancel", job=held[0]["job"])
    asking.join(10)
    admin.call("rpc.jobs.cancel", job=blocker)
    asking.join(20)
    failed(answers[0]["s"], {"0": "the member a has no result"})
    until(lambda: len(receiver.posts) == 2, 10, "both are answered, in their turn")
    assert [json.loads(p.body)["id"] for p in receiver.posts] == ["z", "a"]


def test_prefer_is_no_fault(client, receiver):
    reply = client.post(member("a", "test.echo", {}), headers={HEADER: receiver.url(), "Prefer": "respond-async, wait=5"})
    assert reply.json["result"]["callback"]["status"] is True, reply
    until(lambda: receiver.posts, 10, "it is delivered")


def test_hosts_are_looked_up(make_server):
    """Of members behind one that was refused, and of jobs that wait for a synchronous call."""
    with NameServer() as names:
        names.zone.update({"bad.hooks.test": [["127.0.0.3"]], "fine.hooks.test": [["127.0.0.2"]]})
        server = make_server({"callback.allow": "127.0.0.2/32", "callback.name_servers": names.address,
                              "callback.resolve": "yes", "callback.resolve_timeout": "10s"})
        bad, fine = "https://bad.hooks.test:8443/", "https://fine.hooks.test:8443/"
        none = {"$rpc.callback": "host has no allowed address"}
        with server.client() as c:
            got = of(c.post([member("x", "no.such", {}, fine), member("b", "test.echo", ["@FROM:x"], fine),
                             member("c", "test.echo", {}, bad)]))
        failed(got["b"], {"0": "the member x has no result"})
        failed(got["c"], none)
        server.restart()  # and knows no names
        with server.client() as c:
            got = of(c.post([member("s", "test.echo", {}), member("j", "test.echo", ["@FROM:s"], bad),
                             member("k", "test.echo", ["@FROM:j"])]))
        failed(got["j"], none)
        failed(got["k"], {"0": "the member j has no result"})
        assert server.pending() == 0


# --- Deaths ------------------------------------------------------------------------------------------------


def test_kill9(make_server, receiver):
    """Each acknowledged member gets one kind of callback, with the right value, and each whole batch
    its array, wherever the server dies."""
    rng = random.Random(SEED)
    print("seed", SEED)
    server = make_server({"method.max_runs": "1000", "delivery.schedule": ",".join(["1s"] * 30)})
    url, expected, wholes, number = receiver.url(), {}, {}, 0
    for _ in range(KILLS):
        end = time.monotonic() + rng.uniform(0.02, 0.5)
        try:
            with server.client() as c:
                while time.monotonic() < end:
                    number += 1
                    id = lambda x: f"{number}{x}"
                    batch = [member(id("d"), "test.echo", {"v": [f"@FROM:{id('b')}(v)", f"@FROM:{id('c')}"]}),
                             member(id("b"), "test.echo", {"v": f"@FROM:{id('a')}(v)"}),
                             member(id("a"), "test.echo", {"v": number, "after": f"@FROM:{id('s')}"}),
                             member(id("s"), "test.linger", {"ms": rng.randrange(30)}),
                             member(id("c"), "test.echo", [f"@FROM:{id('a')}(none)"]),
                             member(id("e"), "test.echo", [f"@FROM:{id('b')}(v)", f"@FROM:{id('a')}(v)"])]
                    if number % 2:
                        reply = c.post(batch, headers={HEADER: url})
                        wholes[reply.headers["ringback-batch-job"]] = number
                    else:
                        for m in batch:
                            m["$rpc.callback"] = url
                        for job, m in zip(c.post(batch).jobs, batch):
                            expected[job] = m["id"]
        except OSError:
            pass
        server.kill()
        server.start()

    def left():
        rows = server.rows("select 'job', state, lane, rpc_id, chain from job union all "
                           "select 'wait', state, lane, rpc_id, chain from wait limit 20")
        return f"{len(missing())} of {len(expected) + len(wholes)}: {rows}"

    def missing():
        return (set(expected) | set(wholes)) - {p.webhook_id for p in list(receiver.posts)}
    until(lambda: not missing(), 60, left, poll=0.2)
    until(lambda: server.pending() == 0, 60, "nothing is left", poll=0.2)
    assert server.rows("select count(*) from part")[0][0] == 0

    def right(response, n):
        kind = response["id"][len(str(n)):]
        if kind == "c":
            failed(response, {"0": f"the result of the member {n}a has no such part"})
        elif kind == "d":
            failed(response, {"v": f"the member {n}c has no result"})
        elif kind == "e":
            assert response["result"] == [n, n], response
        elif kind != "s":
            assert response["result"]["v"] == n, response
    seen = {}
    for p in list(receiver.posts):
        assert seen.setdefault(p.webhook_id, p.body) == p.body, "the same response each time"
        if p.webhook_id in expected:
            response = json.loads(p.body)
            assert response["id"] == expected[p.webhook_id]
            right(response, int(response["id"][:-1]))
        elif p.webhook_id in wholes:
            n = wholes[p.webhook_id]
            body = json.loads(p.body)
            assert [r["id"] for r in body] == [f"{n}{x}" for x in "dbasce"]
            for response in body:
                right(response, n)
    print(len(expected), "jobs,", len(wholes), "batches")
