# SPDX-License-Identifier: Apache-2.0
"""Idempotency keys: the same key from two clients at once, around a crash, and with another
request: one job, one result, one refusal."""
import os
import random
import threading
import time

from lib import promise
from lib.callers import Callers
from lib.wait import until

KILLS = int(os.environ.get("RBK_KILLS", "20")) // 4
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
CLIENTS = 6


def test_two_clients_and_another_request(make_server, receiver, tmp_path):
    journal = tmp_path / "journal"
    server = make_server(env={"RBK_JOURNAL": str(journal)})
    replies, start = [], threading.Barrier(CLIENTS)

    def ask(i):
        with server.client() as c:
            start.wait()
            replies.append(c.call("test.journal", {"n": 1}, id=f"c{i}", callback=receiver.url(), idempotencyKey="order-1"))
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(r.status == 200 and r.json["result"]["callback"]["status"] for r in replies), replies
    assert len({r.jobs[0] for r in replies}) == 1
    assert {r.json["id"] for r in replies} == {f"c{i}" for i in range(CLIENTS)}, "each its own id"
    with server.client() as c:
        for other in ({"n": 2}, {"n": 1, "m": 1}):
            reply = c.call("test.journal", other, callback=receiver.url(), idempotencyKey="order-1")
            assert reply.error["code"] == -32602 and "$rpc.idempotencyKey" in reply.error["data"], reply
            assert reply.jobs == []
        reply = c.call("test.journal", {"n": 1}, callback=receiver.url("/elsewhere"), idempotencyKey="order-1")
        assert reply.error["code"] == -32602, reply
        job = replies[0].jobs[0]
        until(lambda: server.pending() == 0, 20, "it is delivered")
        again = c.call("test.journal", {"n": 1}, callback=receiver.url(), idempotencyKey="order-1", receipt=True)
        assert again.jobs == [job] and again.json["result"]["callback"]["data"] == [{"job": job}]
    assert [line[0] for line in promise.read_journal(journal)] == [job]
    assert [p.webhook_id for p in receiver.posts] == [job]


def test_header(server, receiver):
    with server.client() as c:
        key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
        first = c.call("test.echo", {"a": 1}, headers=key, callback=receiver.url())
        assert c.call("test.echo", {"a": 1}, headers=key, callback=receiver.url()).jobs == first.jobs
        same = c.call("test.echo", {"a": 1}, callback=receiver.url(), idempotencyKey="8e03978e-40d5-43dd-bc93-6894a57f9324")
        assert same.jobs == first.jobs
        bare = {"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
        assert c.call("test.echo", {"a": 1}, headers=bare, callback=receiver.url()).jobs == first.jobs
        for refused in (c.call("test.echo", {}, headers=key, callback=receiver.url(), idempotencyKey="x"),
                        c.call("test.echo", {}, headers=key),
                        c.call("test.echo", {}, headers={"Idempotency-Key": '"a", "b"'}, callback=receiver.url())):
            assert refused.error["code"] == -32602 and "$rpc.idempotencyKey" in refused.error["data"], refused
        batch = c.post([{"id": 1, "method": "test.echo", "params": {"$rpc.callback": receiver.url()}}], key)
        assert batch.json[0]["error"]["code"] == -32602 and batch.jobs == []
    assert len(receiver.wait(1)) == 1


def test_around_kill9(make_server, receiver, tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    journal = tmp_path / "journal"
    server = make_server({"method.max_runs": "1000", "delivery.schedule": ",".join(["2s"] * 30)}, start=False,
                         env={"RBK_JOURNAL": str(journal)})
    callers = Callers(server, receiver.url(), CLIENTS, lambda k, i: {"idempotencyKey": f"k{i}"}, again=True)
    callers.over_kills(KILLS, rng, 0.5)
    acked = {}
    for _, key, job in callers.acked:
        acked.setdefault(key, set()).add(job)
    assert len(acked) > 5 * KILLS, "no load"
    twice = {k: v for k, v in acked.items() if len(v) != 1}
    assert not twice, f"keys with two jobs, seed {SEED}: {list(twice.items())[:5]}"
    server.start()
    until(lambda: server.pending() == 0, 60, "nothing is pending", poll=0.2)
    server.stop()
    jobs = {next(iter(v)) for v in acked.values()}
    ran = {line[0] for line in promise.read_journal(journal)}
    sent = {p.webhook_id for p in receiver.posts}
    assert jobs <= ran and jobs <= sent
    bodies = {}
    for p in receiver.posts:
        bodies.setdefault(p.body.split(b'"n":')[1], set()).add(p.webhook_id)
    assert all(len(ids) == 1 for ids in bodies.values()), f"two jobs of one key, seed {SEED}"
    print(f"{KILLS} kills, {len(acked)} keys, {len(ran)} jobs ran, {len(receiver.posts)} deliveries")
