-- Raise totals, or none of them. KEYS: reservations (hash), leases (sorted set), then the totals.
-- ARGV: the reservation's name, seconds of its lease, seconds to keep the two first keys, the totals' names in order,
-- then for each amount: which total (1 is the first), how much, its cap or ''.
-- Returns `outcome now total …`: k known already, s some totals unseeded (they read -), o raised, or the number of the
-- total that refused.
local reservation, lease, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local count = #KEYS - 2
local totals, raised, unseeded = {}, {}, false
for index = 1, count do
  totals[index] = number_at(KEYS[index + 2])
  unseeded = unseeded or not totals[index]
  raised[index] = totals[index]
end
local function told(outcome)
  local parts = {outcome, exact(now)}
  for index = 1, count do parts[index + 2] = raised[index] and whole(raised[index]) or '-' end
  return table.concat(parts, ' ')
end
if redis.call('HEXISTS', KEYS[1], reservation) == 1 then return told('k') end
if unseeded then return told('s') end
for at = 4 + count, #ARGV, 3 do
  local index, amount, cap = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]) or EXACT
  if amount > 0 and raised[index] + amount > math.min(cap, EXACT) then
    raised = totals
    return told(whole(index))
  end
  raised[index] = raised[index] + amount
end
local amounts = {}
for index = 1, count do
  local amount = whole(raised[index] - totals[index])
  amounts[2 * index - 1], amounts[2 * index] = ARGV[3 + index], amount
  redis.call('INCRBY', KEYS[index + 2], amount)
end
redis.call('HSET', KEYS[1], reservation, cmsgpack.pack(amounts))
redis.call('ZADD', KEYS[2], exact(now + lease), reservation)
keep(KEYS[1], lease + kept)
keep(KEYS[2], lease + kept)
return told('o')
