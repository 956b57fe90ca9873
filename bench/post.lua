-- SPDX-License-Identifier: Apache-2.0
-- wrk: POST one fixed body; the first argument names the file that holds it. Without a
-- request function wrk formats the request once.
function init(args)
   local f = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = f:read("*a")
   wrk.headers["Content-Type"] = "application/json"
   f:close()
end
