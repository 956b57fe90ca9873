# SPDX-License-Identifier: Apache-2.0
"""Callers under load, and a server that is killed under them."""
import threading
import time


class Callers:
    """`n` at once. Number k makes its requests i = 0, 1, … one after the other, over every crash, with the
    service parameters params(k, i). One that was not acknowledged is sent again if `again`: else the next one
    is, since nobody knows whether the server has it."""

    def __init__(self, server, url, n, params, again):
        self.server, self.url, self.params, self.again = server, url, params, again
        self.acked, self.faults = [], []  # acked: (k, i, job)
        self.up, self.over = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(n)]

    def acknowledged(self, client, k, i):
        reply = client.call("test.journal", {"n": i}, id=f"{k}-{i}", callback=self.url, **self.params(k, i))
        if reply.status == 503:
            return False
        if reply.status == 200 and len(reply.jobs) == 1:
            self.acked.append((k, i, reply.jobs[0]))
        else:
            self.faults.append(repr(reply))
        return True

    def work(self, k):
        i = 0
        while not self.over.is_set():
            if not self.up.wait(0.05):
                continue
            try:
                with self.server.client(timeout=5) as c:
                    while not self.over.is_set():
                        i += self.acknowledged(c, k, i) or not self.again
            except OSError:
                i += not self.again

    def over_kills(self, kills, rng, longest):
        """The server starts and is killed so often, each time within `longest` s."""
        for t in self.threads:
            t.start()
        try:
            for _ in range(kills):
                self.server.start()
                self.up.set()
                time.sleep(rng.uniform(0.05, longest))  # the instant is the experiment, not a wait
                self.up.clear()
                self.server.kill()
                self.server.check_sanitizers()
        finally:
            self.over.set()
            self.up.set()
            for t in self.threads:
                t.join()
        assert self.faults == [], self.faults[:3]
