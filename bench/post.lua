-- SPDX-License-Identifier: Apache-2.0
-- wrk: POST one fixed body; the first argument names the file that holds it. Without a
-- request function wrk formats the request once. The last line of the output is the sum,
-- for a program to read.
function init(args)
   local f = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = f:read("*a")
   wrk.headers["Content-Type"] = "application/json"
   f:close()
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"us":%d,"bytes":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
                          summary.requests, summary.duration, summary.bytes,
                          e.connect + e.read + e.write + e.status + e.timeout,
                          latency:percentile(50), latency:percentile(99)))
end
