-- Add to totals that are known. KEYS: totals; ARGV: what to add to each. Returns the time.
local known = {}
for index, key in ipairs(KEYS) do known[index] = number_at(key) end
for index, key in ipairs(KEYS) do
  if known[index] then redis.call('INCRBY', key, ARGV[index]) end
end
return exact(now)
