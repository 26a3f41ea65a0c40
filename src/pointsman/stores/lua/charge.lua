-- Charge every limit, or give back where a cost is negative. KEYS: one a limit. Returns the time.
for index, key in ipairs(KEYS) do
  local limit = limit_at(index)
  put(key, limit, charged(limit, standing_at(key, limit)))
end
return exact(now)
