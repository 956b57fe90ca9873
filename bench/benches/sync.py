# SPDX-License-Identifier: Apache-2.0
"""A trivial synchronous method over 64 kept connections, against nginx's fixed answer and
the same method on two other JSON-RPC servers."""
from harness import peers
from harness.figures import Row

TITLE = "Synchronous calls"
CONNECTIONS, SECONDS = 64, 3
PARAMS = b'{"orderId":"12345","customer":"c-118","amount":99.99,"note":"' + b"x" * 80 + b'"}'
BODY = b'{"jsonrpc":"2.0","id":1,"method":"demo.echo","params":' + PARAMS + b"}"


def echoes(answer):
    return b'"result":{' in answer and b"x" * 80 in answer


def run(b):
    b.note(f"`demo.echo` of a module, {len(BODY)} bytes, {CONNECTIONS} connections, {SECONDS} s a round.")
    nginx, ringback = b.nginx(), b.ringback()
    sides = {"nginx": nginx, "ringback": ringback}
    for start in (peers.start_jsonrpccpp, peers.start_jayson):
        peer = b.peers and start(b)
        if peer:
            sides[peer.name] = peer
    loads = {name: [] for name in sides}
    for i in range(b.quick, b.rounds + 1):
        for name, side in sides.items():
            watch = getattr(side, "processes", None) or [side.process]
            got = b.wrk(side.url, BODY, CONNECTIONS, SECONDS if i else 0.5, watch, None if name == "nginx" else echoes)
            if i:  # the first round warms up
                loads[name].append(got)
    for side in sides.values():
        side.end()
    ours = loads.pop("ringback")
    goals = {"nginx": (0.85,), "libjson-rpc-cpp": (1.8,), "jayson": (6,)}
    return [Row("synchronous calls", [x.rate for x in ours], against=name, theirs=[x.rate for x in theirs],
                goals=goals[name], cpu=[x.cpu_us for x in ours], their_cpu=[x.cpu_us for x in theirs],
                p50=[x.p50_ms for x in ours], p99=[x.p99_ms for x in ours], memory=[x.memory for x in ours])
            for name, theirs in loads.items()]
