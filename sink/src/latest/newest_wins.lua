-- One tick into its hash, if it is newer than what is there: event time, then received_at, then id.
--
--   KEYS[1]         tick:{kind}:{market}:{base}:{quote}
--   ARGV            field, value, field, value, … with `time` (µs), `received_at` (ms) and `id` (hex)
--   returns          1 written, 0 what is there is as new or newer, -1 the key is not a hash
--
-- Redis runs a script alone, so that several sinks decide one after the other. Numbers are compared
-- as texts, digit by digit: a Lua number is a double, exact to 16 digits only, and Lua's own
-- comparison of strings follows the server's locale.

local key = KEYS[1]

local function less(a, b) -- of two texts of the same length
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

local function compare(a, b) -- of two integers: -1, 0 or 1
  if a == b then return 0 end
  local minus_a, minus_b = a:sub(1, 1) == '-', b:sub(1, 1) == '-'
  if minus_a ~= minus_b then return minus_a and -1 or 1 end
  local smaller
  if #a ~= #b then smaller = #a < #b else smaller = less(a, b) end
  if minus_a then smaller = not smaller end
  return smaller and -1 or 1
end

local kind = redis.call('TYPE', key).ok
if kind == 'hash' then
  local there = redis.call('HMGET', key, 'time', 'received_at', 'id')
  local new = {}
  for i = 1, #ARGV, 2 do new[ARGV[i]] = ARGV[i + 1] end
  -- What holds no order was not written by a sink, and is replaced.
  if there[1] and there[1]:match('^%-?%d+$')
    and there[2] and there[2]:match('^%-?%d+$') and there[3] then
    local order = compare(new.time, there[1])
    if order == 0 then order = compare(new.received_at, there[2]) end
    if order < 0 then return 0 end
    if order == 0 and #new.id == #there[3] and not less(there[3], new.id) then return 0 end
  end
  redis.call('DEL', key) -- with the fields that this tick does not have
elseif kind ~= 'none' then
  return -1
end
redis.call('HSET', key, unpack(ARGV))
return 1
