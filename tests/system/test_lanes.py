# SPDX-License-Identifier: Apache-2.0
"""Trouble stays where it is: 20,000 jobs for a receiver that hangs and 20,000 for a slow
method do not slow the jobs of a third party.

Two servers, one of them with the trouble. Five rounds in turn: the third party's rate at
the healthy one, then at the other. The figure is the median of the five ratios; and the
trouble, at rest, must not cost the machine's time, which would slow both."""
import json
import os
import statistics
import threading
import time

import pytest

from lib.receiver import HANG
from lib.wait import until

TROUBLE = 20_000
JOBS = 12_000
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
    until(lambda: len(receiver.posts) >= before + n, 60,
          lambda: f"{n} deliveries, {len(receiver.posts) - before} came")
    return n / (time.monotonic() - t)


def due(server):
    """Jobs that have their result and wait for their receiver (state 3)."""
    return server.rows("select (select count(*) from job where state = 3) + "
                       "(select count(*) from wait where state = 3)")[0][0]


def cpu_seconds(server):
    with open(f"/proc/{server.pid}/stat") as f:
        user, system = f.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.alone  # a ratio of rates, and of the processor's time
def test_trouble_stays_where_it_is(make_server, make_receiver):
    good, hanging = make_receiver(), make_receiver()
    hanging.answer = HANG
    healthy, troubled = make_server(), make_server()
    send(troubled, bodies(TROUBLE, "get_data", {}, hanging.url(), 500), 2)
    send(troubled, bodies(TROUBLE, "demo.sleep", {"seconds": 50}, good.url("/slow"), 500), 2)
    # The hanging receiver's jobs have all run, and nothing but their delivery is left.
    until(lambda: len(hanging.posts) >= 16 and due(troubled) >= TROUBLE - 16, 60, "the trouble is complete", poll=0.3)
    before, t = cpu_seconds(troubled), time.monotonic()
    time.sleep(1)  # a second of rest, which is what is measured
    busy = (cpu_seconds(troubled) - before) / (time.monotonic() - t)
    assert busy < 0.3, f"{busy:.2f} cores at rest"
    for _ in range(2):  # files have grown, connections are open
        rate(healthy, good)
        rate(troubled, good)
    ratios = []
    for i in range(ROUNDS):
        without, beside = rate(healthy, good), rate(troubled, good)
        ratios.append(beside / without)
        print(f"round {i + 1}: {without:.0f} jobs/s without, {beside:.0f} beside the trouble: {ratios[-1]:.2f}")
    assert len(hanging.posts) < TROUBLE / 2 and len(good.at("/slow")) < TROUBLE / 2, "the trouble is still there"
    assert due(troubled) + len(hanging.posts) >= TROUBLE / 2
    assert statistics.median(ratios) >= 0.9, [f"{r:.2f}" for r in ratios]
