#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The worker of test_workers.py. work.journal appends "job run pid" to the file named by PLAY_JOURNAL and syncs
it, waits for params.ms, and returns its params; work.progress tells each of params.tell; the others say who they are, hang or die."""
import json
import os
import signal
import sys
import time


def journal(params, meta):
    fd = os.open(os.environ["PLAY_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{meta.get('job', '-')} {meta['run']} {os.getpid()}\n".encode())
    os.fdatasync(fd)
    os.close(fd)
    time.sleep(params.get("ms", 0) / 1000)
    return params


def hang(params, meta):
    journal({}, meta)
    if params.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if params.get("child") and os.fork() == 0:
        journal({}, {"job": "child", "run": 0})
    time.sleep(600)


def die(params, meta):
    journal({}, meta)
    os.kill(os.getpid(), signal.SIGKILL)


def progress(params, meta):
    for p in params["tell"]:
        print(json.dumps({"jsonrpc": "2.0", "method": "rpc.progress", "params": {"id": request["id"], **p}}), flush=True)
        time.sleep(params.get("ms", 0) / 1000)
    return params


METHODS = {"work.progress": progress, "work.journal": journal, "work.hang": hang, "work.die": die,
           "work.pid": lambda params, meta: os.getpid(), "work.meta": lambda params, meta: meta}

if os.environ.get("PLAY_DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", file=sys.stderr, flush=True)
    time.sleep(600)

for line in sys.stdin:
    request = json.loads(line)
    result = METHODS[request["method"]](request.get("params", {}), request["ringback"])
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
