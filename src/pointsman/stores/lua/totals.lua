-- Read totals. KEYS: totals. Returns `now total …`; one that is not known reads -.
local parts = {exact(now)}
for index, key in ipairs(KEYS) do
  local total = number_at(key)
  parts[index + 1] = total and whole(total) or '-'
end
return table.concat(parts, ' ')
