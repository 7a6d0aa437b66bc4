-- wrk: requests with cookies of a file, at random, or with `once` each of them once.
-- Prints one line of JSON.
local ffi = require('ffi')
ffi.cdef('int getpid(void); int kill(int, int);')
local SIGINT = 2

local requests = {}

function init(args)
  local paths, file, once = {}, args[2], args[3] == 'once'
  for path in args[1]:gmatch('[^,]+') do paths[#paths + 1] = path end
  local function add(cookie)
    for _, path in ipairs(paths) do
      requests[#requests + 1] = wrk.format('GET', path, cookie and { cookie = cookie } or {})
    end
  end
  if file then
    for cookie in io.lines(file) do add(cookie) end
  else
    add(nil)
  end
  local sent, answered = 0, 0
  if once then
    request = function()
      sent = sent + 1
      return requests[(sent - 1) % #requests + 1]
    end
    -- More connections may be waiting than requests are left: the last ones are spare.
    response = function()
      answered = answered + 1
      -- As if by a key: wrk stops its clock and reports.
      if answered == #requests - tonumber(args[4]) then ffi.C.kill(ffi.C.getpid(), SIGINT) end
    end
  else
    math.randomseed(os.time())
    request = function() return requests[math.random(#requests)] end
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests":%d,"seconds":%f,"errors":%d,"p50":%f,"p90":%f,"p99":%f}',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3))
end
