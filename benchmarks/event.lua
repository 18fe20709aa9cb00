-- Events, each with an id of its own. Arguments after `--`: the run's name, the content type, how many devices (1,000).
local thread_number = 0
function setup(thread)
  thread:set("number", thread_number)
  thread_number = thread_number + 1
end
function init(args)
  run, count = args[1], 0
  devices = tonumber(args[3] or 1000)
  wrk.headers["Content-Type"] = args[2]
end
function next_event()
  count = count + 1
  local device = (count * 7919 + number * 104729) % devices
  return string.format(
    '{"specversion":"1.0","id":"%s-%d-%d","source":"/bench/wrk","type":"reading.recorded","subject":"device-%d",'
      .. '"time":"2026-11-22T%02d:%02d:%02d.%03dZ","data":{"metric":"temperature","value":%d.%d,"unit":"C"}}',
    run, number, count, device, count % 24, count % 60, device % 60, count % 1000, device % 40, count % 10)
end
