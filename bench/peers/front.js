// SPDX-License-Identifier: Apache-2.0
// bench/peers/front.js - the HTTP side of both queues: takes a JSON-RPC request, lets `add`
// put its params into the queue, and acknowledges when they are there.
const http = require("http");

module.exports = (add) => {
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      try {
        const call = JSON.parse(Buffer.concat(parts));
        await add(call);
        const body = JSON.stringify({ id: call.id, result: { callback: { status: true, data: [] } } });
        response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
        response.end(body);
      } catch (fault) {
        response.writeHead(500);
        response.end(String(fault));
      }
    });
  });
  server.keepAliveTimeout = 600000;
  server.listen(0, "127.0.0.1", 4096, () => console.log(`listening ${server.address().port}`));
};
