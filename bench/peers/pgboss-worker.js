// SPDX-License-Identifier: Apache-2.0
// bench/peers/pgboss-worker.js SOCKET_FOLDER RECEIVER CA - looks every 100 ms, takes up to
// 1,000 jobs, 64 at a time
const PgBoss = require("pg-boss");

const deliver = require("./deliver.js")(process.argv[3], process.argv[4]);
const boss = new PgBoss({ host: process.argv[2], user: "bench", database: "postgres", max: 10 });
boss.on("error", (fault) => console.error(fault));
boss
  .start()
  .then(() =>
    boss.work("jobs", { newJobCheckInterval: 100, teamSize: 1000, teamConcurrency: 64, teamRefill: true }, (job) =>
      deliver(job.data)))
  .then(() => console.log("ready"));
