-- Prints the summary of a wrk run as one line of JSON. Only `done` is defined, so nothing runs per request.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"durationUs":%d,"requests":%d,"badStatuses":%d,"socketErrors":%d,"timeouts":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.duration, summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
