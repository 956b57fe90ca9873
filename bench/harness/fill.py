# SPDX-License-Identifier: Apache-2.0
"""Many jobs through the real front: batches of a thousand over a few connections."""
import itertools
import threading

from .load import Client
from .processes import Wrong

BATCH, CONNECTIONS = 1000, 4


def member(callback, method="demo.echo", params='"orderId":"12345","customer":"c-118","amount":99.99', more=""):
    return f'{{"id":1,"method":"{method}","params":{{{params},"$rpc.callback":"{callback}"{more}}}}}'


def batch(members):
    """A batch of these, over and over up to a thousand."""
    return f"[{','.join(itertools.islice(itertools.cycle(members), BATCH))}]".encode()


def fill(url, body, jobs):
    """Post the batch until so many jobs are acknowledged; each member of each answer is looked at."""
    left = itertools.count()
    batches = jobs // BATCH
    faults = []

    def post():
        try:
            with Client(url) as c:
                while not faults and next(left) < batches:
                    status, answer, _ = c.post(body)
                    if status != 200 or answer.count(b'"status":true') != BATCH:
                        raise Wrong(f"a batch was answered {status}: {answer[:500]!r}")
        except (OSError, Wrong) as fault:
            faults.append(fault)
    threads = [threading.Thread(target=post, daemon=True) for _ in range(CONNECTIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if faults:
        raise Wrong(f"the fill: {faults[0]}")
    return batches * BATCH
