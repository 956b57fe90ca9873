# SPDX-License-Identifier: Apache-2.0
"""What a crash may not break, as a function over what four witnesses saw.

acked    job ids that callers were given
posts    (webhook_id, rpc id, body, ns) of every delivery, in order of arrival
journal  (job, run, ns) of every run of the method
results  {job: ns}: the first instant at which the job's result was seen in the store
Times are of one clock."""
import collections
import json
import re


LINE = re.compile(rb"([0-9a-f-]{36}) (\d+) (\d{19})$")


def read_journal(path):
    """Lines "job run ns". What a kill cut off, at the border of a page, is the beginning of
    a line, which the next run's line follows at once."""
    ret = []
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            job, run, ns = LINE.search(line).groups()
            ret.append((job.decode(), int(run), int(ns)))
    return ret


def deliveries(posts):
    """The receiver's records in the shape that violations() takes."""
    return [(p.webhook_id, json.loads(p.body).get("id"), p.body, p.ns) for p in posts]


def violations(acked, posts, journal, results=None, expected=None):
    """A list of sentences, empty when the promise held.

    `expected` maps a rpc id to the body that its delivery must have."""
    bad = []
    bodies, first, jobs_of = {}, {}, collections.defaultdict(set)
    for job, rpc_id, body, ns in posts:
        if not job:
            bad.append(f"a delivery without webhook-id: {body[:80]!r}")
            continue
        if bodies.setdefault(job, body) != body:
            bad.append(f"job {job}: two bodies, {bodies[job][:80]!r} and {body[:80]!r}")
        first[job] = min(ns, first.get(job, ns))
        jobs_of[rpc_id].add(job)
        if expected is not None and expected(rpc_id) != body:
            bad.append(f"job {job}: wrong body {body[:80]!r}")
    bad += [f"request {i}: delivered as {len(j)} jobs: {sorted(j)}"
            for i, j in jobs_of.items() if len(j) > 1]
    bad += [f"job {job}: acknowledged, never delivered" for job in acked if job not in first]
    runs = collections.defaultdict(list)
    for job, run, ns in journal:
        runs[job].append((ns, run))
    for job, seen in runs.items():
        seen.sort()
        numbers = [run for _, run in seen]
        if any(b <= a for a, b in zip(numbers, numbers[1:])):
            bad.append(f"job {job}: run numbers do not rise: {numbers}")
        limit = min(first.get(job, 1 << 63), (results or {}).get(job, 1 << 63))
        if seen[-1][0] > limit:
            bad.append(f"job {job}: run {numbers[-1]} began {seen[-1][0] - limit} ns after its result was kept")
    bad += [f"job {job}: delivered, never run" for job in first if journal and job not in runs]
    return bad
