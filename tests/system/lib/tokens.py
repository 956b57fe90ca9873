# SPDX-License-Identifier: Apache-2.0
"""A tokens file for the tests, and clients that show their tokens."""
import hashlib
import os
import re
import secrets
import signal

from .client import Client
from .wait import until


def new_token():
    return "rbk_" + secrets.token_urlsafe(32)


def hash_of(token):
    return hashlib.sha256(token.encode()).hexdigest()


class As(Client):
    """A client that shows a token with each request; None: none."""

    def __init__(self, port, token, **kw):
        super().__init__(port, **kw)
        self.token = token

    def post(self, body, headers=(), content_type="application/json"):
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return super().post(body, {**own, **dict(headers)}, content_type)


class Callers:
    """`tokens[name]`; write() takes keys of each section, lists for lines that stand several times."""

    def __init__(self, path):
        self.path, self.tokens, self.sections = path, {}, {}

    def add(self, name, **keys):
        self.tokens[name] = new_token()
        self.sections[name] = {"hash": hash_of(self.tokens[name]), **keys}
        return self

    def remove(self, name):
        del self.sections[name]
        return self

    def write(self):
        lines = ["# callers of the test"]
        for name, keys in self.sections.items():
            lines.append(f'\n[token "{name}"]')
            for key, values in keys.items():
                for value in values if isinstance(values, list) else [values]:
                    lines.append(f"{key} = {value}")
        return self.write_text("\n".join(lines) + "\n")

    def write_text(self, text):
        temp = self.path.with_suffix(".new")
        temp.write_text(text)
        temp.chmod(0o600)
        os.replace(temp, self.path)
        return self


def reload(server, event=r"event=auth\.tokens "):
    """SIGHUP, and wait for what comes of it."""
    def count():
        return len(re.findall(event, server.log()))
    before = count()
    server.signal(signal.SIGHUP)
    until(lambda: count() > before, 10, lambda: f"{event} after SIGHUP: {server.log()[-1500:]}")
