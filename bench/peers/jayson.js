// SPDX-License-Identifier: Apache-2.0
// bench/peers/jayson.js - demo.echo on jayson, one process.
const jayson = require("jayson");

const server = new jayson.Server({ "demo.echo": (params, done) => done(null, params) });
const http = server.http();
http.keepAliveTimeout = 600000;
http.listen(0, "127.0.0.1", () => console.log(`listening ${http.address().port}`));
