# SPDX-License-Identifier: Apache-2.0
"""A websocket receiver over TLS, made by hand from RFC 6455: records what comes, and answers
each connection by its script. What it finds wrong with the other end is in `faults`."""
import base64
import hashlib
import re
import socket
import ssl
import struct
import threading

from .wait import until

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NONCE = re.compile(r"[A-Za-z0-9+/]{22}==")


def frame(opcode, payload=b"", first=0x80):
    assert len(payload) < 126
    return bytes([first | opcode, len(payload)]) + payload


def close(code, reason=b""):
    return frame(8, struct.pack(">H", code) + reason)


class Script:
    """What the receiver does with one connection: `http` in place of the 101, or changes to it;
    `frames` in place of the close that echoes; `early` frames, sent with the 101; `handler` seconds that the
    program takes to say `frames`, while its library echoes a close that comes before that."""

    def __init__(self, code=1000, http=None, accept=None, lines=(), frames=None, early=b"", hang=False,
                 handler=None):
        self.handler = handler
        self.http, self.accept, self.lines, self.early, self.hang = http, accept, lines, early, hang
        self.frames = close(code) if frames is None else frames


OK = Script()


class Message:
    def __init__(self, target, headers, body, frames):
        self.target, self.headers, self.body, self.frames = target, headers, body, frames

    @property
    def webhook_id(self):
        return self.headers["webhook-id"]


class WsReceiver:
    def __init__(self, cert):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        self.messages, self.heads, self.faults, self.scripts = [], [], [], []
        self.tls_bytes = self.connections = 0
        self.script, self.lock = OK, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.authority = f"127.0.0.1:{self.port}"  # what Host has to say
        self.open, self.threads = set(), []
        self.main = threading.Thread(target=self.accept)
        self.main.start()

    def url(self, path="/callback"):
        return f"wss://127.0.0.1:{self.port}{path}"

    def wait(self, n, limit=20):
        until(lambda: len(self.messages) >= n, limit, lambda: f"{n} messages; there are {len(self.messages)}")
        return self.messages

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.main.join()
        self.listener.close()
        for s in list(self.open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join()

    # --- one connection -------------------------------------------------------
    def accept(self):
        while True:
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.open.add(s)
            self.threads.append(threading.Thread(target=self.serve, args=(s,)))
            self.threads[-1].start()

    def serve(self, raw):
        s = raw
        try:
            s = self.context.wrap_socket(raw, server_side=True)
            self.open.add(s)
            with self.lock:
                script = self.scripts.pop(0) if self.scripts else self.script
            self.talk(s, script)
        except (OSError, EOFError):
            pass
        except AssertionError as e:
            self.faults.append(str(e))
        finally:
            self.open -= {raw, s}
            s.close()

    def read(self, s, n):
        data = b""
        while len(data) < n:
            piece = s.recv(n - len(data))
            if not piece:
                raise EOFError
            self.tls_bytes += len(piece)
            data += piece
        return data

    def read_frame(self, s):
        """(first byte, unmasked payload)"""
        first, second = self.read(s, 2)
        assert second & 0x80, "a frame of the client is not masked"
        n = second & 0x7f
        if n > 125:
            n = int.from_bytes(self.read(s, 2 if n == 126 else 8), "big")
        mask = self.read(s, 4)
        data = self.read(s, n)
        key = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
        return first, (int.from_bytes(data, "big") ^ key).to_bytes(n, "big")

    def talk(self, s, script):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(s, 1)
        line, *rest = head.decode().split("\r\n")[:-2]
        headers = {}
        for h in rest:
            name, _, value = h.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        self.heads.append((line, headers))
        m = re.fullmatch(r"GET (/\S*) HTTP/1\.1", line)
        assert m, line
        assert headers["upgrade"] == "websocket" and headers["connection"] == "Upgrade", headers
        assert headers["sec-websocket-version"] == "13" and NONCE.fullmatch(headers["sec-websocket-key"]), headers
        assert "sec-websocket-extensions" not in headers and "sec-websocket-protocol" not in headers
        assert headers["host"] == self.authority, headers
        if script.http is not None:
            s.sendall(script.http)
            return
        digest = hashlib.sha1(headers["sec-websocket-key"].encode() + GUID).digest()
        accept = script.accept or base64.b64encode(digest).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Accept: {accept}", *script.lines, "", ""]
        s.sendall("\r\n".join(lines).encode() + script.early)
        first, body = self.read_frame(s)
        assert first == 0x81, f"{first:#x} is no whole text message"
        if script.handler is not None:
            self.messages.append(Message(m[1], headers, body, []))
            s.settimeout(script.handler)
            try:
                echo = frame(8, self.read_frame(s)[1])
            except TimeoutError:
                echo = None
            s.settimeout(20)
            s.sendall(echo or script.frames)
            assert echo or self.read_frame(s) == (0x88, script.frames[2:4]), "its close is answered by the same"
            return
        frames = [self.read_frame(s)]
        assert frames[0] == (0x88, struct.pack(">H", 1000)), frames
        self.messages.append(Message(m[1], headers, body, frames))
        if script.hang:
            self.read(s, 1)
        s.sendall(script.frames)
        while script.frames and s.recv(4096):
            pass
