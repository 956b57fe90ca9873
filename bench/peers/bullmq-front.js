// SPDX-License-Identifier: Apache-2.0
// bench/peers/bullmq-front.js REDIS_PORT
const { Queue } = require("bullmq");

const queue = new Queue("jobs", { connection: { host: "127.0.0.1", port: Number(process.argv[2]) } });
const keep = { removeOnComplete: true, attempts: 10, backoff: { type: "exponential", delay: 5000 } };
queue.waitUntilReady().then(() => require("./front.js")((call) => queue.add("call", call, keep)));
