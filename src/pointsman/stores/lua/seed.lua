-- Set totals that are not known. KEYS: totals; ARGV: when they may go, seconds that they are kept at least, and the
-- values. Returns the time.
local left = math.max(tonumber(ARGV[1]) - now, tonumber(ARGV[2]))
for index, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[index + 2], 'NX', 'PX', milliseconds(left))
end
return exact(now)
