-- Charge every limit, or none when one would not bear it. KEYS: one a limit. Returns `ok now value …`, the values as
-- they were before.
local found, work, limits, ok = {}, {}, {}, true
for index, key in ipairs(KEYS) do
  local limit = limit_at(index)
  local value = standing_at(key, limit)
  found[index], limits[index] = exact(value), limit
  value = work[key] or value
  if bears(limit, value) then work[key] = charged(limit, value) else ok = false end
end
if ok then
  for index, key in ipairs(KEYS) do put(key, limits[index], work[key]) end
end
return (ok and '1 ' or '0 ') .. exact(now) .. ' ' .. table.concat(found, ' ')
