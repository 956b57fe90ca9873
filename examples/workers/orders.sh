#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A worker: OrderService.processOrder, with jq. docs/workers.md tells how it is started.

process_order='
  if .method != "OrderService.processOrder" then
    {error: {code: -32601, message: "Method not found"}}
  elif (.params | type != "object") or (.params.orderId | type != "string") then
    {error: {code: -32602, message: "orderId must be a string"}}
  else
    {result: {orderId: .params.orderId, status: "completed", totalAmount: 99.99,
              message: "Your order has been processed successfully."}}
  end
  + {jsonrpc: "2.0", id}'

while IFS= read -r line; do
    # jq may read no more than its line: the next ones are not for it.
    printf '%s\n' "$line" | jq -c "$process_order"
done
