-- Stands before every script. What it says of limits is what ../limit_rules.py says; tests hold the two together.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000  -- the server's clock decides, never a gateway's

local SLACK = 1e-6
local KEEP_BUCKET = 31 * 86400
local EXACT = 9007199254740991

-- Numbers as text, in full: tostring keeps 14 digits alone.
local function whole(number) return string.format('%.0f', number) end
local function exact(number) return string.format('%.17g', number) end

local function milliseconds(seconds) return whole(math.max(1, math.ceil(seconds * 1000))) end

-- The number that a key holds, or false. A key that holds something else stops the script before it has written.
local function number_at(key)
  local text = redis.call('GET', key)
  if not text then return false end
  local number = tonumber(text)
  if not number then error({err = 'WRONGTYPE ' .. key .. ' holds no number'}) end
  return number
end

-- The two numbers that a key holds, or false.
local function pair_at(key)
  local text = redis.call('GET', key)
  if not text then return false end
  local first, second = string.match(text, '^(%S+) (%S+)$')
  first, second = tonumber(first), tonumber(second)
  if not second then error({err = 'WRONGTYPE ' .. key .. ' holds no limit'}) end
  return first, second
end

-- Let a key live for so many seconds more at least.
local function keep(key, seconds)
  if redis.call('TTL', key) < seconds then redis.call('EXPIRE', key, whole(seconds * 2)) end
end
