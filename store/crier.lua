#!lua name=crier
-- crier.lua - the inbox protocol as a Redis Functions library (Redis 7 or newer): each function is one atomic step.
--
-- Idea: the inbox is the truth, the push to a node is a hint. A message with a TTL is stored first, gets a seq that only
-- grows, and names the seq before it, so that a node sees by itself whether it has missed something.
--
-- Keys (all given by the caller; {T} is the partition of the user's name):
--   m  hash  s last seq | n nodes "node node" | a highest ack of any device | g newest seq dropped by the cap
--            x when the list ends | y when this hash's life was last renewed; without it the hash lives on, which is
--            so only while n says that the user is connected
--            k (rooms) newest seq stored for as long as the room keeps anything
--            d:<device> "seq seen_s kind at"   kind: n named by the client, g by the server; at: * attached, - gone
--   q  list  entries, oldest first   o  set  users a node has registered   i  string  seq given to an idempotency id
--   R h O  the same three of rooms with history (no devices)   rooms  zset  their names, all of score 0
--   p  zset  who is in a room: "user\nnode", all of score 0   v  hash  v last change | n users   V  list  the last
--            changes   P  set  "room\nuser" a node has registered
--   t  hash  a tracked message and one target: f when it was first queued | q "ms seq expires_s nodes node" of the last
--            attempt | n attempts | h its P in x | per device w:<device> "arrived ms times node shard", a:<device> "ms",
--            x:<device> "ms why" (device '' where none is named) | rooms and all: W how often written | L when last |
--            X:<why> count | e "due_ms channel,channel" and E its text: if nobody has it by then, the relay is to bring it
--            to the first of these that can | r:<channel> "ms attempts sent|again|failed detail" what came of it
--   esc  zset  what hashes t (key without "{T}:") wait for the relay, by due_ms; a worker's claim moves that ahead
--   addr  hash  where the relay finds a user: channel -> address
--   token:<channel>  hash  its access token: token | renew when to make another | until, both in ms; :lock  who makes it
--   x  hash  the index of an id: p:<hash> P | per target u:<user>, r:<room> or a: its P's hash
-- Entry: >I8 seq | >I8 prev | >I4 expires_s | B idlen | id | P
-- Frame on a node's channel (several may follow each other in one PUBLISH):
--   'U' | >I8 seq | >I8 prev | >I4 expires_s | B idlen | >I2 userlen | >I4 plen | id | user | P        seq 0: live only
--   'R': the same to a room with history
--   'A': like 'U', sent once more
--   'X' alone | act: 'D' end connections, 'S' put into a room, 'U' take out of it | B devlen | >I2 userlen | device ('':
--       all) | user | why, or the room
-- On a room's presence channel, and in V:  'J' came or 'L' left | >I8 seq | >I8 prev | user
--
-- A call of Redis costs more than all the Lua around it: what is asked and written is joined, and no key is touched twice.
--
-- The library may be loaded by brokers of several versions: the highest VERSION stays.
local VERSION = 10

local META_S = 2592000   -- an untouched m lives 30 days, and as long as its list
local RENEW_S = 86400    -- its life is renewed at most once a day
local SLACK_S = 300      -- a list outlives its last entry by this at most,
local SLACK_MIN_S = 60   -- and by this at least: so its end need not be moved for each message
local MAX_SEQ = 9007199254740992 -- all are below; what a node names that knows of none is above
local CHUNK = 32         -- entries read at a time
local MAX_DEVICES = 16
local ENTRY = '>I8I8I4B'
local WHOLE = '>I8I8I4Bc0c0'
local FRAME = '>c1I8I8I4BI2I4c0c0c0'
local TERMS = '>I4BBB'   -- of a message in a call of many: see send()
local RESULT = '>I8I4B'

local function clock()
  local t = redis.call('TIME')
  local sec = tonumber(t[1])
  return sec, sec * 1000000 + tonumber(t[2])
end

local function int(n) return string.format('%.0f', n) end

-- ends: x of mk, where the caller knows it: without m nobody would find what is in the list.
local function renew(mk, stamp, sec, ends)
  if sec - tonumber(stamp or 0) > RENEW_S then
    ends = math.max(sec + META_S, tonumber(ends or redis.call('HGET', mk, 'x') or 0))
    if redis.call('EXPIREAT', mk, ends) == 1 then redis.call('HSET', mk, 'y', sec) end
  end
end

-- ---- the list --------------------------------------------------------------------------------------------------

-- How many entries have seq <= cur (they stand in seq order): O(log n) look-ups.
local function count_upto(qk, cur, n)
  local lo, hi = 0, n
  while lo < hi do
    local mid = math.floor((lo + hi) / 2)
    if struct.unpack('>I8', redis.call('LINDEX', qk, mid)) <= cur then lo = mid + 1 else hi = mid end
  end
  return lo
end

-- Is it a loss that the entry is gone? Not if it had come to its own end: in a room that keeps messages for `keep`
-- seconds (nil: no room) only one that lived as long as that is missed afterwards.
local function missed(e, sec, keep)
  local seq, _, expires = struct.unpack(ENTRY, e)
  return expires > sec or (keep and expires - math.floor(seq / 1000000) >= keep), seq
end

-- Appends to `out` the entries with seq > cur that have not expired, at most `limit` and about `maxb` bytes.
-- Returns 1 when more are left, how many entries > cur there are (of those not read: with what has expired), and with
-- `keep` the newest seq that is missed before the first entry of the page.
local function page(qk, cur, top, limit, maxb, sec, out, keep)
  if cur >= top then return 0, 0, 0 end
  local at, before, taken, bytes, lost = 0, 0, 0, 0, 0
  local chunk = redis.call('LRANGE', qk, 0, CHUNK - 1)
  if #chunk == CHUNK and struct.unpack('>I8', chunk[CHUNK]) <= cur then -- much of what it has had is still there
    at = count_upto(qk, cur, redis.call('LLEN', qk))
    chunk = redis.call('LRANGE', qk, at, at + CHUNK - 1)
    before = at
  end
  while true do
    for i = 1, #chunk do
      local e = chunk[i]
      local seq, _, expires = struct.unpack(ENTRY, e)
      if seq <= cur then
        before = before + 1
      elseif expires > sec then
        if taken >= limit or (bytes > 0 and bytes + #e > maxb) then return 1, redis.call('LLEN', qk) - before, lost end
        taken, bytes = taken + 1, bytes + #e
        out[#out + 1] = e
      elseif keep and taken == 0 and missed(e, sec, keep) then
        lost = seq
      end
    end
    if #chunk < CHUNK then return 0, taken, lost end
    at = at + CHUNK
    chunk = redis.call('LRANGE', qk, at, at + CHUNK - 1)
  end
end

-- ---- nodes of a user -------------------------------------------------------------------------------------------

local function is_on(nodes, node)
  return nodes and (nodes == node or string.find(' ' .. nodes .. ' ', ' ' .. node .. ' ', 1, true))
end

-- Registers the node unless it is; sets one more field on the way. 1: the first node came.
local function add_node(mk, ok, user, node, nodes, field, value)
  if is_on(nodes, node) then
    if field then redis.call('HSET', mk, field, value) end
    return 0
  end
  local all = nodes and nodes .. ' ' .. node or node
  if field then redis.call('HSET', mk, 'n', all, field, value) else redis.call('HSET', mk, 'n', all) end
  redis.call('SADD', ok, user)
  return nodes and 0 or 1
end

-- nodes, stamp: n and y of mk. 1: the last one went; from then on the hash lives for a while.
local function remove_node(mk, node, nodes, stamp, sec)
  local left, found = {}, false
  for nd in string.gmatch(nodes or '', '%S+') do
    if nd == node then found = true else left[#left + 1] = nd end
  end
  if not found then return 0 end
  if #left == 0 then
    redis.call('HDEL', mk, 'n')
    renew(mk, stamp, sec)
    return 1
  end
  redis.call('HSET', mk, 'n', table.concat(left, ' '))
  return 0
end

-- ---- devices ---------------------------------------------------------------------------------------------------

local function device_read(value)
  local seq, seen, kind, at = string.match(value or '', '^(%d+) (%d+) (%a) (%S)$')
  return tonumber(seq), tonumber(seen), kind, at
end

local function device_text(seq, sec, kind, at)
  return string.format('%.0f %d %s %s', seq, sec, kind, at)
end

local function fields(mk)
  local flat, m = redis.call('HGETALL', mk), {}
  for i = 1, #flat, 2 do m[flat[i]] = flat[i + 1] end
  return m
end

-- Drops devices until there is room for one more: those gone before those attached, those the server named before those
-- a client named, the longest unseen first.
local function make_room(mk)
  local known = {}
  for f, value in pairs(fields(mk)) do
    if string.sub(f, 1, 2) == 'd:' then
      local _, seen, kind, at = device_read(value)
      local rank = (at == '*' and 2 or 0) + (kind == 'n' and 1 or 0)
      known[#known + 1] = {f, rank, seen or 0}
    end
  end
  table.sort(known, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    if a[3] ~= b[3] then return a[3] < b[3] end
    return a[1] < b[1]
  end)
  for i = 1, #known - MAX_DEVICES + 1 do redis.call('HDEL', mk, known[i][1]) end
end

-- Trims the list to the lowest cursor of the devices whose session still lasts; forgets the others. m: the fields of mk.
-- Returns how many entries went.
local function trim(mk, qk, m, sec, session, guest)
  local floor, over = tonumber(m.a or 0), {}
  for f, value in pairs(m) do
    if string.sub(f, 1, 2) == 'd:' then
      local seq, seen, kind, at = device_read(value)
      local lasts = seq and ((at == '*' and m.n) or sec - seen <= (kind == 'n' and session or guest))
      if not lasts then over[#over + 1] = f elseif seq < floor then floor = seq end
    end
  end
  if #over > 0 then redis.call('HDEL', mk, unpack(over)) end
  local n = redis.call('LLEN', qk)
  if n == 0 then return 0 end
  if floor >= tonumber(m.s or 0) then
    redis.call('UNLINK', qk)
    return n
  end
  local k = count_upto(qk, floor, n)
  if k > 0 then redis.call('LTRIM', qk, k, -1) end
  return k
end

-- Moves a device's cursor to seq (never back, never past what was given out), in m and in `up`, which is to be called.
local function move_cursor(m, up, dev, kind, seq, sec, at)
  local top, best, old = tonumber(m.s or 0), tonumber(m.a or 0), device_read(m['d:' .. dev])
  if seq > top then seq = top end
  if old and seq < old then seq = old end
  if not old and seq == 0 then seq = best end
  m['d:' .. dev] = device_text(seq, sec, kind, at)
  up[#up + 1], up[#up + 2] = 'd:' .. dev, m['d:' .. dev]
  if seq > best then
    m.a = int(seq)
    up[#up + 1], up[#up + 2] = 'a', m.a
  end
end

-- ---- sending ---------------------------------------------------------------------------------------------------

-- A raw message may be stored by whichever node that read it: the first to claim its identity (marker, bit) does. rk:
-- the bitmap of its marker in its partition. young: the asker knows by its own clock that it is.
-- nil: go on; 2: somebody has it; 3: older than bitmaps are kept, so nobody can tell.
local CLAIM_US = 45000000
local CLAIM_S = 60

-- Bitmaps whose life was seen to within this second (a call for each claim would cost as much as the claim).
local armed, armed_at = {}, 0

local function refused(rk, marker, bit, young, sec, now)
  if not young and now - marker > CLAIM_US then return 3 end
  if redis.call('SETBIT', rk, bit, '1') == 1 then return 2 end
  if armed_at ~= sec then armed, armed_at = {}, sec end
  if not armed[rk] then
    redis.call('EXPIRE', rk, CLAIM_S, 'NX')
    armed[rk] = true
  end
  return nil
end

-- The same of a claim as text: "marker:bit", "!marker:bit" for a young one.
local function refused_text(rk, claim, sec, now)
  local young, marker, bit = string.match(claim, '^(!?)(%d+):(%d+)$')
  return refused(rk, tonumber(marker), bit, young ~= '', sec, now)
end

-- stamp: now as text. Returns the entry's seq, prev and end, and the nodes where the user is.
local function put(mk, qk, sec, now, stamp, ttl, cap, id, p, keep)
  local v = redis.call('HMGET', mk, 's', 'n', 'x', 'y')
  local prev, seq, nodes, renewed, ends = tonumber(v[1] or 0), now, v[2], v[4], tonumber(v[3] or 0)
  if prev >= now then
    seq = prev + 1
    stamp = int(seq)
  end
  local expires = sec + ttl
  local n = redis.call('RPUSH', qk, struct.pack(WHOLE, seq, prev, expires, #id, id, p))
  if n == 1 or expires + SLACK_MIN_S > ends then
    ends = expires + SLACK_S
    redis.call('EXPIREAT', qk, ends)
    redis.call('HSET', mk, 's', stamp, 'x', ends)
    if renewed and ends > tonumber(renewed) + META_S then renewed = 0 end
  else
    redis.call('HSET', mk, 's', stamp)
  end
  if keep and ttl >= keep then redis.call('HSET', mk, 'k', stamp) end
  if n > cap then
    local gone = redis.call('LPOP', qk, n - cap)
    for i = #gone, 1, -1 do
      local loss, at = missed(gone[i], sec, keep)
      if loss then
        redis.call('HSET', mk, 'g', int(at))
        break
      end
    end
  end
  if renewed or not nodes then renew(mk, renewed, sec, ends) end
  return seq, prev, expires, nodes
end

-- One message; its frame waits in `out` ("node node" -> list). id '' leaves naming it to P; ik: the key of its idempotency id,
-- nil: none, kept for id_s seconds. Returns seq, "node node" or nil, 1 if the id was there already.
local function send_one(mk, qk, ik, sec, now, stamp, cap, user, p, ttl, id, id_s, out, kind, keep)
  if ik then
    local before = redis.call('GET', ik)
    if before then return tonumber(before), nil, 1 end
  end
  local seq, prev, expires, nodes = 0, 0, 0, nil
  if ttl > 0 then
    seq, prev, expires, nodes = put(mk, qk, sec, now, stamp, ttl, cap, id, p, keep)
  else
    nodes = redis.call('HGET', mk, 'n')
  end
  if nodes then
    local list = out[nodes]
    if not list then
      list = {}
      out[nodes] = list
    end
    list[#list + 1] = struct.pack(FRAME, kind or 'U', seq, prev, expires, #id, #user, #p, id, user, p)
  end
  if ik then redis.call('SET', ik, int(seq), 'EX', id_s) end
  return seq, nodes, 0
end

-- Publishes the frames that wait. Returns node -> how many heard it.
local function publish_all(out, channel, publish)
  local of, reached = {}, {}
  for nodes, frames in pairs(out) do -- the messages of one user have the same nodes, so their order stays
    local all = table.concat(frames)
    for nd in string.gmatch(nodes, '%S+') do of[nd] = of[nd] and of[nd] .. all or all end
  end
  for nd, all in pairs(of) do reached[nd] = redis.call(publish, channel .. nd, all) end
  return reached
end

local function heard(nodes, reached)
  if not nodes then return 0 end
  if reached[nodes] then return reached[nodes] end -- one node is the usual case
  local live = 0
  for nd in string.gmatch(nodes, '%S+') do live = live + (reached[nd] or 0) end
  return live
end

local function words(err) return type(err) == 'table' and err.err or tostring(err) end

-- Many messages. KEYS per message: m q, then i if it has an id, rd if it is claimed
-- ARGV channel_prefix PUBLISH|SPUBLISH cap id_s, then per message: terms user P, then its name if P does not say it
-- terms: >I4 ttl_s | B 1: it has an id, remembered for id_s | B 1: it has a name | B 1: it is raw and claimed, 2: and
-- young; these with >I8 marker | >I4 bit
-- -> {results, index, error...}   results: per message >I8 seq | >I4 receivers | B 0 stored, 1 the id was there
-- already, 2 or 3 see refused(), 4 failed, with an error. One that fails does not stop the others.
local function send(K, A)
  local sec, now = clock()
  local cap, id_s, stamp, out = tonumber(A[3]), tonumber(A[4]), int(now), {}
  local seqs, nodes, codes, res = {}, {}, {}, {''}
  local k, a, n = 1, 5, 0
  while a <= #A do
    local ttl, has_id, named, claimed, at = struct.unpack(TERMS, A[a])
    local terms, mk, qk, user, p = A[a], K[k], K[k + 1], A[a + 1], A[a + 2]
    local ik, id, no = nil, '', nil
    k, a, n = k + 2, a + 3, n + 1
    if has_id == 1 then ik, k = K[k], k + 1 end
    if named == 1 then id, a = A[a], a + 1 end
    if claimed > 0 then
      local marker, bit = struct.unpack('>I8I4', terms, at)
      no, k = refused(K[k], marker, string.format('%d', bit), claimed == 2, sec, now), k + 1
    end
    if no then
      seqs[n], codes[n] = 0, no
    else
      local ok, seq, where, dup = pcall(send_one, mk, qk, ik, sec, now, stamp, cap, user, p, ttl, id, id_s, out)
      if ok then
        seqs[n], nodes[n], codes[n] = seq, where, dup
      else
        seqs[n], codes[n], res[#res + 1], res[#res + 2] = 0, 4, n, words(seq)
      end
    end
  end
  local reached = publish_all(out, A[1], A[2])
  for i = 1, n do seqs[i] = struct.pack(RESULT, seqs[i], heard(nodes[i], reached), codes[i]) end
  res[1] = table.concat(seqs)
  return res
end

-- One message. KEYS m q i   ARGV channel_prefix PUBLISH|SPUBLISH cap user P ttl_s name id_s; id_s 0: it has no id
-- -> {seq, receivers, dup} or {-1, error}
local function send_alone(K, A, sec, now)
  local out, id_s = {}, tonumber(A[8])
  local ok, seq, where, dup = pcall(send_one, K[1], K[2], id_s > 0 and K[3] or nil, sec, now, int(now), tonumber(A[3]),
                                    A[4], A[5], tonumber(A[6]), A[7], id_s, out)
  if not ok then return {-1, words(seq)} end
  return {seq, heard(where, publish_all(out, A[1], A[2])), dup}
end

-- ---- sessions --------------------------------------------------------------------------------------------------

-- KEYS m q o   ARGV user node device kind since limit maxbytes session_s guest_s   since -1: the client says nothing
-- -> {top, cursor, gap, came_online, more, pending, entry...}
local function attach(K, A)
  local mk, qk, field = K[1], K[2], 'd:' .. A[3]
  local v = redis.call('HMGET', mk, 's', 'n', 'a', 'g', 'y', field)
  local sec = clock()
  local top, best, gap, since = tonumber(v[1] or 0), tonumber(v[3] or 0), tonumber(v[4] or 0), tonumber(A[5])
  local stored = device_read(v[6])
  if not stored then
    stored = best
    if (v[2] or v[5]) and redis.call('HLEN', mk) >= MAX_DEVICES then make_room(mk) end
  end
  local cur = since < 0 and stored or math.min(since, top)
  if cur < stored then                       -- a client that went back: what was trimmed since is a gap
    local head = redis.call('LINDEX', qk, 0)
    local before = top
    if head then before = select(2, struct.unpack('>I8I8', head)) end
    if before > cur and before > gap then gap = before end
  end
  local edge = add_node(mk, K[3], A[1], A[2], v[2], field, device_text(cur, sec, A[4], '*'))
  if cur > stored then                       -- what it brings is as good as an ack
    if cur > best then redis.call('HSET', mk, 'a', int(cur)) end
    trim(mk, qk, fields(mk), sec, tonumber(A[8]), tonumber(A[9]))
  end
  if v[5] then renew(mk, v[5], sec) end
  local r = {top, cur, gap, edge, 0, 0}
  r[5], r[6] = page(qk, cur, top, tonumber(A[6]), tonumber(A[7]), sec, r)
  return r
end

-- KEYS m q   ARGV from limit maxbytes [keep_s] -> {top, gap, more, entry...}
-- keep_s: of a room, how long it keeps anything; the gap is then also of what has lived for that long.
local function fetch(K, A)
  local v = redis.call('HMGET', K[1], 's', 'g', 'k')
  local sec, from, keep = (clock()), tonumber(A[1]), tonumber(A[4])
  local top = tonumber(v[1] or 0)
  local r = {top, tonumber(v[2] or 0), 0}
  local more, _, lost = page(K[2], from, top, tonumber(A[2]), tonumber(A[3]), sec, r, keep)
  if keep and redis.call('EXISTS', K[2]) == 0 then lost = tonumber(v[3] or 0) end
  r[2], r[3] = math.max(r[2], lost), more
  return r
end

-- KEYS m q o   ARGV user node device kind acked last session_s guest_s -> 1: the user went offline
-- device '': only the node's registration ends.
local function detach(K, A)
  local sec, mk = clock(), K[1]
  local m = fields(mk)
  if A[3] ~= '' and next(m) then
    local up = {'HSET', mk}
    move_cursor(m, up, A[3], A[4], tonumber(A[5]), sec, '-')
    redis.call(unpack(up))
  end
  local edge = 0
  if A[6] == '1' then
    redis.call('SREM', K[3], A[1])
    edge = remove_node(mk, A[2], m.n, m.y, sec)
    if edge == 1 then m.n = nil end
  end
  if tonumber(A[5]) > 0 then trim(mk, K[2], m, sec, tonumber(A[7]), tonumber(A[8])) end
  return edge
end

-- KEYS (m q) per user   ARGV session_s guest_s, then per user: n, n times (device kind seq) -> entries trimmed
local function ack(K, A)
  local sec = clock()
  local a, gone = 3, 0
  for k = 1, #K, 2 do
    local mk, n = K[k], tonumber(A[a])
    local m = fields(mk)
    if next(m) then
      local up = {'HSET', mk}
      for d = a + 1, a + 3 * n, 3 do move_cursor(m, up, A[d], A[d + 1], tonumber(A[d + 2]), sec, '*') end
      redis.call(unpack(up))
      if m.y then renew(mk, m.y, sec) end
      gone = gone + trim(mk, K[k + 1], m, sec, tonumber(A[1]), tonumber(A[2]))
    end
    a = a + 1 + 3 * n
  end
  return gone
end

-- After a reconnect: registers again and compares.
-- KEYS o, then m per user   ARGV node, then per user: user last
-- -> {how many the node has registered here, then index, top of those with top > last}
local function sync(K, A)
  local sec = clock()
  local out, new = {0}, {'SADD', K[1]}
  for i = 2, #K do
    local v = redis.call('HMGET', K[i], 's', 'n', 'y')
    if not is_on(v[2], A[1]) then
      redis.call('HSET', K[i], 'n', v[2] and v[2] .. ' ' .. A[1] or A[1])
      new[#new + 1] = A[2 * i - 2]
    end
    if v[3] then renew(K[i], v[3], sec) end
    local top, last = tonumber(v[1] or 0), tonumber(A[2 * i - 1])
    if top > last then
      out[#out + 1], out[#out + 2] = i - 1, top
    elseif top < last and last < MAX_SEQ then -- this server has lost what it gave out: it never gives out less
      redis.call('HSET', K[i], 's', int(last))
    end
  end
  if #new > 2 then redis.call(unpack(new)) end
  out[1] = redis.call('SCARD', K[1])
  return out
end

-- ---- what the server API asks of a user --------------------------------------------------------------------------

-- How many entries have seq > cur and have not expired, for each of the cursors; the last number is of all entries.
local function count_behind(qk, cursors, sec)
  local out, at = {}, 0
  for i = 1, #cursors + 1 do out[i] = 0 end
  local n = redis.call('LLEN', qk)
  while at < n do
    local chunk = redis.call('LRANGE', qk, at, at + CHUNK - 1)
    for i = 1, #chunk do
      local seq, _, expires = struct.unpack(ENTRY, chunk[i])
      if expires > sec then
        for c = 1, #cursors do
          if seq > cursors[c] then out[c] = out[c] + 1 end
        end
        out[#out] = out[#out] + 1
      end
    end
    at = at + CHUNK
  end
  return out
end

-- KEYS m q   -> {1 if known, last seq, highest ack, gap, pending, "node node", then per device: name, "seq seen kind at",
-- pending}
local function user_info(K)
  local m, devices, cursors = fields(K[1]), {}, {}
  for f, value in pairs(m) do
    local seq = device_read(string.sub(f, 1, 2) == 'd:' and value or nil)
    if seq then devices[#devices + 1] = {string.sub(f, 3), value, seq} end
  end
  table.sort(devices, function(a, b) return a[1] < b[1] end)
  for i = 1, #devices do cursors[i] = devices[i][3] end
  local behind = count_behind(K[2], cursors, (clock()))
  local out = {next(m) and 1 or 0, tonumber(m.s or 0), tonumber(m.a or 0), tonumber(m.g or 0), behind[#behind], m.n or ''}
  for i = 1, #devices do
    out[#out + 1], out[#out + 2], out[#out + 3] = devices[i][1], devices[i][2], behind[i]
  end
  return out
end

-- Empties the inbox; devices that had not had it all are told of a gap.   KEYS m q   -> entries that went
local function inbox_clear(K)
  local n = redis.call('LLEN', K[2])
  if n == 0 then return 0 end
  redis.call('UNLINK', K[2])
  redis.call('HSET', K[1], 'g', redis.call('HGET', K[1], 's') or '0')
  return n
end

-- To the nodes where the user is.   KEYS m   ARGV channel_prefix PUBLISH|SPUBLISH act user device text -> nodes reached
local function control(K, A)
  local reached = 0
  local frame = 'X' .. A[3] .. struct.pack('>BI2', #A[5], #A[4]) .. A[5] .. A[4] .. A[6]
  for nd in string.gmatch(redis.call('HGET', K[1], 'n') or '', '%S+') do
    reached = reached + redis.call(A[2], A[1] .. nd, frame)
  end
  return reached
end

-- ---- the ledger -----------------------------------------------------------------------------------------------------

local MAX_TARGETS = 20000 -- of one id

-- The key lives for so long from now, or longer where something else wants it longer.
local function live_on(key, life)
  if redis.call('EXPIRE', key, life, 'NX') == 0 then redis.call('EXPIRE', key, life, 'GT') end
end

-- Remembers an id, a payload and targets.   KEYS x   ARGV life_s hash P field... -> targets that found no room
local function track_open(K, A)
  local room = MAX_TARGETS - redis.call('HLEN', K[1])
  if #A - 3 > room then return #A - 3 end
  redis.call('HSETNX', K[1], 'p:' .. A[2], A[3])
  for i = 4, #A do redis.call('HSET', K[1], A[i], A[2]) end
  live_on(K[1], A[1])
  return 0
end

-- An attempt to bring a message to a target.
local function track_attempt(tk, life, hash, node, now, seq, expires, nodes)
  local ms = int(math.floor(now / 1000))
  redis.call('HSETNX', tk, 'f', ms)
  redis.call('HSET', tk, 'q', ms .. ' ' .. int(seq) .. ' ' .. int(expires) .. ' ' .. nodes .. ' ' .. node, 'h', hash)
  redis.call('HINCRBY', tk, 'n', 1)
  live_on(tk, life)
end

-- Stores (or passes on live) one message and writes that into its ledger, in one step.
-- KEYS m q i t   ARGV channel_prefix PUBLISH|SPUBLISH cap user P ttl_s name id_s life_s hash node
-- -> {seq, receivers, dup} or {-1, error}
-- A raw message has a fifth key and a twelfth argument: its bitmap and its claim.
local function send_tracked(K, A)
  local sec, now = clock()
  local no = K[5] and refused_text(K[5], A[12], sec, now)
  local r = no and {0, 0, no} or send_alone(K, A, sec, now)
  if r[1] >= 0 and r[3] == 0 then
    track_attempt(K[4], A[9], A[10], A[11], now, r[1], r[1] > 0 and sec + tonumber(A[6]) or 0, r[2])
  end
  return r
end

-- The same, and the relay is to bring it to the user where nobody has acknowledged it by then, in the same step.
-- KEYS m q i t esc   ARGV as above, after_ms channel,channel text, and t's key without "{T}:"
local function send_escalated(K, A)
  local r = send_tracked({K[1], K[2], K[3], K[4]}, A)
  if r[1] >= 0 and r[3] == 0 then
    local _, now = clock()
    local due = int(math.floor(now / 1000) + tonumber(A[12]))
    redis.call('HSET', K[4], 'e', due .. ' ' .. A[13], 'E', A[14])
    redis.call('ZADD', K[5], due, A[15])
  end
  return r
end

-- The same for a target that is not a user: only noted, once.   KEYS t   ARGV life_s hash node seq
local function track_begin(K, A)
  if redis.call('HEXISTS', K[1], 'f') == 1 then return 0 end
  local _, now = clock()
  track_attempt(K[1], A[1], A[2], A[3], now, tonumber(A[4]), 0, 0)
  return 1
end

-- What became of messages.   KEYS t...   ARGV node shard, then per key: kind (w a x W X) device|why ms arrived_ms|why|count
local function track(K, A)
  local done = 0
  for i = 1, #K do
    local tk, b = K[i], 4 * i - 1
    local kind, who, ms, more = A[b], A[b + 1], A[b + 2], A[b + 3]
    if redis.call('HEXISTS', tk, 'f') == 1 then
      if kind == 'w' then
        local times = string.match(redis.call('HGET', tk, 'w:' .. who) or '', '^%d+ %d+ (%d+)') or 0
        redis.call('HSET', tk, 'w:' .. who, more .. ' ' .. ms .. ' ' .. int(times + 1) .. ' ' .. A[1] .. ' ' .. A[2])
      elseif kind == 'a' then
        redis.call('HSETNX', tk, 'a:' .. who, ms)
      elseif kind == 'x' then
        redis.call('HSET', tk, 'x:' .. who, ms .. ' ' .. more)
      elseif kind == 'W' then
        redis.call('HINCRBY', tk, 'W', more)
        redis.call('HSET', tk, 'L', ms)
      else
        redis.call('HINCRBY', tk, 'X:' .. who, more)
      end
      done = done + 1
    end
  end
  return done
end

-- Targets of an id behind `after`, in order.   KEYS x   ARGV after limit -> {1 if known, 1 if there are more, field, hash...}
local function track_targets(K, A)
  local flat, list = redis.call('HKEYS', K[1]), {}
  for i = 1, #flat do
    if string.sub(flat[i], 1, 2) ~= 'p:' and flat[i] > A[1] then list[#list + 1] = flat[i] end
  end
  table.sort(list)
  local limit = tonumber(A[2])
  local out = {#flat > 0 and 1 or 0, #list > limit and 1 or 0}
  for i = 1, math.min(#list, limit) do
    out[#out + 1], out[#out + 2] = list[i], redis.call('HGET', K[1], list[i])
  end
  return out
end

-- Is the entry in the inbox and worth sending? Its bytes, or nil.
local function find_entry(qk, seq, sec)
  local n = redis.call('LLEN', qk)
  local at = count_upto(qk, seq - 1, n)
  local e = at < n and redis.call('LINDEX', qk, at)
  if not e then return nil end
  local found, _, expires = struct.unpack(ENTRY, e)
  return found == seq and expires > sec and e or nil
end

-- What the inbox says of a tracked message: its entry or nil, and the devices whose cursor has passed it. Of a device
-- that nobody saw it written to this counts only once the entry was trimmed, which is done when all have it. Of what the
-- cap may have pushed out it says nothing: what was written can be lost on the way, and a cursor passes over gaps too.
local function passed(t, mk, qk, seq, expires, sec)
  local entry, list = nil, {}
  if seq == 0 then return nil, list end
  local m = fields(mk)
  if seq <= tonumber(m.g or 0) then return nil, list end
  entry = find_entry(qk, seq, sec)
  local trimmed = not entry and sec < expires
  for f, value in pairs(m) do
    local cursor = device_read(string.sub(f, 1, 2) == 'd:' and value or nil)
    local dev = string.sub(f, 3)
    if cursor and cursor >= seq and (trimmed or t['w:' .. dev]) then list[#list + 1] = dev end
  end
  return entry, list
end

local function attempt_of(t)
  local seq, expires = string.match(t.q or '', '^%d+ (%d+) (%d+) ')
  return tonumber(seq or 0), tonumber(expires or 0)
end

-- KEYS t m q (no user: t alone) -> {now_s, 1 if it is in the inbox, {field, value...} of t, {device that has it by its
-- cursor...}, {device of the user...}}
local function track_read(K)
  local sec = clock()
  local flat = redis.call('HGETALL', K[1])
  if #K == 1 or #flat == 0 then return {sec, 0, flat, {}, {}} end
  local t, all = {}, {}
  for i = 1, #flat, 2 do t[flat[i]] = flat[i + 1] end
  local seq, expires = attempt_of(t)
  local entry, list = passed(t, K[2], K[3], seq, expires, sec)
  for f in pairs(fields(K[2])) do
    if string.sub(f, 1, 2) == 'd:' then all[#all + 1] = string.sub(f, 3) end
  end
  return {sec, entry and 1 or 0, flat, list, all}
end

-- Has anybody got it? And the entry, while it waits.
local function had(t, mk, qk, seq, expires, sec)
  local entry, list = passed(t, mk, qk, seq, expires, sec)
  if #list > 0 then return true, entry end
  for f in pairs(t) do
    local kind = string.sub(f, 1, 2)
    if kind == 'a:' or (seq == 0 and kind == 'w:') then return true, entry end
  end
  return false, entry
end

-- Once more to who has not got it: an entry that waits is shown to its nodes again, one that is gone is stored anew.
-- KEYS t m q   ARGV channel_prefix PUBLISH|SPUBLISH cap user P ttl_s id life_s hash node
-- -> {0 not tracked, 1 has it, 2 shown again, 3 stored anew, 4 sent live; seq; nodes reached}
local function track_retry(K, A)
  local sec, now = clock()
  local t, out = fields(K[1]), {}
  if not t.f then return {0, 0, 0} end
  local seq, expires = attempt_of(t)
  local has, entry = had(t, K[2], K[3], seq, expires, sec)
  if has then return {1, seq, 0} end
  local code, reached = 2, 0
  if entry then
    local _, prev, _, idlen, at = struct.unpack(ENTRY, entry)
    local rest = string.sub(entry, at)
    local id, p = string.sub(rest, 1, idlen), string.sub(rest, idlen + 1)
    local frame = struct.pack(FRAME, 'A', seq, prev, expires, idlen, #A[4], #p, id, A[4], p)
    for nd in string.gmatch(redis.call('HGET', K[2], 'n') or '', '%S+') do
      reached = reached + redis.call(A[2], A[1] .. nd, frame)
    end
  else
    seq = send_one(K[2], K[3], nil, sec, now, int(now), tonumber(A[3]), A[4], A[5], tonumber(A[6]), A[7], 0, out)
    code = seq > 0 and 3 or 4
    expires = seq > 0 and sec + tonumber(A[6]) or 0
    for _, live in pairs(publish_all(out, A[1], A[2])) do reached = reached + live end
  end
  track_attempt(K[1], A[8], A[9], A[10], now, seq, expires, reached)
  return {code, seq, reached}
end

-- ---- the relay (cmd/crier-relay) ----------------------------------------------------------------------------------

-- Escalations that are due, claimed: for lease_ms no other worker gets them. A claim is the score they have now, and
-- greater than any before.   KEYS esc   ARGV limit lease_ms -> {claim, name...}
local function relay_due(K, A)
  local _, now = clock()
  local ms = math.floor(now / 1000)
  local claim = ms + tonumber(A[2])
  local list = redis.call('ZRANGEBYSCORE', K[1], '-inf', ms, 'LIMIT', 0, tonumber(A[1]))
  local out = {claim}
  for i = 1, #list do
    redis.call('ZADD', K[1], 'XX', claim, list[i])
    out[i + 1] = list[i]
  end
  return out
end

local function is_claimed(ek, name, claim)
  return tonumber(redis.call('ZSCORE', ek, name) or -1) == tonumber(claim)
end

-- What a claimed one is about, just before it is sent.   KEYS t m q esc addr   ARGV name claim
-- -> {0} somebody has it, or it is forgotten, or another's: nothing to do; {1, "due_ms channel,channel", text, P's hash,
-- {"r:channel", what came of it...}, {channel, address...}}
local function relay_take(K, A)
  if not is_claimed(K[4], A[1], A[2]) then return {0} end
  local t = fields(K[1])
  local seq, expires = attempt_of(t)
  if not t.e or had(t, K[2], K[3], seq, expires, (clock())) then
    redis.call('ZREM', K[4], A[1])
    return {0}
  end
  local came = {}
  for f, value in pairs(t) do
    if string.sub(f, 1, 2) == 'r:' then came[#came + 1], came[#came + 2] = f, value end
  end
  return {1, t.e, t.E or '', t.h or '', came, redis.call('HGETALL', K[5])}
end

-- What came of an attempt.   KEYS t esc   ARGV name claim channel sent|again|failed detail delay_ms (to the next attempt
-- of any channel; '' when there is none) -> 1, or 0: the claim was another's by then, and only that it was sent counts
local function relay_done(K, A)
  local _, now = clock()
  local ms, field, mine = math.floor(now / 1000), 'r:' .. A[3], is_claimed(K[2], A[1], A[2])
  if not mine and A[4] ~= 'sent' then return 0 end
  if redis.call('HEXISTS', K[1], 'f') == 1 then
    local times = string.match(redis.call('HGET', K[1], field) or '', '^%d+ (%d+) ') or 0
    redis.call('HSET', K[1], field, int(ms) .. ' ' .. int(times + 1) .. ' ' .. A[4] .. ' ' .. A[5])
  end
  if A[6] == '' then redis.call('ZREM', K[2], A[1]) else redis.call('ZADD', K[2], 'XX', ms + tonumber(A[6]), A[1]) end
  return mine and 1 or 0
end

-- An access token that all workers share, made anew by one of them at a time, while the old one is still good.
-- KEYS token lock   ARGV worker lock_ms stale (a token that was refused; '': none)
-- -> {1, token} use it; {2, token or ''} you hold the lock: make one (and use this one if that fails); {3} another makes one
local function token_get(K, A)
  local _, now = clock()
  local v, ms = redis.call('HMGET', K[1], 'token', 'renew', 'until'), now / 1000
  local token = v[1]
  local good = token and token ~= A[3] and ms < tonumber(v[3])
  if good and ms < tonumber(v[2]) then return {1, token} end
  if redis.call('SET', K[2], A[1], 'NX', 'PX', A[2]) then return {2, good and token or ''} end
  return good and {1, token} or {3}
end

-- KEYS token lock   ARGV worker token life_ms early_ms: it is renewed so long before its end; token '': none could be made
-- -> 1, or 0: the lock was lost to another, and the token is not kept
local function token_set(K, A)
  if redis.call('GET', K[2]) ~= A[1] then return 0 end
  if A[2] ~= '' then
    local _, now = clock()
    local ms, life, early = math.floor(now / 1000), tonumber(A[3]), tonumber(A[4])
    redis.call('HSET', K[1], 'token', A[2], 'renew', int(ms + life - math.min(early, life / 2)), 'until', int(ms + life))
    redis.call('PEXPIRE', K[1], A[3])
  end
  redis.call('DEL', K[2])
  return 1
end

-- Where the relay finds a user, all of it anew.   KEYS addr   ARGV channel address... -> how many
local function addresses_set(K, A)
  redis.call('DEL', K[1])
  for i = 1, #A, 2 do redis.call('HSET', K[1], A[i], A[i + 1]) end
  return #A / 2
end

-- ---- a node's registrations --------------------------------------------------------------------------------------

-- Takes a node's registrations back, `count` at a time (its own when it leaves, a dead one's by anybody).
-- KEYS o   ARGV node count m_prefix -> {left, user that went offline...}
local function sweep(K, A)
  local sec = clock()
  local users = redis.call('SPOP', K[1], A[2])
  local out = {redis.call('SCARD', K[1])}
  for i = 1, #users do
    local mk = A[3] .. users[i]
    local m = fields(mk)
    for f, value in pairs(m) do
      local seq, _, kind, at = device_read(string.sub(f, 1, 2) == 'd:' and value or nil)
      if at == '*' then redis.call('HSET', mk, f, device_text(seq, sec, kind, '-')) end
    end
    if remove_node(mk, A[1], m.n, m.y, sec) == 1 then out[#out + 1] = users[i] end
  end
  return out
end

-- ---- rooms with history ----------------------------------------------------------------------------------------

-- KEYS R h i rooms [rd]   ARGV channel_prefix PUBLISH|SPUBLISH cap room P ttl_s id claim_s keep_s [claim]
-- -> {seq, receivers, dup}
local function room_send(K, A)
  local sec, now = clock()
  local no = A[10] and refused_text(K[5], A[10], sec, now)
  if no then return {0, 0, no} end
  local out, id_s = {}, tonumber(A[8])
  local fresh = redis.call('EXISTS', K[2]) == 0
  local seq, where, dup = send_one(K[1], K[2], id_s > 0 and K[3] or nil, sec, now, int(now), tonumber(A[3]), A[4], A[5],
                                   tonumber(A[6]), A[7], id_s, out, 'R', tonumber(A[9]))
  if fresh and dup == 0 and seq > 0 then redis.call('ZADD', K[4], 0, A[4]) end
  return {seq, heard(where, publish_all(out, A[1], A[2])), dup}
end

-- The room's messages come to the node from here on.   KEYS R O rooms   ARGV room node -> the last seq
local function room_join(K, A)
  local v = redis.call('HMGET', K[1], 's', 'n', 'y')
  local sec = clock()
  if add_node(K[1], K[2], A[1], A[2], v[2]) == 1 then redis.call('ZADD', K[3], 0, A[1]) end
  renew(K[1], v[3], sec)
  return tonumber(v[1] or 0)
end

-- KEYS R O   ARGV room node
local function room_leave(K, A)
  redis.call('SREM', K[2], A[1])
  local v = redis.call('HMGET', K[1], 'n', 'y')
  return remove_node(K[1], A[2], v[1], v[2], (clock()))
end

-- The newest entries with seq < before (0: all), at most `limit` and about `maxb` bytes, oldest first.
-- KEYS R h   ARGV before limit maxbytes -> {top, 1 when there are older ones, entry...}
local function room_history(K, A)
  local sec = clock()
  local before, limit, maxb = tonumber(A[1]), tonumber(A[2]), tonumber(A[3])
  local at, found, bytes, more = redis.call('LLEN', K[2]), {}, 0, 0
  if before > 0 then at = count_upto(K[2], before - 1, at) end
  while at > 0 and more == 0 do
    local from = math.max(at - CHUNK, 0)
    local chunk = redis.call('LRANGE', K[2], from, at - 1)
    for i = #chunk, 1, -1 do
      local e = chunk[i]
      local _, _, expires = struct.unpack(ENTRY, e)
      if expires > sec then
        if #found >= limit or (bytes > 0 and bytes + #e > maxb) then
          more = 1
          break
        end
        bytes = bytes + #e
        found[#found + 1] = e
      end
    end
    at = from
  end
  local r = {tonumber(redis.call('HGET', K[1], 's') or 0), more}
  for i = #found, 1, -1 do r[#r + 1] = found[i] end
  return r
end

-- KEYS R h v   -> {last seq, entries, oldest seq, "node node", users}
local function room_info(K)
  local m = redis.call('HMGET', K[1], 's', 'n')
  local head = redis.call('LINDEX', K[2], 0)
  return {tonumber(m[1] or 0), redis.call('LLEN', K[2]), head and (struct.unpack('>I8', head)) or 0, m[2] or '',
          tonumber(redis.call('HGET', K[3], 'n') or 0)}
end

-- Names after `after`, in order; those of rooms that nobody is in and that hold nothing are forgotten on the way.
-- KEYS rooms   ARGV after limit prefix_of_the_partition -> {room...}
local function room_names(K, A)
  local out, from, limit = {}, A[1] == '' and '-' or '(' .. A[1], tonumber(A[2])
  while #out < limit do
    local page = redis.call('ZRANGEBYLEX', K[1], from, '+', 'LIMIT', 0, limit)
    if #page == 0 then break end
    for i = 1, #page do
      local room = page[i]
      if redis.call('HEXISTS', A[3] .. 'R:' .. room, 'n') == 1 or redis.call('EXISTS', A[3] .. 'h:' .. room) == 1 then
        out[#out + 1] = room
        if #out == limit then break end
      else
        redis.call('ZREM', K[1], room)
      end
    end
    from = '(' .. page[#page]
  end
  return out
end

-- ---- presence --------------------------------------------------------------------------------------------------

local CHANGES = 1000     -- of a room, kept for watchers that have missed some
local CHANGES_S = 120

-- One change of who is in a room, told to whoever watches it. Changes are numbered: who misses one sees it, and finds it
-- in the list of the last ones, whose key is that of v with another letter.
local function tell(vk, room, user, kind, channel, publish)
  local _, now = clock()
  local v = redis.call('HMGET', vk, 'v', 'n')
  local prev, n = tonumber(v[1] or 0), tonumber(v[2] or 0)
  local seq = now > prev and now or prev + 1
  n = kind == 'J' and n + 1 or math.max(n - 1, 0)
  redis.call('HSET', vk, 'v', int(seq), 'n', n)
  if n == 0 then redis.call('EXPIRE', vk, META_S) else redis.call('PERSIST', vk) end
  local change, log = struct.pack('>c1I8I8', kind, seq, prev) .. user, string.gsub(vk, '}:v:', '}:V:', 1)
  if redis.call('RPUSH', log, change) > CHANGES + 100 then redis.call('LTRIM', log, -CHANGES, -1) end
  redis.call('EXPIRE', log, CHANGES_S)
  redis.call(publish, channel .. room, change)
end

-- On how many nodes the user is in the room (of two or more: 2).
local function places(pk, user)
  return #redis.call('ZRANGEBYLEX', pk, '[' .. user .. '\n', '(' .. user .. '\011', 'LIMIT', 0, 2)
end

local function go_one(pk, vk, room, user, node, channel, publish)
  if redis.call('ZREM', pk, user .. '\n' .. node) == 1 and places(pk, user) == 0 then
    tell(vk, room, user, 'L', channel, publish)
  end
end

-- Users are in rooms on this node; fine if they were already.
-- KEYS P, then p v per pair   ARGV node channel_prefix PUBLISH|SPUBLISH, then room user per pair
local function come(K, A)
  for i = 1, (#K - 1) / 2 do
    local pk, vk, room, user = K[2 * i], K[2 * i + 1], A[2 * i + 2], A[2 * i + 3]
    redis.call('SADD', K[1], room .. '\n' .. user)
    if redis.call('ZADD', pk, 0, user .. '\n' .. A[1]) == 1 and places(pk, user) == 1 then
      tell(vk, room, user, 'J', A[2], A[3])
    end
  end
  return 0
end

-- The other way round; the same keys and arguments.
local function go(K, A)
  for i = 1, (#K - 1) / 2 do
    local room, user = A[2 * i + 2], A[2 * i + 3]
    redis.call('SREM', K[1], room .. '\n' .. user)
    go_one(K[2 * i], K[2 * i + 1], room, user, A[1], A[2], A[3])
  end
  return 0
end

-- Takes a node's presence back, `count` at a time (its own when it leaves, a dead one's by anybody).
-- KEYS P   ARGV node count prefix_of_the_partition channel_prefix PUBLISH|SPUBLISH -> left
local function presence_sweep(K, A)
  local pairs_of = redis.call('SPOP', K[1], A[2])
  for i = 1, #pairs_of do
    local room, user = string.match(pairs_of[i], '^(.-)\n(.*)$')
    if room then go_one(A[3] .. 'p:' .. room, A[3] .. 'v:' .. room, room, user, A[1], A[4], A[5]) end
  end
  return redis.call('SCARD', K[1])
end

-- What changed in a room after the change `since`.   KEYS v V   ARGV since
-- -> {1 if nothing between is left out, last change, change...}
local function changes(K, A)
  local v, since = tonumber(redis.call('HGET', K[1], 'v') or 0), tonumber(A[1])
  if v == since then return {1, v} end
  local n = redis.call('LLEN', K[2])
  local lo, hi = 0, n
  while lo < hi do
    local mid = math.floor((lo + hi) / 2)
    if select(2, struct.unpack('>c1I8', redis.call('LINDEX', K[2], mid))) <= since then lo = mid + 1 else hi = mid end
  end
  local found = redis.call('LRANGE', K[2], lo, -1)
  local _, _, prev = struct.unpack('>c1I8I8', found[1] or string.rep('\0', 17))
  if #found == 0 or prev ~= since then return {0, v} end
  return {1, v, unpack(found)}
end

-- Who is in a room, in order, those behind `after`.   KEYS p v   ARGV after limit -> {last change, users, user...}
local function presence(K, A)
  local v, limit = redis.call('HMGET', K[2], 'v', 'n'), tonumber(A[2])
  local out, from, last = {tonumber(v[1] or 0), tonumber(v[2] or 0)}, A[1] == '' and '-' or '(' .. A[1] .. '\011', ''
  while #out < limit + 2 do
    local page = redis.call('ZRANGEBYLEX', K[1], from, '+', 'LIMIT', 0, limit)
    if #page == 0 then break end
    for i = 1, #page do
      local user = string.match(page[i], '^(.-)\n')
      if user and user ~= last then
        if #out == limit + 2 then break end
        out[#out + 1] = user
        last = user
      end
    end
    from = '(' .. page[#page]
  end
  return out
end

-- ---- nodes of the cluster --------------------------------------------------------------------------------------
--   nodes  hash  node -> "beat joined role info"   beat: by the cluster's clock; joined: unix ms
--                role i<n>: it reads all raw messages (n grows with each new subscription), o: it is about to stop
--                doing so, -: it does not
--   dead   hash  node -> "unix_ms swept graceful"   a name in here never comes back; swept 0: not yet, 1: once,
--                2: and once more later, 3: the server may have forgotten it
--   holes  hash  node -> M: it has missed raw messages from before marker M
--   mark   hash  id M of the last marker | nodes named in it | all 1 if those are all there are | run of the server
--                clock of the cluster, ms | at when it was last moved, unix ms
--
-- The cluster's clock goes as far as time does between two heartbeats of whichever nodes, and never further than a
-- step: so neither a step of the server's clock nor a server that was away makes anybody look dead.

local STEP_MS = 1500
local MARK_MS = 5000       -- a marker is never older than this, so that identities stay young
local HOLE_US = 60000000
local DEAD_MS = 604800000  -- how long a dead name is remembered
local SHOWN_MS = 60000     -- a dead node is told of for this long, and until it is swept
local LATE_MS = 30000      -- and swept once more after this: what it had sent may have been long on its way

local function reads(role) return string.sub(role, 1, 1) == 'i' end

local function node_read(value)
  local beat, joined, role, info = string.match(value, '^(%d+) (%d+) (%S+) ?(.*)$')
  return tonumber(beat), tonumber(joined), role, info
end

local function node_text(beat, joined, role, info) return int(beat) .. ' ' .. int(joined) .. ' ' .. role .. ' ' .. info end

-- The nodes that read raw messages, "node node", and 1 if there are no others.
local function readers(nodes)
  local h, names, all = redis.call('HGETALL', nodes), {}, 1
  for i = 1, #h, 2 do
    local _, _, role = node_read(h[i + 1])
    if role and reads(role) then names[#names + 1] = h[i] else all = 0 end
  end
  table.sort(names)
  return table.concat(names, ' '), all
end

-- Publishes a marker into the stream of raw messages: every node that reads it changes its view at the same message.
-- M only grows. '=': nobody was named by the one before. '*': there are no other nodes. '!node': it has missed some.
local function announce(K, channel, hole)
  local _, now = clock()
  local v = redis.call('HMGET', K[1], 'id', 'nodes')
  local last = tonumber(v[1] or 0)
  local m = now > last and now or last + 1
  local names, all = readers(K[2])
  redis.call('HSET', K[1], 'id', int(m), 'nodes', names, 'all', all)
  if hole then redis.call('HSET', K[4], hole, int(m)) end
  redis.call('PUBLISH', channel, int(m) .. ((v[2] or '') == '' and ' =' or '') .. (all == 1 and ' * ' or ' ') .. names ..
             (hole and ' !' .. hole or ''))
  return m
end

-- Moves the cluster's clock. After a restart of the server nobody's subscription is left: nobody reads, and of what was
-- on its way to a reader nobody knows whether it came, so the others store the share of each. What the server has lost
-- may have been a sweep, so those of the last minute are done again.
local function tick(K, now_us, ms, run)
  local v = redis.call('HMGET', K[1], 'clock', 'at', 'run', 'id')
  local step = math.max(0, math.min(ms - tonumber(v[2] or ms), STEP_MS))
  local now = tonumber(v[1] or 0) + step
  redis.call('HSET', K[1], 'clock', int(now), 'at', int(ms), 'run', run)
  if v[3] and v[3] ~= run then
    local h = redis.call('HGETALL', K[2])
    for i = 1, #h, 2 do
      local beat, joined, role, info = node_read(h[i + 1])
      if role and reads(role) then
        redis.call('HSET', K[2], h[i], node_text(beat, joined, '-', info))
        redis.call('HSET', K[4], h[i], int(math.max(now_us, tonumber(v[4] or 0) + 1)))
      end
    end
    h = redis.call('HGETALL', K[3])
    for i = 1, #h, 2 do
      local at = tonumber(string.match(h[i + 1], '^%d+') or 0)
      if math.abs(ms - at) < SHOWN_MS then
        redis.call('HSET', K[3], h[i], (string.gsub(h[i + 1], '^(%d+) [12]', '%1 3')))
      end
    end
  end
  return now
end

-- Nodes whose own channel nobody listens to: killed ones that are not known to be dead yet, and those that are cut off.
local function deaf(live, channel)
  local ask, out = {'PUBSUB', 'NUMSUB'}, {}
  for i = 1, #live do ask[i + 2] = channel .. live[i][1] end
  local r = redis.call(unpack(ask))
  for i = 1, #live do out[live[i][1]] = r[2 * i] == 0 end
  return out
end

-- Takes out who has not been heard of for too long; the rest in order of seniority, those last who hear nothing: they
-- would only keep others from reading.
local function census(K, now, ms, dead_after, channel)
  local h, live = redis.call('HGETALL', K[2]), {}
  for i = 1, #h, 2 do
    local beat, joined, role, info = node_read(h[i + 1])
    if not beat or now - beat > dead_after then
      redis.call('HDEL', K[2], h[i])
      redis.call('HSET', K[3], h[i], int(ms) .. ' 0 0')
    else
      live[#live + 1] = {h[i], joined, role, info}
    end
  end
  local hears_not = deaf(live, channel)
  table.sort(live, function(a, b)
    if hears_not[a[1]] ~= hears_not[b[1]] then return hears_not[b[1]] end
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  local flat = {}
  for i = 1, #live do
    flat[#flat + 1], flat[#flat + 2], flat[#flat + 3], flat[#flat + 4] = unpack(live[i])
  end
  return flat
end

-- Node, swept, graceful for each. swept 2: once more, now that this is due; that waits for those not swept at all.
local function told_dead(K, ms)
  local h, out, late, fresh = redis.call('HGETALL', K[3]), {}, {}, false
  for i = 1, #h, 2 do
    local at, swept, graceful = string.match(h[i + 1], '^(%d+) (%d) (%d)$')
    local age = math.abs(ms - tonumber(at or 0))
    if swept == '3' or (swept == '1' and age > LATE_MS) then
      late[#late + 1], late[#late + 2], late[#late + 3] = h[i], 2, tonumber(graceful)
    elseif not at or (swept ~= '0' and age > DEAD_MS) then
      redis.call('HDEL', K[3], h[i])
    elseif swept == '0' or age < SHOWN_MS then
      out[#out + 1], out[#out + 2], out[#out + 3] = h[i], swept == '0' and 0 or 1, tonumber(graceful)
      fresh = fresh or swept == '0'
    end
  end
  if not fresh then
    for i = 1, #late do out[#out + 1] = late[i] end
  end
  return out
end

local function told_holes(K, now)
  local h, out = redis.call('HGETALL', K[4]), {}
  for i = 1, #h, 2 do
    if math.abs(now - tonumber(h[i + 1])) > HOLE_US then
      redis.call('HDEL', K[4], h[i])
    else
      out[#out + 1], out[#out + 2] = h[i], tonumber(h[i + 1])
    end
  end
  return out
end

-- KEYS mark nodes dead holes   ARGV node role info dead_after_ms run mark_channel channel_prefix
-- -> {state, {live node, joined, role, info...}, {dead node, swept, graceful...}, {node with a hole, M...}, last M}
-- state 0: known, 1: fenced (take a new incarnation), 2: new here. The senior ones of the live come first.
local function beat(K, A)
  local _, now = clock()
  local ms, node, role = math.floor(now / 1000), A[1], A[2]
  local grave = redis.call('HGET', K[3], node)
  if grave then -- it may have registered users since its name was swept: that is done once more
    redis.call('HSET', K[3], node, (string.gsub(grave, '^(%d+) %d', '%1 0')))
    return {1}
  end
  local time = tick(K, now, ms, A[5])
  local mine = redis.call('HGET', K[2], node)
  local _, joined, was = node_read(mine or '')
  redis.call('HSET', K[2], node, node_text(time, joined or ms, role, A[3]))
  local hole = was and reads(was) and was ~= role and role ~= 'o' and node or nil
  local live = census(K, time, ms, tonumber(A[4]), A[7])
  local v = redis.call('HMGET', K[1], 'id', 'nodes', 'all')
  local names, all = readers(K[2])
  local m, age = tonumber(v[1] or 0), math.abs(now / 1000 - tonumber(v[1] or 0) / 1000)
  if hole or names ~= (v[2] or '') or (names ~= '' and (int(all) ~= v[3] or age > MARK_MS)) then
    m = announce(K, A[6], hole)
  end
  return {mine and 0 or 2, live, told_dead(K, ms), told_holes(K, now), m}
end

-- KEYS mark nodes dead holes   ARGV node mark_channel: a node says goodbye, so that nobody waits for it to be found
-- dead. Graceful when it had stopped reading before.
local function leave(K, A)
  local _, now = clock()
  local _, _, role = node_read(redis.call('HGET', K[2], A[1]) or '')
  local graceful = role and not reads(role) and '1' or '0'
  redis.call('HDEL', K[2], A[1])
  redis.call('HSET', K[3], A[1], int(math.floor(now / 1000)) .. ' 0 ' .. graceful)
  return announce(K, A[2])
end

-- KEYS dead   ARGV node: nothing that it had registered is left.
local function swept(K, A)
  local v = redis.call('HGET', K[1], A[1])
  local at, before, rest = string.match(v or '', '^(%d+) (%d)(.*)$')
  local late = at and before ~= '0' and math.abs(select(2, clock()) / 1000 - tonumber(at)) > LATE_MS
  if at then redis.call('HSET', K[1], A[1], at .. (late and ' 2' or ' 1') .. rest) end
  return 0
end

-- ---- what was refused ------------------------------------------------------------------------------------------

-- KEYS refused   ARGV cap channel reason P. Every node that saw the payload says so; neighbours that say the same are
-- kept once.
local function refuse(K, A)
  local line = cjson.encode({A[2], A[3], A[4]})
  if redis.call('LINDEX', K[1], 0) == line then return 0 end
  redis.call('LPUSH', K[1], line)
  redis.call('LTRIM', K[1], 0, tonumber(A[1]) - 1)
  return 1
end

-- ---- for backends with nothing but a Redis client --------------------------------------------------------------

local WORDS = {event = 'string', from = 'string', collapse = 'string', id = 'string', priority = 'string',
               track = 'boolean', ttl = 'number', data = ''}
local PRIORITIES = {low = true, normal = true, high = true}
local MAX_TTL = 315360000

local function decode(p)
  local c = string.byte(p, string.find(p, '[^ \t\r\n]') or 1) or 0
  local ok, t = false, nil
  if c == 123 then
    ok, t = pcall(cjson.decode, p)
  elseif (c >= 128 and c <= 143) or c == 222 or c == 223 then
    ok, t = pcall(cmsgpack.unpack, p)
  end
  return ok and type(t) == 'table' and t or nil
end

-- ttl, id and track of P if it is an envelope; or the member at fault.
local function members(p)
  local t = decode(p)
  if not t or t.data == nil then return nil, nil, nil end
  for name in pairs(t) do
    if not WORDS[name] then return nil, nil, nil end
  end
  for name, kind in pairs(WORDS) do
    if kind ~= '' and t[name] ~= nil and type(t[name]) ~= kind then return nil, nil, name end
  end
  if t.ttl and (t.ttl < 0 or t.ttl > MAX_TTL or t.ttl ~= math.floor(t.ttl)) then return nil, nil, 'ttl' end
  if t.id and (#t.id < 1 or #t.id > 128) then return nil, nil, 'id' end
  if t.priority and not PRIORITIES[t.priority] then return nil, nil, 'priority' end
  return t.ttl, t.id, nil, t.track
end

local function partition(prefix, name)
  return prefix .. '{' .. string.sub(redis.sha1hex(name), 1, 2) .. '}:'
end

-- FCALL crier_user 0 <user> <P> [ttl_s] [id]     (1 <prefix> instead of 0 where the prefix is not "crier:")
-- -> {seq, nodes reached, 1 if the id was there already}
local function user(K, A)
  local prefix, name, p = K[1] or 'crier:', A[1], A[2]
  if not p then return redis.error_reply('ERR crier_user: a user and a payload are needed') end
  if #name < 1 or #name > 128 or string.find(name, '[%z\1-\31\127]') then
    return redis.error_reply('ERR user: 1 to 128 bytes without control characters')
  end
  local ttl, id, fault, tracked = members(p)
  if fault then return redis.error_reply('ERR ' .. fault .. ': wrong kind of value in the payload') end
  local conf = redis.call('HMGET', prefix .. '{c}:conf', 'cap', 'ttl', 'max', 'ledger')
  if #p > tonumber(conf[3] or 65536) + 4096 then -- the data's limit, and room for the other members
    return redis.error_reply('ERR payload: too long')
  end
  if A[3] and A[3] ~= '' then
    ttl = tonumber(A[3])
    if not ttl or ttl < 0 or ttl > MAX_TTL or ttl ~= math.floor(ttl) then
      return redis.error_reply('ERR ttl: whole seconds from 0 to ' .. MAX_TTL)
    end
  end
  local named = ''
  if A[4] and A[4] ~= '' then
    if #A[4] > 128 then return redis.error_reply('ERR id: 1 to 128 bytes') end
    if A[4] ~= id then named = A[4] end
    id = A[4]
  end
  local t, claim = partition(prefix, name), id and '600' or '0'
  local keys = {t .. 'm:' .. name, t .. 'q:' .. name, t .. 'i:u:' .. name .. ':' .. (id or '')}
  local args = {prefix .. 'n:', 'PUBLISH', conf[1] or '1000', name, p, ttl or conf[2] or '604800', named, claim}
  local r
  if tracked then
    if not id then -- the ledger needs one to be found by
      id = string.format('%.0f', select(2, clock())) .. '.' .. string.sub(redis.sha1hex(name .. p), 1, 8)
      args[7] = id
    end
    local hash, life = string.sub(redis.sha1hex(p), 1, 16), conf[4] or '86400'
    track_open({partition(prefix, id) .. 'x:' .. id}, {life, hash, p, 'u:' .. name})
    keys[4] = t .. 't:u:' .. #name .. ':' .. name .. ':' .. id
    args[9], args[10], args[11] = life, hash, '-'
    r = send_tracked(keys, args)
  else
    local sec, now = clock()
    r = send_alone(keys, args, sec, now)
  end
  if r[1] < 0 then return redis.error_reply(r[2]) end
  return r
end

-- What only moves cursors, frees or keeps the house in order goes on when Redis has no memory left: the acks that would
-- free some must not wait for it.
local function register(name, callback, ...)
  redis.register_function{function_name = 'crier_' .. name, callback = callback, flags = {...}}
end
register('send', send)
register('attach', attach, 'allow-oom')
register('fetch', fetch, 'no-writes')
register('detach', detach, 'allow-oom')
register('ack', ack, 'allow-oom')
register('sync', sync, 'allow-oom')
register('sweep', sweep, 'allow-oom')
register('room_send', room_send)
register('room_join', room_join, 'allow-oom')
register('room_leave', room_leave, 'allow-oom')
register('room_history', room_history, 'no-writes')
register('room_info', room_info, 'no-writes')
register('room_names', room_names, 'allow-oom')
register('come', come, 'allow-oom')
register('go', go, 'allow-oom')
register('presence_sweep', presence_sweep, 'allow-oom')
register('presence', presence, 'no-writes')
register('changes', changes, 'no-writes')
register('user_info', user_info, 'no-writes')
register('inbox_clear', inbox_clear, 'allow-oom')
register('control', control, 'allow-oom')
register('track_open', track_open)
register('track_begin', track_begin)
register('track', track)
register('track_targets', track_targets, 'no-writes')
register('track_read', track_read, 'no-writes')
register('track_retry', track_retry)
register('send_tracked', send_tracked)
register('send_escalated', send_escalated)
register('relay_due', relay_due, 'allow-oom')
register('relay_take', relay_take, 'allow-oom')
register('relay_done', relay_done, 'allow-oom')
register('token_get', token_get, 'allow-oom')
register('token_set', token_set, 'allow-oom')
register('addresses_set', addresses_set)
register('beat', beat, 'allow-oom')
register('leave', leave, 'allow-oom')
register('swept', swept, 'allow-oom')
register('refuse', refuse)
register('user', user, 'no-cluster')
register('version', function() return VERSION end, 'no-writes')
