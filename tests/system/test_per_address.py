# SPDX-License-Identifier: Apache-2.0
"""delivery.per_address: attempts at one address and port, whatever names lead there. 127.0.0.2 plays
a machine with many names."""
import json

import pytest

from lib.names import NameServer
from lib.receiver import Answer
from lib.wait import until

HOST = "127.0.0.2"
NAMES = [f"n{i}.hooks.test" for i in range(8)]
EACH = 30

pytestmark = pytest.mark.alone  # how many are answered at one time


@pytest.fixture
def names():
    with NameServer({n: [[HOST]] for n in NAMES}) as ns:
        yield ns


@pytest.fixture
def make_hooks(make_receiver, ca):
    cert = ca.issue("per-address", names=("*.hooks.test", HOST))

    def make():
        r = make_receiver(cert=cert, host=HOST)
        r.answer = Answer(200, delay=0.03)
        return r
    return make


def deliver(make_server, names, receivers, limit):
    """EACH jobs for each name, at each receiver; how many it had to answer at one time."""
    server = make_server({"callback.allow": f"{HOST}/32", "callback.name_servers": names.address,
                          "callback.resolve": "yes", "callback.resolve_timeout": "10s",
                          "delivery.per_receiver": "4", "delivery.per_address": limit})
    for r in receivers:
        r.busy = r.most_busy = 0
        r.posts.clear()
    jobs = [{"id": i, "method": "test.echo", "params": {"$rpc.callback": f"https://{name}:{r.port}/"}}
            for i in range(EACH) for name in NAMES for r in receivers]
    with server.client() as c:
        for i in range(0, len(jobs), 120):
            reply = c.post(json.dumps(jobs[i:i + 120]).encode())
            assert all("result" in a for a in reply.json), reply
    until(lambda: server.pending() == 0, 60, lambda: f"all is delivered, {server.pending()} are left")
    server.stop()
    assert server.dead() == set()
    for r in receivers:
        assert len({p.webhook_id for p in r.posts}) == len(r.posts) == EACH * len(NAMES)
        used = {p.headers["host"].split(":")[0] for p in r.posts}
        assert used == set(NAMES)
    return [r.most_busy for r in receivers]


def test_many_names_of_one_address(make_server, names, make_hooks):
    hooks = make_hooks()
    [most] = deliver(make_server, names, [hooks], 5)
    assert most == 5
    [most] = deliver(make_server, names, [hooks], None)
    assert 5 < most <= 4 * len(NAMES), "the control: without the limit there are more"


def test_each_port_has_its_own(make_server, names, make_hooks):
    both = [make_hooks(), make_hooks()]
    assert deliver(make_server, names, both, 3) == [3, 3]
