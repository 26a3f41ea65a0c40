-- Replace what was reserved by what was used. KEYS: reservations, leases. ARGV: what the keys of totals begin with,
-- the reservation's name, then total and amount in turn. Returns `found now`. The totals' keys are known here alone,
-- and lie in the slot of the two that are named, for all share one hash tag.
local prefix, reservation = ARGV[1], ARGV[2]
local packed = redis.call('HGET', KEYS[1], reservation)
if not packed then return '0 ' .. exact(now) end
local deltas = {}
for at = 3, #ARGV, 2 do deltas[ARGV[at]] = tonumber(ARGV[at + 1]) end
local amounts = cmsgpack.unpack(packed)
for at = 1, #amounts, 2 do
  deltas[amounts[at]] = (deltas[amounts[at]] or 0) - tonumber(amounts[at + 1])
end
local known = {}
for name, delta in pairs(deltas) do
  if number_at(prefix .. name) then known[prefix .. name] = whole(delta) end
end
-- Nothing is written before the last check; and what needs memory first, for a full server refuses it.
for key, delta in pairs(known) do redis.call('INCRBY', key, delta) end
redis.call('HDEL', KEYS[1], reservation)
redis.call('ZREM', KEYS[2], reservation)
return '1 ' .. exact(now)
