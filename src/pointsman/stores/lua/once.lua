-- Whether a key is seen for the first time, and since when every key is known. KEYS: it, the time of this run of the
-- server at which keys began to be kept; ARGV: seconds, seconds that the latter is kept. Returns `first now since`.
local first = redis.call('SET', KEYS[1], '1', 'NX', 'PX', milliseconds(tonumber(ARGV[1])))
local since = redis.call('GET', KEYS[2]) or exact(now)
redis.call('SET', KEYS[2], since, 'PX', milliseconds(tonumber(ARGV[2])))
return (first and '1 ' or '0 ') .. exact(now) .. ' ' .. since
