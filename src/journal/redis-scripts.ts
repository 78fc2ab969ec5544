/**
 * The scripts that the Redis journal runs in Redis, each in one step. They use three keys with one hash tag, so that a
 * cluster keeps them together: the stream of entries, a hash of idempotency keys, and a hash `state`: `floor`, the
 * newest trimmed id; `last`, the newest id; `bytes`, the weight of the entries; `clock`, the journal's own time.
 *
 * An entry has the fields `p`, the id of the entry before it, so that a follower knows that it missed nothing; `o` and
 * `s`, the node that appended it and that node's number for it; `w`, its weight in bytes; `k`, its idempotency key or
 * nothing; `n`, its other fields as JSON; `d`, its data.
 */

/** `now`, the journal's own time: the time of Redis, but it never goes back if the clock of Redis is set back. */
const NOW = `
  local time = redis.call('TIME')
  local system = time[1] * 1000 + math.floor(time[2] / 1000)
  local now = math.max(system, tonumber(redis.call('HGET', KEYS[3], 'clock') or 0))`;

/** Drops the oldest entries, `most` or a few more, if they are older than `oldest` or do not fit into `limit` bytes. */
const TRIM = `
  local function trim(oldest, limit, most)
    local bytes = tonumber(redis.call('HGET', KEYS[3], 'bytes') or 0)
    local done = false
    while most > 0 and not done do
      local page = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 16)
      local doomed
      done = #page == 0
      for _, entry in ipairs(page) do
        done = tonumber(string.match(entry[1], '^%d+')) >= oldest and bytes <= limit
        if done then break end
        doomed = entry[1]
        local weight, key
        for at = 1, #entry[2], 2 do
          if entry[2][at] == 'w' then weight = tonumber(entry[2][at + 1]) end
          if entry[2][at] == 'k' then key = entry[2][at + 1] end
        end
        bytes = bytes - (weight or 0)
        most = most - 1
        if (key or '') ~= '' and redis.call('HGET', KEYS[2], key) == doomed then redis.call('HDEL', KEYS[2], key) end
      end
      if doomed then
        local time, sequence = string.match(doomed, '^(%d+)-(%d+)$')
        redis.call('XTRIM', KEYS[1], 'MINID', time .. '-' .. string.format('%.0f', sequence + 1))
        redis.call('HSET', KEYS[3], 'floor', doomed, 'bytes', bytes)
      end
    end
  end`;

/** Defines `firstWith`: the id and the fields of the entry with a key; two empty texts if there is none. */
const FIRST_WITH = `
  local function firstWith(key)
    local id = key ~= '' and redis.call('HGET', KEYS[2], key)
    local entry = id and redis.call('XRANGE', KEYS[1], id, id)[1]
    for at = 1, entry and #entry[2] or 0, 2 do
      if entry[2][at] == 'n' then return id, entry[2][at + 1] end
    end
    -- Also if somebody else took its entry from the stream: then the key stands for nothing.
    return '', ''
  end`;

/**
 * Appends entries. Trims up to twice as many, so a backlog shrinks. ARGV: the node, the milliseconds that entries are
 * kept, the limit in bytes, then for each entry its number, weight, key, fields and data. Returns for each entry its
 * id, 1 if this is the id of an earlier entry with the same key, and the fields of that earlier entry.
 */
export const APPEND = `${TRIM}${NOW}${FIRST_WITH}
  -- Redis makes ids from its own clock. If that was set back, we make them from "now": an id tells the entry's age.
  local function add(previous, ...)
    if now > system then
      local time, sequence = string.match(previous, '^(%d+)-(%d+)$')
      local id = string.format('%.0f-0', now)
      if tonumber(time) >= now then id = time .. '-' .. string.format('%.0f', sequence + 1) end
      local added = redis.pcall('XADD', KEYS[1], id, ...)
      if type(added) == 'string' then return added end
    end
    return redis.call('XADD', KEYS[1], '*', ...)
  end
  local previous = redis.call('HGET', KEYS[3], 'last') or '0-0'
  local weight = 0
  local results = {}
  for at = 4, #ARGV, 5 do
    local key = ARGV[at + 2]
    local id, fields = firstWith(key)
    results[#results + 1] = id
    results[#results + 1] = id ~= '' and 1 or 0
    results[#results + 1] = fields
    if id == '' then
      id = add(previous, 'p', previous, 'o', ARGV[1], 's', ARGV[at], 'w', ARGV[at + 1],
        'k', key, 'n', ARGV[at + 3], 'd', ARGV[at + 4])
      if key ~= '' then redis.call('HSET', KEYS[2], key, id) end
      results[#results - 2] = id
      previous = id
      weight = weight + ARGV[at + 1]
    end
  end
  if weight == 0 then return results end
  redis.call('HSET', KEYS[3], 'last', previous)
  redis.call('HINCRBY', KEYS[3], 'bytes', weight)
  trim(now - ARGV[2], tonumber(ARGV[3]), #results / 3 * 2)
  return results`;

/** ARGV: a key. Returns the id of the entry with this key, and its fields; two empty texts if there is none. */
export const FIRST = `${FIRST_WITH}
  return { firstWith(ARGV[1]) }`;

/**
 * Each node runs this once a second: trims, and keeps the journal's time. ARGV: the milliseconds that entries are kept,
 * the limit in bytes, the newest id that the node has delivered, and the node's value of the journal's time. Returns
 * the newest id, the newest trimmed id and the journal's time.
 */
export const MAINTAIN = `${TRIM}${NOW}
  -- Begins with HDEL: a full Redis refuses a script whose first write needs memory. Trimming makes room.
  redis.call('HDEL', KEYS[3], '')
  -- Redis does not know how much time has passed since its clock was set back. The nodes know.
  if system < now then now = math.max(now, tonumber(ARGV[4])) end
  redis.call('HSET', KEYS[3], 'clock', string.format('%.0f', now))
  -- After a failover Redis may have forgotten entries that the node has delivered, and its clock may be behind. New ids
  -- must still be newer. This fails if they are newer anyway.
  if redis.pcall('XADD', KEYS[1], ARGV[3], 'p', '').err == nil then redis.call('XDEL', KEYS[1], ARGV[3]) end
  -- A new journal begins now: so cursors of an earlier journal are older than its past.
  redis.call('HSETNX', KEYS[3], 'floor', string.format('%.0f-0', now - 1))
  trim(now - ARGV[1], tonumber(ARGV[2]), 1000)
  local newest = redis.call('HGET', KEYS[3], 'last') or '0-0'
  return { newest, redis.call('HGET', KEYS[3], 'floor'), string.format('%.0f', now) }`;
