// SPDX-License-Identifier: Apache-2.0
// bench/peers/bullmq-worker.js REDIS_PORT RECEIVER CA - 64 jobs at a time
const { Worker } = require("bullmq");

const deliver = require("./deliver.js")(process.argv[3], process.argv[4]);
const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };
const worker = new Worker("jobs", (job) => deliver(job.data), { connection, concurrency: 64 });
worker.on("failed", (job, fault) => console.error(fault));
worker.waitUntilReady().then(() => console.log("ready"));
