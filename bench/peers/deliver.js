// SPDX-License-Identifier: Apache-2.0
// bench/peers/deliver.js - the worker's side of both queues: the method (an echo) and the
// POST of its response, over 64 kept TLS connections.
const fs = require("fs");
const { Pool } = require("undici");

module.exports = (receiver, ca) => {
  const url = new URL(receiver);
  const pool = new Pool(url.origin, { connections: 64, connect: { ca: fs.readFileSync(ca) } });
  return async (call) => {
    const { "$rpc.callback": _, ...params } = call.params;
    const answer = await pool.request({
      path: url.pathname,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ id: call.id, result: params }),
    });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`status ${answer.statusCode}`);
  };
};
