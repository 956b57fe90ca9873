# SPDX-License-Identifier: Apache-2.0
"""Trouble stays where it is: 20,000 jobs for a receiver that hangs and 20,000 for a slow
method do not slow the jobs of a third party.

Five rounds, each with a server of its own: the third party's rate without the trouble,
then with it. The figure is the median of the five ratios."""
import json
import statistics
import threading
import time

from lib.receiver import HANG
from lib.wait import until

TROUBLE = 20_000
JOBS = 3000
ROUNDS = 5


def bodies(n, method, params, url, size):
    """Batches of `size` requests, ready to send."""
    one = {"method": method, "params": {**params, "$rpc.callback": url}}
    return [json.dumps([{"id": i, **one} for i in range(at, min(at + size, n))]).encode()
            for at in range(0, n, size)]


def send(server, batches, clients):
    """All batches, over `clients` connections at once."""
    faults = []

    def work(k):
        with server.client(timeout=120) as c:
            for body in batches[k::clients]:
                reply = c.post(body)
                if reply.status != 200 or b'"error"' in reply.body:
                    faults.append(repr(reply))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == [], faults[:2]


def rate(server, receiver, n=JOBS):
    """Jobs a second of the third party, from the first byte sent to the last delivery."""
    batches = bodies(n, "test.echo", {"who": "third party"}, receiver.url(), 50)
    before = len(receiver.posts)
    t = time.monotonic()
    send(server, batches, 4)
    until(lambda: len(receiver.posts) >= before + n, 60, lambda: f"{n} deliveries, {len(receiver.posts) - before} came")
    return n / (time.monotonic() - t)


def test_trouble_stays_where_it_is(make_server, make_receiver):
    ratios = []
    for i in range(ROUNDS):
        good, hanging = make_receiver(), make_receiver()
        hanging.answer = HANG
        server = make_server()
        rate(server, good, 500)  # connections are open, files have grown
        without = rate(server, good)
        send(server, bodies(TROUBLE, "test.echo", {}, hanging.url(), 500), 2)
        send(server, bodies(TROUBLE, "demo.sleep", {"seconds": 30}, good.url("/slow"), 500), 2)
        until(lambda: len(hanging.posts) >= 16, 30, "the receiver hangs")
        beside = rate(server, good)
        ratios.append(beside / without)
        print(f"round {i + 1}: {without:.0f} jobs/s without, {beside:.0f} beside the trouble: {ratios[-1]:.2f}")
        assert len(hanging.posts) < TROUBLE / 2 and not good.at("/slow"), "the trouble is still there"
        server.close()
        good.stop()
        hanging.stop()
    assert statistics.median(ratios) >= 0.9, [f"{r:.2f}" for r in ratios]
