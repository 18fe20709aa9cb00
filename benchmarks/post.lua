-- One event a request, each with an id of its own, from 1,000 devices.
require "report"
require "event"
function request()
  return wrk.format("POST", "/api/v1/events", nil, next_event())
end
