#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker: OrderService.processOrder. docs/workers.md tells how it is started."""
import json
import sys


class Fault(Exception):
    """An error for the caller: code, message."""


def process_order(params, meta):
    order = params.get("orderId") if isinstance(params, dict) else None
    if not isinstance(order, str):
        raise Fault(-32602, "orderId must be a string")
    if meta["run"] > 1:  # an earlier run broke off: what it did may be done already
        print(f"order of job {meta.get('job')} again", file=sys.stderr)
    return {"orderId": order, "status": "completed", "totalAmount": 99.99,
            "message": "Your order has been processed successfully."}


METHODS = {"OrderService.processOrder": process_order}

for line in sys.stdin:
    request = json.loads(line)
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    try:
        if request["method"] not in METHODS:
            raise Fault(-32601, "Method not found")
        answer["result"] = METHODS[request["method"]](request.get("params"), request["ringback"])
    except Fault as fault:
        answer["error"] = {"code": fault.args[0], "message": fault.args[1]}
    print(json.dumps(answer), flush=True)  # one line, and at once
