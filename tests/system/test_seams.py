# SPDX-License-Identifier: Apache-2.0
"""Everything at once: random batches of calls and jobs that name each other, with order keys, idempotency keys,
delays, deadlines, waits, shared callbacks, failing members, cancels, a flaky receiver and kill -9; and a model that
says of every response what it may be.

RBK_SEED=… repeats a run's choices (not its timing); RBK_LONG=1 runs for minutes."""
import itertools
import json
import os
import random
import threading
import time

from lib.receiver import Answer
from lib.wait import until
from test_admin import Admin

LONG = bool(os.environ.get("RBK_LONG"))
SECONDS = 240 if LONG else 8
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
HEADER = "Ringback-Batch-Callback"
POSTERS = 3


class Member:
    def __init__(self, id, rng, earlier, whole, url, lone):
        self.id, self.cancelled, self.job, self.whole = id, False, None, whole
        self.inline = self.again = False  # its response was an answer; it was sent twice
        self.parents = rng.sample(earlier, min(len(earlier), rng.choice((0, 0, 1, 1, 2))))
        self.is_job = whole or rng.random() < 0.6
        self.fails = rng.random() < 0.15
        self.rpc, self.linger = {}, rng.randrange(60)
        if self.is_job and not whole:
            self.rpc["callback"] = url
        if rng.random() < 0.15:
            self.rpc["deadline"] = time.time() + rng.uniform(-0.1, 1)
        if self.is_job and not self.parents:
            if rng.random() < 0.3:
                self.rpc["key"] = rng.choice("kl")
            elif rng.random() < 0.2:
                self.rpc["delay"] = round(rng.uniform(0, 0.4), 2)
        if self.is_job and lone and not whole:
            if rng.random() < 0.4:
                self.rpc["wait"] = rng.choice((0, 0.05, 1))
            if rng.random() < 0.3:
                self.rpc["idempotencyKey"] = id
        self.notification = self.is_job and lone and rng.random() < 0.05

    def text(self):
        value = [f"@FROM:{p.id}(v)" for p in self.parents]
        if self.fails:  # the first member to be named has no such part
            value = [f"@FROM:{self.parents[0].id}(none)"] if self.parents else value
        method = "subtract" if self.fails and not self.parents else "test.linger" if self.linger > 40 else "test.echo"
        one = {"method": method, "params": {"ms": self.linger, "v": [self.id, *value]}}
        one.update({f"$rpc.{k}": v for k, v in self.rpc.items()})
        return one if self.notification else {**one, "id": self.id}

    def value(self):
        return [self.id, *(p.value() for p in self.parents)]

    def may_fail(self):
        return (self.fails or self.cancelled or "deadline" in self.rpc or self.linger > 40 or
                any(p.may_fail() for p in self.parents))

    def check(self, response, ended):
        """What its response may be; the reason why not, or None."""
        if "result" in response:
            if self.fails:
                return "it cannot have a result"
            if self.linger > 40:
                return None
            return None if response["result"]["v"] == self.value() else "another value"
        code = response["error"]["code"]
        if code == -32002:
            return None if "deadline" in self.rpc else "no deadline"
        if code == -32005:
            return None if self.cancelled else "nobody cancelled it"
        if code == -32009:
            return None if ended else "busy"
        failed = self.fails or any(p.may_fail() for p in self.parents) or (ended and self.parents)
        return None if code == -32602 and failed else "no such error"


class Model:
    def __init__(self, receiver):
        self.receiver, self.lock, self.number = receiver, threading.Lock(), itertools.count()
        self.members, self.jobs, self.wholes, self.faults = {}, {}, {}, []
        self.ending, self.kills = threading.Event(), 0
        self.server, self.admin = None, None

    def fault(self, *what):
        self.faults.append(" ".join(str(w) for w in what))

    def make(self, rng):
        number, whole = next(self.number), rng.random() < 0.2
        lone = rng.random() < 0.35
        path = f"/flaky/{number}" if rng.random() < 0.2 else "/callback"
        if path != "/callback":
            self.receiver.on(path, Answer(503), Answer(200))
        members = []
        for i in range(rng.randint(1, 6)):
            members.append(Member(f"{number}.{i}", rng, [] if lone else members, whole, self.receiver.url(path), lone))
        rng.shuffle(members)
        with self.lock:
            self.members.update((m.id, m) for m in members)
        return members, {HEADER: self.receiver.url("/whole")} if whole else {}

    def take(self, members, reply, killed):
        """An answer that came: of every member one, and of every acknowledged one a job."""
        named = [m for m in members if not m.notification]
        got = reply.json if reply.body else []
        if len({r["id"] for r in got}) != len(got) or {r["id"] for r in got} != {m.id for m in named}:
            self.fault("members", reply, [m.text() for m in members])
            return
        answers, jobs = {r["id"]: r for r in got}, iter(reply.jobs)
        for m in members:
            answer = answers.get(m.id)
            if answer is None or "callback" in answer.get("result", {}):
                m.job = next(jobs, None)
            elif "wait" in m.rpc and answer.get("error", {}).get("code") != -32009:
                m.inline = next(jobs, None) is not None
            if answer and "callback" not in answer.get("result", {}):
                why = m.check(answer, killed)
                if why:
                    self.fault(why, m.text(), answer)
        with self.lock:
            self.jobs.update((m.job, m) for m in members if m.job)
            if "ringback-batch-job" in reply.headers:
                self.wholes[reply.headers["ringback-batch-job"]] = members

    def post(self, seed):
        rng = random.Random(seed)
        while not self.ending.is_set():
            members, headers = self.make(rng)
            kills = self.kills
            try:
                with self.server.client() as c:
                    for again in range(2 if any("idempotencyKey" in m.rpc for m in members) else 1):
                        for m in members:
                            m.again = again > 0
                        before = {m.id: m.job for m in members if "idempotencyKey" in m.rpc}
                        self.take(members, c.post([m.text() for m in members], headers=headers), kills != self.kills)
                        for m in members:
                            if again and before.get(m.id) and m.job and m.job != before[m.id]:
                                self.fault("two jobs of one key", m.text(), before[m.id], m.job)
            except TimeoutError:
                self.fault("never answered", [m.text() for m in members])
            except OSError:
                time.sleep(0.02)

    def cancel_some(self, rng):
        with self.lock:
            jobs = rng.sample(sorted(self.jobs), min(2, len(self.jobs)))
        for job in jobs:
            self.jobs[job].cancelled = True
            self.admin.raw("rpc.jobs.cancel", {"job": job})

    def missing(self):
        came = {p.webhook_id for p in list(self.receiver.posts)}
        return [m.text() for job, m in self.jobs.items() if job not in came and not m.cancelled and
                not m.notification and not m.whole and not m.inline] + [w for w in self.wholes if w not in came]

    def check_callbacks(self):
        bodies, order = {}, {"k": [], "l": []}
        for p in list(self.receiver.posts):
            if bodies.setdefault(p.webhook_id, p.body) != p.body:
                self.fault("two responses of one job", p.webhook_id, bodies[p.webhook_id], p.body)
            elif p.webhook_id in bodies:
                key = self.jobs[p.webhook_id].rpc.get("key") if p.webhook_id in self.jobs else None
                if key and p.webhook_id not in order[key]:
                    order[key].append(p.webhook_id)
        ids = {}
        for job, body in bodies.items():
            body = json.loads(body)
            for response in body if isinstance(body, list) else [body]:
                m = self.members[response["id"]]
                why = m.check(response, self.kills > 0)
                if why:
                    self.fault(why, m.text(), response)
            if job in self.wholes and {r["id"] for r in body} != {m.id for m in self.wholes[job] if not m.notification}:
                self.fault("another batch", job, body)
            if not isinstance(body, list) and ("idempotencyKey" in m.rpc or not m.again) and \
                    ids.setdefault(m.id, job) != job:
                self.fault("two jobs of one member", m.text(), ids[m.id], job)
        for key, jobs in order.items():
            if jobs != sorted(jobs):
                self.fault("out of order", key, [(a, b) for a, b in zip(jobs, sorted(jobs)) if a != b][:3])


def test_everything_at_once(make_server, receiver):
    print("seed", SEED)
    rng = random.Random(SEED)
    model = Model(receiver)
    model.server = server = make_server({"method.max_runs": "1000", "delivery.schedule": ",".join(["500ms"] * 32),
                                         "delivery.breaker": "0", "store.retention": rng.choice(("0", "1h"))})
    model.admin = Admin(server)
    threads = [threading.Thread(target=model.post, args=(rng.random(),)) for _ in range(POSTERS)]
    for t in threads:
        t.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pause = time.monotonic() + rng.uniform(0.3, 2)
        while time.monotonic() < pause:
            model.cancel_some(rng)
            time.sleep(0.05)
        if rng.random() < 0.7:
            model.kills += 1
            server.kill()
            server.start()
            model.admin = Admin(server)
    model.ending.set()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads), "a client waits for ever"
    until(lambda: not model.missing(), 60, lambda: f"callbacks: {model.missing()[:5]}", poll=0.2)
    until(lambda: server.pending() == 0, 30, lambda: server.rows("select * from wait limit 5"), poll=0.2)
    model.check_callbacks()
    assert not model.faults, (SEED, len(model.faults), model.faults[:5])
    for table in ("part", "turn"):
        assert server.rows(f"select count(*) from {table}")[0][0] == 0, table
    stats = server.rows("select pending, bytes, held, queued, due from stat")[0]
    assert tuple(stats) == (0, 0, 0, 0, 0), stats
    print(len(model.jobs), "jobs", len(model.wholes), "wholes", model.kills, "kills")
