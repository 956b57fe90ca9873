# SPDX-License-Identifier: Apache-2.0
"""The ways that JSON-RPC comes to the server, all alike: a test that takes one takes them all.

    with TRANSPORTS[name](server) as t:
        t.ask(b'{"id":1,…}')      the bytes of the answer, or None: nothing is answered
"""


class Http:
    """POST on a kept connection."""

    def __init__(self, server):
        self.client = server.client()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.close()

    def ask(self, body):
        reply = self.client.post(body)
        if reply.status == 204:
            return None
        assert reply.status == 200, reply
        return reply.body


TRANSPORTS = {"http": Http}
