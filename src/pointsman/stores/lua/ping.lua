-- Whether scripts run, and may write. KEYS: one for this. Returns the time.
redis.call('SET', KEYS[1], '1', 'PX', '1000')
return exact(now)
