# SPDX-License-Identifier: Apache-2.0
"""The ways that JSON-RPC comes to the server, all alike: a test that takes one takes them all.

    with TRANSPORTS[name](server) as t:
        t.ask(b'{"id":1,…}')      the bytes of the answer, or None: nothing is answered
"""
from .ws_client import TEXT, WsClient, frame


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


class WebSocket:
    """Messages on one connection. What is not UTF-8 is no message there: the close says so."""

    NOT_TEXT = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}'
    PROBE = b'{"id":"the probe","method":"test.echo"}'
    QUIET = 0.3  # seconds behind the answer to a probe, after which nothing else is to come

    def __init__(self, server):
        self.client = WsClient(server.port)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.close()

    def ask(self, body):
        self.client.raw(frame(TEXT, body))
        try:
            body.decode()
        except UnicodeDecodeError:
            assert self.client.closed() == 1007
            return self.NOT_TEXT
        self.client.raw(frame(TEXT, self.PROBE))
        first = self.client.text()
        if b"the probe" not in first:
            assert b"the probe" in self.client.text()
            return first
        try:
            self.client.sock.settimeout(self.QUIET)
            return self.client.text()
        except TimeoutError:
            return None
        finally:
            self.client.sock.settimeout(20)


TRANSPORTS = {"http": Http, "websocket": WebSocket}
