# SPDX-License-Identifier: Apache-2.0
"""Processes of one run: started, measured, and ended by their ids, whatever happens.

Each has a session of its own, so that Ctrl-C at the terminal reaches the bench alone,
which then ends them in order; a bench that is killed takes them along by PDEATHSIG.
Start them from the main thread: PDEATHSIG follows the thread that forked."""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
TICK = os.sysconf("SC_CLK_TCK")
libc = ctypes.CDLL(None)


class Wrong(Exception):
    """A bench cannot go on, or what it counted does not add up."""


def wait_for(condition, limit, what, pause=0.005):
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise Wrong(f"not within {limit} s: {what() if callable(what) else what}")
        time.sleep(pause)
    return value


def family(pid):
    """The process and all that descend from it."""
    yield pid
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def cpu_seconds(pids):
    """Processor time that the families have used, with that of children that have ended."""
    total = 0
    for root in pids:
        for pid in family(root):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(x) for x in fields[11:15])
    return total / TICK


def memory_mib(pids):
    """RssAnon + RssShmem of the families."""
    kib = 0
    for root in pids:
        for pid in family(root):
            try:
                lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return kib / 1024


STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def become_child():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


class Processes:
    def __init__(self, folder):
        self.folder, self.running = folder, []

    def spawn(self, argv, log, **kw):
        with open(self.folder / log, "ab") as out:
            kw = {"stdout": out, "stderr": out, "cwd": self.folder, **kw}
            # A signal between the fork and the note of it would leave a process that nobody ends.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            try:
                p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, start_new_session=True,
                                     preexec_fn=become_child, **kw)
                self.running.append(p)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        p.log = self.folder / log
        return p

    def end(self, p, number=signal.SIGTERM, limit=40):
        if p.poll() is None:
            p.send_signal(number)
            try:
                p.wait(limit)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        if p in self.running:
            self.running.remove(p)

    def end_all(self):
        for p in reversed(self.running[:]):
            self.end(p, limit=5)
