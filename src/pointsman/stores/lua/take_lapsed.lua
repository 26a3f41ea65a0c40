-- Hand out reservations past their lease, and forget them. KEYS: reservations, leases; ARGV: how many at most.
-- Returns the time, then name and amounts in turn.
local handed = {exact(now)}
for _, reservation in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', exact(now), 'LIMIT', 0, ARGV[1])) do
  local packed = redis.call('HGET', KEYS[1], reservation)
  if packed then
    handed[#handed + 1] = reservation
    handed[#handed + 1] = cmsgpack.unpack(packed)
    redis.call('HDEL', KEYS[1], reservation)
  end
  redis.call('ZREM', KEYS[2], reservation)
end
return handed
