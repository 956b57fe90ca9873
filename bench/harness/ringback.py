# SPDX-License-Identifier: Apache-2.0
"""ringback with its default configuration, but for ports, files and loopback receivers."""
import os
import re
import signal
import sqlite3
import time

from .load import Client
from .processes import Wrong, wait_for

LISTENING = re.compile(r"server\.listening\b.*?\bport=(\d+)")


class Ringback:
    """Started on a fresh store, or on that of an earlier one."""

    def __init__(self, b, sets=(), ca=None, store=None):
        self.bench = b
        self.store = store or b.folder / f"store-{b.next()}.db"
        demo = b.program.parents[2] / "examples/demo.so"
        env = {k: v for k, v in os.environ.items() if not k.startswith("RINGBACK_")}
        sets = ["server.listen=127.0.0.1:0", "admin.listen=", f"store.dsn=sqlite:{self.store}",
                f'method."demo.*".module={demo}', "callback.allow=127.0.0.0/8", *sets, *b.sets]
        if ca:
            sets.append(f"delivery.ca_file={ca}")
        begin = time.monotonic()
        self.process = p = b.processes.spawn([b.program, "serve", *(x for s in sets for x in ("--set", s))],
                                             f"ringback-{b.next()}.log", env=env)

        def port():
            if p.poll() is not None:
                raise Wrong(f"ringback ended with {p.returncode}: {p.log.read_text()[-2000:]}")
            return LISTENING.search(p.log.read_text())
        self.port = int(wait_for(port, 300, "ringback listens", pause=0.002).group(1))
        self.url = f"http://127.0.0.1:{self.port}/api"
        with Client(self.url) as c:
            answer = c.post(b'{"id":1,"method":"no.such.method"}')[1]
            if b"-32601" not in answer:
                raise Wrong(f"ringback answers {answer[:500]!r}")
        self.start_seconds = time.monotonic() - begin

    def end(self):
        self.bench.processes.end(self.process)
        if self.process.returncode != 0:
            raise Wrong(f"ringback ended with {self.process.returncode}: {self.process.log.read_text()[-2000:]}")

    def kill(self):
        """At once: what was acknowledged is in the store."""
        self.bench.processes.end(self.process, signal.SIGKILL)

    def count(self, sql="SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM wait)"):
        """Unfinished jobs in the store; ringback has ended."""
        db = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)
        try:
            return db.execute(sql).fetchone()[0]
        finally:
            db.close()

    def unfinished(self):
        """By the store's own numbers, also while ringback runs."""
        return self.count("SELECT held + queued + due FROM stat")

    def files(self):
        return list(self.store.parent.glob(self.store.name + "*"))

    def drop(self):
        for f in self.files():
            f.unlink()
