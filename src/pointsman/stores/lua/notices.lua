-- Say something to all replicas and read what all say. KEYS: the board, a text with a line for each notice:
-- `NAME SAID-AT GONE-AT TEXT`. ARGV: seconds to keep, then name and text in turn. Returns `now`, then the lines.
local said, lines, last = {}, {}, now
for index = 2, #ARGV, 2 do said[ARGV[index]] = true end
for name, at, gone, text in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%S+) (%S+) (%S+) ([^\n]*)\n') do
  local ends = tonumber(gone)
  if ends and ends > now and not said[name] then
    lines[#lines + 1] = name .. ' ' .. at .. ' ' .. gone .. ' ' .. text .. '\n'
    last = math.max(last, ends)
  end
end
if #ARGV > 1 then
  local gone = now + tonumber(ARGV[1])
  for index = 2, #ARGV, 2 do
    lines[#lines + 1] = ARGV[index] .. ' ' .. exact(now) .. ' ' .. exact(gone) .. ' ' .. ARGV[index + 1] .. '\n'
  end
  redis.call('SET', KEYS[1], table.concat(lines), 'PX', milliseconds(math.max(last, gone) - now))
end
return exact(now) .. '\n' .. table.concat(lines)
