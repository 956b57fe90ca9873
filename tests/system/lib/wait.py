# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition, with a limit: the only way that the tests wait."""
import os
import time

# Sanitizers and a busy machine are slow; a limit is there to end a test, not to measure.
SLOW = float(os.environ.get("RBK_SLOW", "1"))


def until(condition, limit, what, poll=0.005):
    """The first true value of condition(); AssertionError naming `what` past `limit` s."""
    end = time.monotonic() + limit * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit * SLOW:g} s: {what() if callable(what) else what}")
        time.sleep(poll)
