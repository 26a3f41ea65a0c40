-- Limits as the arguments name them: five for each key. A bucket's key holds `level at`, a window's `number count`.

local function limit_at(index)
  local at = (index - 1) * 5
  return {
    bucket = ARGV[at + 1] == 'b',
    size = tonumber(ARGV[at + 2]),   -- capacity, or the limit
    pace = tonumber(ARGV[at + 3]),   -- tokens a second, or the window's seconds
    cost = tonumber(ARGV[at + 4]),
    floor = tonumber(ARGV[at + 5]),
  }
end

-- What a bucket holds or a window has counted.
local function standing_at(key, limit)
  local first, second = pair_at(key)
  if not limit.bucket then
    -- A later window than now's: the clock was set back, and what was counted counts on.
    return first and first >= math.floor(now / limit.pace) and second or 0
  end
  if not first then return limit.size end
  if second > now then redis.call('SET', key, exact(first) .. ' ' .. exact(now), 'KEEPTTL') end  -- set back: go on from here
  return math.min(limit.size, first + math.max(0, now - second) * limit.pace)
end

local function bears(limit, value)
  if limit.bucket then return limit.cost + limit.floor - value <= SLACK end
  return value + limit.cost <= limit.size
end

local function charged(limit, value)
  if limit.bucket then return math.min(limit.size, value - limit.cost) end
  return math.max(0, value + limit.cost)
end

local function put(key, limit, value)
  if limit.bucket then
    local missing = limit.size - value
    if missing <= 0 then return redis.call('DEL', key) end  -- an unknown bucket is a full one
    local seconds = limit.pace > 0 and math.min(KEEP_BUCKET, missing / limit.pace) or KEEP_BUCKET
    return redis.call('SET', key, exact(value) .. ' ' .. exact(now), 'PX', milliseconds(seconds))
  end
  local number = math.floor(now / limit.pace)
  local left = (number + 1) * limit.pace - now
  return redis.call('SET', key, whole(number) .. ' ' .. whole(value), 'PX', milliseconds(left))
end
