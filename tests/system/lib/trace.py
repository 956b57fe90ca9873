# SPDX-License-Identifier: Apache-2.0
"""Reads `strace -f -y -ttt` and checks that acknowledgements follow their sync.

Each request carries a token ("tok-000123-tok") in its params, and its acknowledgement
names its job id in the Ringback-Job header; the client knows which token got which job.
For a job with that token:
    stored  = the first write to a file of the store whose bytes hold the token
    synced  = an fsync or fdatasync of a file of the store, begun after `stored` ended,
              and successful
    acked   = the first write to a socket whose bytes hold the job id in the header
and `acked` must begin after some `synced` has ended. Order is that of the lines, which
is that in which the tracer saw the events."""
import re

CALL = re.compile(r"^(\d+)\s+(\d+\.\d+)\s+(\w+)\((.*)$", re.S)
RESUMED = re.compile(r"^(\d+)\s+(\d+\.\d+)\s+<\.\.\. (\w+) resumed>(.*)$", re.S)
RESULT = re.compile(r"=\s+(-?\d+|\?)[^=]*$")
FD = re.compile(r"^(\d+)<([^>]*)>")
SYNCS = {"fsync", "fdatasync"}


class Event:
    __slots__ = ("name", "path", "text", "begin", "end", "result")

    def __init__(self, name, path, text, begin):
        self.name, self.path, self.text, self.begin = name, path, text, begin
        self.end, self.result = None, None


def parse(lines):
    """Events whose first argument is a descriptor; one that never returned has no end."""
    events, open_by_pid = [], {}
    for i, line in enumerate(lines):
        m = RESUMED.match(line)
        if m:
            ev = open_by_pid.pop(m.group(1), None)
            if ev:
                _finish(ev, i, m.group(4))
            continue
        m = CALL.match(line)
        fd = FD.match(m.group(4)) if m else None
        if not fd:
            continue
        ev = Event(m.group(3), fd.group(2), m.group(4), i)
        events.append(ev)
        if "<unfinished ...>" in line:
            open_by_pid[m.group(1)] = ev
        else:
            _finish(ev, i, m.group(4))
    return events


def _finish(ev, line, rest):
    ev.end = line
    if rest is not ev.text:
        ev.text += rest
    m = RESULT.search(rest.rstrip())
    ev.result = int(m.group(1)) if m and m.group(1) != "?" else None


def is_store(path, store):
    return path.startswith(store) and path[len(store):] in ("", "-wal", "-journal")


def check_acks(events, store, jobs):
    """`jobs` maps token to job id. A list of sentences, one for each fault."""
    stored, acked, syncs = {}, {}, []
    for ev in events:
        if is_store(ev.path, store):
            if ev.name in SYNCS:
                if ev.result == 0:
                    syncs.append((ev.begin, ev.end))
            else:
                for token in re.findall(r"tok-\d+-tok", ev.text):
                    stored.setdefault(token, ev)
        elif ev.path.startswith(("socket:", "TCP")):
            for job in _jobs_named(ev.text):
                acked.setdefault(job, ev)
    bad = []
    for token, job in jobs.items():
        if token not in stored or stored[token].end is None:
            bad.append(f"{token}: no write to the store holds it")
        elif job not in acked:
            bad.append(f"{token}: no write to a socket acknowledges {job}")
        elif not any(begin > stored[token].end and end < acked[job].begin for begin, end in syncs):
            bad.append(f"{token}: acknowledged without a sync after its write to the store")
    return bad


def _jobs_named(text):
    for m in re.finditer(r"Ringback-Job: ([0-9a-f, -]+)", text, re.I):
        for job in m.group(1).split(","):
            yield job.strip()


CONNECT = re.compile(r"connect\(\d+(?:<[^>]*>)?, \{sa_family=AF_INET6?, sin6?_port=htons\((\d+)\), .*?"
                     r"\"([0-9a-f.:]+)\"")


def connects(path):
    """(address, port) of each connect(2) of a trace, in order."""
    with open(path, errors="replace") as f:
        return [(m.group(2), int(m.group(1))) for m in map(CONNECT.search, f) if m]
