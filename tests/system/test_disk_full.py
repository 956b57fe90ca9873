# SPDX-License-Identifier: Apache-2.0
"""A disk that is full: acceptance stops with a clear word, nothing that was accepted is
lost, and all goes on by itself when there is room."""
import os
import pathlib
import subprocess
import threading
import time

import pytest

from lib.wait import until

SIZE = 32 << 20
LINES = 3000  # of log in one test: a full disk is news once, not on every turn of a loop


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 32 MiB."""
    at = tmp_path / "disk"
    at.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root: a small tmpfs is mounted")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(at)],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def free(disk):
    st = os.statvfs(disk)
    return st.f_bavail * st.f_frsize


def fill(disk, leave):
    """A file that leaves `leave` bytes of the disk; os.remove() frees them."""
    ballast = pathlib.Path(disk) / "ballast"
    with open(ballast, "ab") as f:
        while (n := free(disk) - leave) > 0:
            try:
                os.write(f.fileno(), bytes(min(n, 1 << 20)))
            except OSError:
                break
    return ballast


def refusal(reply):
    """True for the answer that a full store must give; an error for one that it must not."""
    if reply.status == 200 and "result" in reply.json:
        return False
    assert reply.status == 503, reply
    assert (reply.error["code"], reply.error["message"]) == (-32009, "Server is busy"), reply
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.jobs == []
    return True


def test_acceptance_stops_at_min_free(make_server, disk, receiver):
    server = make_server({"store.min_free": "8M"}, folder=disk / "store")
    with server.client() as c:
        def submit():
            return c.call("test.echo", {"p": "x" * 1000}, callback=receiver.url())
        assert not refusal(submit())
        later = c.call("test.echo", {}, callback=receiver.url("/later"), delay=2).jobs[0]
        ballast = fill(disk, 4 << 20)
        until(lambda: refusal(submit()), 15, "acceptance stops", poll=0.05)
        assert c.call("test.echo", {"sync": 1}).json["result"] == {"sync": 1}, "synchronous calls need no store"
        assert receiver.wait(1, "/later")[0].webhook_id == later, "accepted jobs go on"
        os.remove(ballast)
        until(lambda: not refusal(submit()), 15, "acceptance resumes by itself", poll=0.05)
    server.stop()


@pytest.mark.parametrize("end", ["by itself", "kill -9"])
def test_nothing_is_lost_at_zero_bytes(make_server, disk, receiver, end):
    server = make_server({"store.min_free": "0", "delivery.schedule": ",".join(["2s"] * 30)},
                         folder=disk / "store")
    acked, full = set(), threading.Event()
    ballast = fill(disk, 12 << 20)

    def work(k):
        with server.client() as c:
            while True:
                reply = c.call("test.echo", {"p": "x" * 8000}, id=k, callback=receiver.url())
                if refusal(reply):
                    full.set()
                    return
                acked.update(reply.jobs)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    until(lambda: len(acked) >= 100, 20, "some jobs are acknowledged")
    # The server gives back what it delivers, so the disk must be kept full.
    until(lambda: (fill(disk, 0), full.is_set())[1], 60, "acceptance stops", poll=0.02)
    for t in threads:
        t.join()
    assert server.alive(), server.log()[-2000:]
    if end == "kill -9":
        server.kill()
        os.remove(ballast)
        server.start()
    else:
        os.remove(ballast)
    with server.client() as c:
        until(lambda: not refusal(c.call("test.echo", {}, callback=receiver.url("/again"))), 20,
              "acceptance resumes", poll=0.05)
    until(lambda: acked <= {p.webhook_id for p in list(receiver.posts)}, 60,
          "all acknowledged jobs are delivered", poll=0.1)
    until(lambda: server.pending() == 0, 20, "nothing is pending", poll=0.1)
    server.stop()
    assert server.log().count("\n") < LINES, server.log()[-1000:]


def test_jobs_that_come_due_wait_for_room(make_server, disk, receiver):
    """Bringing a delayed job back is a write too. Without room it waits, and meanwhile the
    server answers, and does not fill its log."""
    server = make_server({"store.min_free": "0"}, folder=disk / "store")
    with server.client() as c:
        params = {"ms": 100, "$rpc.callback": receiver.url(), "$rpc.delay": 2}
        reply = c.post([{"id": i, "method": "test.late", "params": params} for i in range(900)])
        assert all("result" in a for a in reply.json)
        due = time.monotonic() + 2
        ballast = fill(disk, 0)
        until(lambda: refusal(c.call("test.echo", {}, callback=receiver.url("/no"), delay=86400)), 15,
              "it is full", poll=0.05)
        while time.monotonic() < due + 3:
            t = time.monotonic()
            assert c.call("test.echo", {"sync": 1}).json["result"] == {"sync": 1}
            assert time.monotonic() - t < 2
            time.sleep(0.01)  # a steady, light load while the jobs are due
    os.remove(ballast)
    receiver.wait(900, "/callback", limit=60)
    server.stop()
    assert len({p.webhook_id for p in receiver.at("/callback")}) == 900
    assert server.log().count("\n") < LINES, server.log()[-1000:]
