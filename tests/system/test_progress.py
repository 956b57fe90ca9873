# SPDX-License-Identifier: Apache-2.0
"""$rpc.events: what a method tells of its progress, to its callback and to rpc.job.get."""
import json
import re

import pytest

from lib.receiver import Answer
from lib.wait import until
from test_admin import Admin, admin_port, ask
from test_signatures import fits_ed25519, from_base64url, get_keys
from test_workers import play  # noqa: F401 (fixture)

EVENTS = ["progress"]
GAP = 0.5


def start(client, receiver, steps=15, ms=100, path="/cb", **rpc):
    rpc.setdefault("events", EVENTS)
    return client.call("test.progress", {"steps": steps, "ms": ms}, callback=receiver.url(path), **rpc).jobs[0]


def told(receiver, job, path="/cb"):
    return [p for p in receiver.at(path) if p.webhook_id.startswith(f"{job}-p")]


def number_of(posts):
    return [int(re.fullmatch(r"[0-9a-f-]{36}-p([1-9][0-9]*)", p.webhook_id)[1]) for p in posts]


def responses(receiver, job, path="/cb"):
    return [p for p in receiver.at(path) if p.webhook_id == job]


def response(receiver, job, path="/cb"):
    return until(lambda: responses(receiver, job, path), 30, "the response came")[0]


def get(client, job):
    return client.call("rpc.job.get", {"id": job}).json["result"]


def metric(server, name):
    m = re.search(rf"^ringback_{name} (\d+)$", ask(admin_port(server), "/metrics")[1], re.M)
    return int(m.group(1))


def test_a_callback_hears_how_far_the_method_is(server, receiver):
    with server.client() as c:
        job = start(c, receiver, steps=6, ms=300, id="a\"b", headers={"X-Request-Id": "ray"})
        end = response(receiver, job)
    posts = told(receiver, job)
    assert 2 <= len(posts) <= (end.ns - posts[0].ns) / 1e9 / GAP + 1, [p.body for p in posts]
    numbers = number_of(posts)
    assert numbers == sorted(set(numbers)) and numbers[0] > 0
    values = []
    for p in posts:
        body = json.loads(p.body)
        params = body.pop("params")
        assert body == {"method": "rpc.progress"}
        values.append(params.pop("value"))
        assert params == {"id": "a\"b", "job": job, "total": 3, "message": f"step {round(values[-1] * 2)}, \"ä\n\""}
        assert p.headers["ringback-attempt"] == "1" and p.headers["x-request-id"] == "ray"
        assert p.headers["content-type"] == "application/json"
        assert p.ns < end.ns
    assert values[0] == 0.5 and values == sorted(set(values)) and values[-1] <= 3
    gaps = [(b.ns - a.ns) / 1e9 for a, b in zip(posts, posts[1:])]
    assert all(g >= GAP * 0.9 for g in gaps), gaps
    assert json.loads(end.body) == {"id": "a\"b", "result": {"steps": 6, "faults": 0}}


def test_they_are_signed_with_their_own_id(server, receiver):
    with server.client() as c:
        job = start(c, receiver, steps=1)
        response(receiver, job)
        public = from_base64url(get_keys(c)[0]["x"])
    assert all(fits_ed25519(p, public) for p in receiver.at("/cb"))
    assert len(told(receiver, job)) == 1


def test_versions_are_those_of_the_request(server, receiver):
    with server.client() as c:
        reply = c.post({"jsonrpc": "2.0", "id": 7, "method": "test.progress", "params": {
            "steps": 1, "ms": 200, "$rpc": {"callback": receiver.url("/cb"), "events": EVENTS}}})
        response(receiver, reply.jobs[0])
    body = json.loads(told(receiver, reply.jobs[0])[0].body)
    assert body == {"jsonrpc": "2.0", "method": "rpc.progress", "params": {
        "id": 7, "job": reply.jobs[0], "value": 0.5, "total": 0.5, "message": "step 1, \"ä\n\""}}


def test_who_did_not_ask_hears_nothing_and_may_look(server, receiver):
    with server.client() as c:
        for events in (None, []):
            rpc = {} if events is None else {"events": events}
            job = c.call("test.progress", {"steps": 40, "ms": 20}, callback=receiver.url("/cb"), **rpc).jobs[0]
            seen = until(lambda: get(c, job).get("progress"), 20, "it has told something")
            assert seen["total"] == 20 and seen["message"].startswith("step ")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", seen["at"])
            more = until(lambda: (s := get(c, job).get("progress")) and s["value"] > seen["value"] and s, 20,
                         "it goes on")
            assert more["at"] >= seen["at"]
            response(receiver, job)
            shown = get(c, job)
            assert "progress" not in shown and shown["response"]["result"]["steps"] == 40
            assert told(receiver, job) == []


def test_only_with_a_callback(client):
    reply = client.call("test.progress", {"steps": 1}, events=EVENTS)
    assert reply.error["code"] == -32602 and reply.error["data"] == {"$rpc.events": "needs $rpc.callback"}


def test_a_synchronous_call_may_tell_and_nobody_hears(client):
    assert client.call("test.progress", {"steps": 3}).json["result"] == {"steps": 3, "faults": 0}


def test_a_notification_has_no_progress(server, receiver):
    with server.client() as c:
        assert c.post({"method": "test.progress", "params": {
            "steps": 3, "$rpc.callback": receiver.url("/cb"), "$rpc.events": EVENTS}}).status == 204
        job = start(c, receiver, steps=1)
        response(receiver, job)
    assert all(p.webhook_id.startswith(job) for p in receiver.at("/cb"))


def test_what_is_lost_is_not_sent_again(make_server, receiver):
    receiver.answer = Answer(500)
    server = make_server({"delivery.schedule": "200ms,1h", "delivery.breaker": "0"})
    with server.client() as c:
        job = start(c, receiver, steps=2, ms=600)
        posts = until(lambda: len(told(receiver, job)) == 2 and told(receiver, job), 20, "both came")
        until(lambda: len(responses(receiver, job)) == 2, 20, "the response was tried again")
    assert [json.loads(p.body)["params"]["value"] for p in posts] == [0.5, 1]
    assert len(told(receiver, job)) == 2
    assert metric(server, "progress_lost_total") == 2 and metric(server, "progress_sent_total") == 0


def test_a_receiver_on_hold_hears_nothing(server, receiver):
    admin = Admin(server)
    with server.client() as c:
        start(c, receiver, steps=1)
        receiver.wait(2)
        name = receiver.url("")
        admin.call("rpc.receivers.pause", receiver=name)
        job = start(c, receiver, steps=8, ms=100)
        until(lambda: get(c, job)["state"] == "DUE", 20, "it has run")
        assert told(receiver, job) == []
        admin.call("rpc.receivers.resume", receiver=name)
        response(receiver, job)
    assert told(receiver, job) == []


def test_many_that_tell_all_the_time(make_server, receiver):
    """Responses go first, and each callback hears of its own job twice a second at most."""
    server = make_server({"method.threads": "48"})
    with server.client() as c:
        jobs = [start(c, receiver, steps=2000, ms=1) for _ in range(40)]
        plain = c.call("test.echo", {}, callback=receiver.url("/cb")).jobs[0]
        first = response(receiver, plain)
        ends = [response(receiver, job) for job in jobs]
    assert first.ns < ends[-1].ns, "it does not wait for one that runs for two seconds and came just before"
    for job in jobs:
        posts = told(receiver, job)
        span = (posts[-1].ns - posts[0].ns) / 1e9 if posts else 0
        assert posts and len(posts) <= span / GAP + 1.2, (len(posts), span)


def test_a_run_after_a_crash_tells_too(make_server, receiver):
    server = make_server()
    with server.client() as c:
        job = start(c, receiver, steps=20, ms=100)
        until(lambda: told(receiver, job), 20, "it has told")
    server.kill()
    before = len(told(receiver, job))
    server.start()
    response(receiver, job)
    numbers = number_of(told(receiver, job))
    assert numbers == sorted(set(numbers)), "no id comes twice: receivers would drop it"
    after = told(receiver, job)[before:]
    assert after and json.loads(after[0].body)["params"]["value"] < json.loads(after[-1].body)["params"]["value"]


def test_an_orderly_stop_amid_progress(make_server, receiver):
    server = make_server({"server.drain": "300ms"})
    receiver.on("/hang", Answer(then="hang"))
    with server.client() as c:
        for path in ("/cb", "/hang"):
            job = start(c, receiver, steps=20, ms=100, path=path)
            until(lambda: told(receiver, job, path), 20, "it has told")
    server.stop()
    receiver.on("/hang", Answer())
    server.start()
    response(receiver, job, "/hang")
    numbers = number_of(told(receiver, job, "/hang"))
    assert numbers == sorted(set(numbers))


def test_members_of_a_batch_with_one_callback(server, receiver):
    with server.client() as c:
        reply = c.post([{"id": n, "method": "test.progress", "params": {"steps": 1, "ms": 200}, "$rpc.events": EVENTS}
                        for n in (1, 2)], headers={"Ringback-Batch-Callback": receiver.url("/cb")})
        assert reply.status == 200
    posts = receiver.wait(3)
    progress = [json.loads(p.body) for p in posts[:2]]
    assert sorted(p["params"]["id"] for p in progress) == [1, 2]
    assert len({p["params"]["job"] for p in progress}) == 2
    assert [r["id"] for r in json.loads(posts[2].body)] == [1, 2]


def test_a_worker(play, receiver):  # noqa: F811
    server, _ = play(1)
    tell = [{"value": 1, "total": 4, "message": "läuft"}, {"value": 2.5}]
    with server.client() as c:
        job = c.call("work.progress", {"tell": tell, "ms": 700}, callback=receiver.url("/cb"), events=EVENTS).jobs[0]
        response(receiver, job)
    assert [json.loads(p.body)["params"] for p in told(receiver, job)] == [
        {"id": 1, "job": job, **t} for t in tell]


@pytest.mark.parametrize("bad, why", [
    ({"value": "1"}, "its value is not a number"), ({"value": 1, "message": "a\0b"}, "its message has a NUL in it"),
    ({"value": 1, "message": "x" * 1001}, "its message is over 1,000 bytes")])
def test_what_a_worker_may_not_tell_is_logged_once_and_costs_it_nothing(play, receiver, bad, why):  # noqa: F811
    server, _ = play(1)
    with server.client() as c:
        job = c.call("work.progress", {"tell": [bad, bad]}, callback=receiver.url("/cb"), events=EVENTS).jobs[0]
        assert json.loads(response(receiver, job).body)["result"] == {"tell": [bad, bad]}
    assert told(receiver, job) == []
    server.wait_log(r"event=worker\.progress_refused .*" + re.escape(why))
    server.stop()
    assert len(re.findall(r"event=worker\.progress_refused", server.log())) == 1
