-- Whether a key is seen for the first time. KEYS: it; ARGV: seconds. Returns `first now`.
local first = redis.call('SET', KEYS[1], '1', 'NX', 'PX', milliseconds(tonumber(ARGV[1])))
return (first and '1 ' or '0 ') .. exact(now)
