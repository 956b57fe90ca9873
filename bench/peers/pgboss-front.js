// SPDX-License-Identifier: Apache-2.0
// bench/peers/pgboss-front.js SOCKET_FOLDER
const PgBoss = require("pg-boss");

const boss = new PgBoss({ host: process.argv[2], user: "bench", database: "postgres", max: 10 });
const keep = { retryLimit: 10, retryDelay: 5, retryBackoff: true };
boss.on("error", (fault) => console.error(fault));
boss.start().then(() => require("./front.js")((call) => boss.send("jobs", call, keep)));
