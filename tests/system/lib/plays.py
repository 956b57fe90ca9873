# SPDX-License-Identifier: Apache-2.0
"""What a receiver of lib/hostile.py does with a connection: good, and in every way bad."""
import base64
import hashlib
import ssl
import warnings

from .ws_receiver import GUID

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def good(peer):
    peer.tls()
    while peer.read():
        peer.say(OK)


def answers(data, then="drain"):
    """Hear the request, say `data`, and then be "good", or "drain", "close" or "reset" the connection."""
    def play(peer):
        peer.tls().read()
        peer.say(data)
        if then == "drain":
            peer.drain()
        elif then == "good":
            while peer.read():
                peer.say(OK)
        elif then == "reset":
            peer.reset()
    return play


def status(code, *lines):
    head = [f"HTTP/1.1 {code} X", *lines, "Content-Length: 0", "", ""]
    return answers("\r\n".join(head).encode(), "good")


def floods(first, piece):
    def play(peer):
        peer.tls().read()
        peer.say(first)
        try:
            peer.flood(piece)
        finally:
            peer.owner.drained.set()
    return play


def drips(first, piece, pause):
    def play(peer):
        peer.tls().read()
        peer.say(first)
        try:
            drip(peer, piece, pause)
        finally:
            peer.owner.drained.set()
    return play


def switches(piece, pause=None):
    """A websocket's handshake, then `piece` for ever; nothing is read."""
    def play(peer):
        key = peer.tls().read().headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        peer.say(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        try:
            peer.flood(piece) if pause is None else drip(peer, piece, pause)
        finally:
            peer.owner.drained.set()
    return play


def drip(peer, piece, pause):
    while not peer.owner.drained.wait(pause):
        peer.say(piece)


def silent(peer):
    while peer.recv():
        pass


def silent_after_request(peer):
    peer.tls().read()
    peer.drain()


def late(peer):
    """The answer comes when the other end has given up."""
    silent_after_request(peer)
    peer.say(OK)
    peer.reset()


def early(peer):
    """The answer comes before the request is read."""
    peer.tls().say(OK)
    peer.owner.drained.wait(1)  # time for it to arrive; nothing is read meanwhile
    peer.reset()


def in_clear(peer):
    peer.recv()
    peer.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    peer.drain()


def old_tls(peer):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old it is
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(*peer.owner.pair)
    peer.tls(context).read()


def old_hello(minor):
    """A server that chooses the old version though it was not offered."""
    hello = b"\3" + bytes([minor]) + b"r" * 32 + b"\0" + b"\xc0\x13" + b"\0"
    message = b"\2" + len(hello).to_bytes(3, "big") + hello

    def play(peer):
        peer.recv()
        peer.say(b"\x16\3" + bytes([minor]) + len(message).to_bytes(2, "big") + message)
        peer.drain()
    return play
