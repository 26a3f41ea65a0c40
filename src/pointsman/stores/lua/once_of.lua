-- Whether a name of an owner is seen for the first time. KEYS: the owner's names by when they were made; `FORGOTTEN
-- COUNT`: when the last one was made that was forgotten for want of room, and how many are kept; the time of this run of
-- the server at which names began to be kept. ARGV: the name, when it was made, seconds that it is kept from then, how
-- many are kept, seconds that the last key is kept. Returns `seen now since`.
local made, seconds, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local forgotten, count = pair_at(KEYS[2])
forgotten, count = forgotten or -1, count or 0
local late = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. exact(now - seconds), 'LIMIT', 0, 100)
if #late > 0 then count = math.max(0, count - redis.call('ZREM', KEYS[1], unpack(late))) end
local seen = 'first'
if made <= forgotten then
  seen = 'unknown'
elseif redis.call('ZADD', KEYS[1], 'NX', whole(made), ARGV[1]) == 0 then
  seen = 'again'
else
  count = count + 1
  local over = math.min(count - most, 100)
  if over > 0 then
    local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, over)
    for index = 1, #gone, 2 do
      count = count - redis.call('ZREM', KEYS[1], gone[index])
      forgotten = tonumber(gone[index + 1])
    end
  end
  redis.call('EXPIRE', KEYS[1], whole(2 * seconds + 60))  -- the names outlive their count, which then begins anew
end
redis.call('SET', KEYS[2], whole(forgotten) .. ' ' .. whole(count), 'PX', milliseconds(2 * seconds + 1))
local since = redis.call('GET', KEYS[3]) or exact(now)
redis.call('SET', KEYS[3], since, 'PX', milliseconds(tonumber(ARGV[5])))
return seen .. ' ' .. exact(now) .. ' ' .. since
