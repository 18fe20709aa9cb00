-- 500 events a request (benchmarks/batches.py counts on it), the same as those of post.lua.
require "report"
require "event"
function request()
  local events = {}
  for place = 1, 500 do
    events[place] = next_event()
  end
  return wrk.format("POST", "/api/v1/events", nil, "[" .. table.concat(events, ",") .. "]")
end
