#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// A worker: OrderService.processOrder. docs/workers.md tells how it is started.
import { createInterface } from "node:readline";

function processOrder(params, meta) {
  if (typeof params?.orderId !== "string") {
    throw { code: -32602, message: "orderId must be a string" };
  }
  if (meta.run > 1) { // an earlier run broke off: what it did may be done already
    console.error(`order of job ${meta.job} again`);
  }
  return { orderId: params.orderId, status: "completed", totalAmount: 99.99,
           message: "Your order has been processed successfully." };
}

const methods = { "OrderService.processOrder": processOrder };

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params, ringback } = JSON.parse(line);
  const answer = { jsonrpc: "2.0", id };
  try {
    if (!Object.hasOwn(methods, method)) throw { code: -32601, message: "Method not found" };
    answer.result = await methods[method](params, ringback);
  } catch (fault) {
    answer.error = { code: fault.code ?? -32603, message: fault.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n"); // one line
}
