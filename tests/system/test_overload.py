# SPDX-License-Identifier: Apache-2.0
"""Twice as much as a method can do, open-loop: those who are too many hear so at once, the others are
served as before, and memory does not grow."""
import asyncio
import json
import re
import pathlib
import time

import pytest

from lib.wait import until

SLOTS, MS, SECONDS, WAITING = 8, 40, 8, 32
CAPACITY = SLOTS * 1000 / MS  # calls a second


def rss_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M).group(1))


async def one(port, pool, results):
    """A connection is taken from those that are free: nobody waits for an earlier answer."""
    body = json.dumps({"id": 1, "method": "test.linger", "params": {"ms": MS}}).encode()
    head = f"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    r, w = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    w.write(head.encode() + body)
    answer = await r.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"\r\nContent-Length: (\d+)", answer).group(1))
    reply = json.loads(await r.readexactly(length))
    results.append((int(answer.split()[1]), reply, time.monotonic() - began))
    pool.append((r, w))


async def load(port, rate):
    """`rate` calls a second, whatever comes back."""
    pool, results, tasks = [], [], []
    begin = time.monotonic()
    for i in range(int(rate * SECONDS)):
        await asyncio.sleep(max(0, begin + i / rate - time.monotonic()))
        tasks.append(asyncio.create_task(one(port, pool, results)))
    await asyncio.gather(*tasks)
    for _, w in pool:
        w.close()
    return results


@pytest.mark.alone
def test_twice_the_capacity(make_server):
    server = make_server({'method."*".concurrency': str(SLOTS),
                          "method.max_waiting": str(WAITING)},
                         env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"})  # what is freed is gone
    asyncio.run(load(server.port, CAPACITY / 2))  # what it needs at all
    before = rss_kib(server.pid)
    results = asyncio.run(load(server.port, 2 * CAPACITY))
    grown = rss_kib(server.pid) - before
    served = [t for status, reply, t in results if status == 200 and "result" in reply]
    refused = [t for status, reply, t in results if status == 503 and reply["error"]["code"] == -32009]
    assert len(served) + len(refused) == len(results), "nothing else is answered"
    assert len(served) >= 0.7 * CAPACITY * SECONDS, f"{len(served)} of {CAPACITY * SECONDS:g} are served"
    assert len(refused) >= 0.2 * len(results)
    p99 = sorted(refused)[int(0.99 * len(refused))]
    assert p99 < 1, f"99 % of the refusals within {p99:.3f} s"
    assert max(served) < 2 * (WAITING + SLOTS) / CAPACITY + 1, "who is served has not waited long"
    assert grown < 16 << 10, f"{grown} KiB more"
    with server.client() as c:
        began = time.monotonic()
        until(lambda: c.post({"id": 1, "method": "test.linger", "params": {"ms": 1}}).status == 200, 10, "it is over")
        assert time.monotonic() - began < 2
