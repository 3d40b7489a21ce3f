//! What runs inside the server: the scripts that change a record and its stripe's stamp together.
//!
//! A script runs alone, so the order of its commands matters only for what the server may refuse:
//! under `maxmemory` without eviction, and on full disks, the first command that could take memory
//! is refused, and `DEL` never is. So a script that was refused the new record still removes the
//! old one, and a counter that cannot be raised is deleted, which invalidates all that it guards
//! just as well: a missing counter equals no token and no record, and starts again at random.
//!
//! A server tells nobody that a key was removed which it did not have, but hosts may have copies of
//! one that L3 never took. So who removes what is not there puts something in its place for as long
//! as the script runs. A server without memory for that tells nobody.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;
use sha1_smol::Sha1;

/// What scripts have in common, each part as it is needed: the server makes every function of a script
/// anew each time it runs.
const COUNTER: &str = r"
local function counter(name)
  local value = redis.pcall('GET', name)
  if type(value) == 'string' and #value <= 15 and string.match(value, '^[1-9]%d*$') then
    return value
  end
  return nil
end
";

pub(super) const REFUSED: &str = r"
local function refused(reply)
  return type(reply) == 'table' and reply.err ~= nil
end
";

/// Raises a counter; 1 is what the server makes of one that is not there, and no counter has more than
/// 15 digits. After `REFUSED`.
const RAISE: &str = r"
local function raise(name, start)
  local raised = redis.pcall('INCR', name)
  if type(raised) == 'number' and raised > 1 and raised < 10^15 then
    return raised
  end
  if refused(redis.pcall('SET', name, start)) then
    redis.call('DEL', name)
    return false
  end
  return start
end
";

/// Tells who is subscribed to the channel of a stripe (`news.rs`) of the change that raised its stamp so;
/// `'-'` for one that raised none, `false` where the stamp is lost. While nobody is subscribed that is one
/// look, and nothing is sent to replicas or other nodes. Where the user may not look, or not publish,
/// the stamp tells at the next heartbeat. After `REFUSED`.
const TELL: &str = r"
local function tell(channel, stamp, name)
  local heard = redis.pcall('PUBSUB', 'NUMSUB', channel)
  if refused(heard) or heard[2] == 0 then
    return
  end
  if type(stamp) == 'number' then
    stamp = string.format('%.0f', stamp)
  end
  redis.pcall('PUBLISH', channel, '1 ' .. (stamp or '0') .. ' ' .. name)
end
";

/// Removes the edition of the epochs, where there is one, as an epoch is changed in the same step.
const REVISE: &str = r"
local function revise(edition)
  if edition then
    redis.call('DEL', edition)
  end
end
";

const STORED: &str = r"
local function stored(name, most)
  local size = redis.pcall('STRLEN', name)
  if type(size) ~= 'number' or size > tonumber(most) then
    return false
  end
  return redis.call('GET', name)
end
";

/// The head of a record.
const HEAD: &str = r"
local function marked_head(epoch, mark)
  local digits = string.rep('0', 16 - #epoch) .. epoch
  return digits .. string.sub(redis.sha1hex(digits .. mark), 1, 16)
end
";

/// How a head is marked. After `HEAD`.
const MARK: &str = r"
local function mark_of(start, epoch)
  for _, mark in ipairs({'', 'touched', 'expired', 'touched expired'}) do
    if start == marked_head(epoch, mark) then
      return mark
    end
  end
  return nil
end
";

/// Removes so that all are told. After `REFUSED`.
const REMOVE_TOLD: &str = r"
local function remove(name)
  if redis.call('UNLINK', name) > 0 then
    return
  end
  if not refused(redis.pcall('SET', name, '', 'PX', 1)) then
    redis.call('UNLINK', name)
  end
end
";

/// After `REFUSED` and `TELL`.
const REIGN: &str = r"
local function begin_reign(reign, id, names, starts)
  if redis.pcall('GET', reign) == id then
    return nil
  end
  for number = 1, 2 do
    if refused(redis.pcall('SET', names[number], starts[number])) then
      redis.call('DEL', names[number])
    end
  end
  tell(names[1], false, names[3])
  local reply = redis.pcall('SET', names[3], '')
  if refused(reply) and redis.call('DEL', names[3]) == 0 then
    return reply
  end
  reply = redis.pcall('SET', reign, id)
  if refused(reply) then
    return reply
  end
  return nil
end
";

const PUT: &str = r"
local function put(name, value, ttl)
  if ttl == '' then
    return redis.pcall('SET', name, value)
  end
  return redis.pcall('SET', name, value, 'PX', ttl)
end
";

/// A script and the hash by which the server knows it.
pub(super) struct Script {
    text: String,
    hash: String,
}

impl Script {
    /// A script of these functions and a body.
    pub(super) fn new(functions: &[&str], body: &str) -> Self {
        let text = [&functions.concat(), body].concat();
        let hash = Sha1::from(&text).digest().to_string();
        Self { text, hash }
    }

    /// The command that runs the script; `whole` sends its text, for a server that lacks it.
    pub(super) fn command(&self, names: &[&[u8]], arguments: &[Bytes], whole: bool) -> Cmd {
        let mut command = if whole { redis::cmd("EVAL") } else { redis::cmd("EVALSHA") };
        command.arg(if whole { &self.text } else { &self.hash }).arg(names.len());
        for name in names {
            command.arg(*name);
        }
        for argument in arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

/// Replaces a record. Keys: data, stamp, epoch, edition. Arguments: starts of stamp and epoch, record, TTL
/// in ms or empty, the server's time in ms after which nothing must happen, which record may be
/// replaced: any (empty), none (`-`), or that of a change (8 bytes), if it was not made stale before its
/// time where `f` follows, the epoch under which the record has its head. Under another one it is given
/// another head, which takes the server longer. Returns whether it happened (1;
/// 0 too late; 2 another record is there), the server's time, the new stamp, if there is one, and the epoch
/// where it is another one.
///
/// The time keeps a write whose caller gave up from landing later, over a newer one: it
/// may still lie in the buffer of a connection that was dropped, of a server that was stopped.
pub(super) static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[COUNTER, REFUSED, RAISE, TELL, HEAD, MARK, PUT],
        &write("", "redis.call('DEL', KEYS[4])"),
    )
});

/// The same where masters may change: the reign of the server begins first, unless it has begun.
/// Keys: data, stamp, epoch, reign, notice. Arguments: those, the reign.
pub(super) static WRITE_UNDER: LazyLock<Script> = LazyLock::new(|| {
    let functions = [COUNTER, REFUSED, RAISE, TELL, HEAD, MARK, PUT, REIGN];
    let body = write(
        r"
local begun = begin_reign(KEYS[4], ARGV[8], {KEYS[2], KEYS[3], KEYS[5]}, {ARGV[1], ARGV[2]})
if begun then
  return begun
end
",
        "",
    );
    Script::new(&functions, &body)
});

/// `before` all else; `after` an epoch was begun.
fn write(before: &str, after: &str) -> String {
    [
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[5]) then
  return {0, now, false}
end
",
        before,
        r"
local epoch = counter(KEYS[3])
if ARGV[6] ~= '' then
  local start = redis.pcall('GETRANGE', KEYS[1], 0, 55)
  local change = '-'
  if epoch and type(start) == 'string' then
    local mark = mark_of(string.sub(start, 1, 32), epoch)
    if mark then
      change = string.sub(start, 49, 56)
      if #ARGV[6] == 9 and (mark == '' or mark == 'touched') then
        change = change .. 'f'
      end
    end
  end
  if change ~= ARGV[6] then
    return {2, now, false}
  end
end
local reply, news = {}, nil
if not epoch then
  epoch = ARGV[2]
  reply = redis.pcall('SET', KEYS[3], epoch)
  ",
        after,
        r"
end
if not refused(reply) then
  local record = ARGV[3]
  if epoch ~= ARGV[7] then
    news = epoch
    record = marked_head(epoch, '') .. string.sub(record, 33)
  end
  reply = put(KEYS[1], record, ARGV[4])
end
if refused(reply) then
  redis.call('DEL', KEYS[1])
end
local stamp = raise(KEYS[2], ARGV[1])
tell(KEYS[2], stamp, KEYS[1])
if refused(reply) then
  return reply
end
return {1, now, stamp, news}
",
    ]
    .concat()
}

/// Removes a record. Keys: data, stamp. Argument: start of the stamp. Returns the new stamp, if there
/// is one.
pub(super) static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[REFUSED, RAISE, TELL, REMOVE_TOLD],
        r"
remove(KEYS[1])
local stamp = raise(KEYS[2], ARGV[1])
tell(KEYS[2], stamp, KEYS[1])
return stamp
",
    )
});

/// Makes a record stale before its time, or removes it where its flags say that it has no stale
/// part. Keys: data, stamp, epoch. Argument: start of the stamp. Returns the new stamp, if there is
/// one.
///
/// The record keeps its time to live: only its head is written. One that was touched to live for ever has
/// no stale part any more.
pub(super) static EXPIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[COUNTER, REFUSED, RAISE, TELL, HEAD, MARK, REMOVE_TOLD],
        r"
local epoch = counter(KEYS[3])
local is_stale = false
if epoch then
  local start = redis.pcall('GETRANGE', KEYS[1], 0, 38)
  if type(start) == 'string' and #start == 39 and string.sub(start, 33, 37) == '\137tL3\1'
      and math.floor(string.byte(start, 39) / 64) % 2 == 1
      and redis.call('PTTL', KEYS[1]) >= 0 then
    local now = mark_of(string.sub(start, 1, 32), epoch)
    if now == '' or now == 'touched' then
      local mark = now == '' and 'expired' or 'touched expired'
      is_stale = not refused(redis.pcall('SETRANGE', KEYS[1], 0, marked_head(epoch, mark)))
    else
      is_stale = now ~= nil
    end
  end
end
if not is_stale then
  remove(KEYS[1])
end
local stamp = raise(KEYS[2], ARGV[1])
tell(KEYS[2], stamp, KEYS[1])
return stamp
",
    )
});

/// Gives a record that is fresh another time to live. Keys: data, stamp, epoch. Arguments: start of
/// the stamp, for how many ms it is to be fresh or nothing for ever, the format of records that are
/// no values, the server's time in ms after which nothing must happen, the format of records whose
/// value is too large for the server. Returns 0 where there is none, 1 (3 for the last) and the new
/// stamp, if there is one, or 2 and the server's time where it is too late.
///
/// How long it is stale at its end is said beside the value, where no seal hides it, and stays. The
/// head says that its end is another one: what is left no longer tells the age of the record, and
/// whoever listens must not take it for what it was when it was made.
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[COUNTER, REFUSED, RAISE, TELL, HEAD, MARK],
        r"
local function number(start, at)
  local value = 0
  for byte = 7, 0, -1 do
    value = value * 256 + string.byte(start, at + byte)
  end
  return value
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[4]) then
  return {2, now}
end
local epoch = counter(KEYS[3])
local start = redis.pcall('GETRANGE', KEYS[1], 0, 99)
if not epoch or type(start) ~= 'string' or #start < 64
    or string.sub(start, 33, 37) ~= '\137tL3\1' then
  return {0}
end
local mark = mark_of(string.sub(start, 1, 32), epoch)
if mark ~= '' and mark ~= 'touched' or string.byte(start, 38) == tonumber(ARGV[3]) then
  return {0}
end
local flags = string.byte(start, 39)
local stale = 0
if math.floor(flags / 64) % 2 == 1 then
  local at = 61
  if flags % 16 > 0 then
    at = at + 4
  end
  if math.floor(flags / 16) % 2 == 1 then
    at = at + 28
  end
  if #start < at + 7 then
    return {0}
  end
  stale = number(start, at)
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left <= stale then
    return {0}
  end
end
local reply = redis.pcall('SETRANGE', KEYS[1], 0, marked_head(epoch, 'touched'))
if refused(reply) then
  return reply
end
if ARGV[2] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(tonumber(ARGV[2]) + stale, 2^52)))
end
local done = string.byte(start, 38) == tonumber(ARGV[5]) and 3 or 1
local stamp = raise(KEYS[2], ARGV[1])
tell(KEYS[2], stamp, KEYS[1])
return {done, stamp}
",
    )
});

/// Keeps a record unless its stripe changed. Keys: data, stamp, epoch. Arguments: stamp and epoch
/// of the token, record with the head of that epoch, TTL in ms or empty, the most bytes that a live record may have to be
/// adopted (0 replaces one that is known to be damaged), the number of the change that made the
/// record that may be replaced or nothing. One that was made stale before its time has another
/// head, so it is in nobody's way. Returns 0 refused, 1 stored, or 2 with the live record and its
/// TTL.
pub(super) static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[COUNTER, REFUSED, TELL, STORED, HEAD, MARK, PUT],
        r"
local epoch = counter(KEYS[3])
if counter(KEYS[2]) ~= ARGV[1] or epoch ~= ARGV[2] then
  return {0}
end
local live = stored(KEYS[1], ARGV[5])
local is_seen = #ARGV[6] == 8 and live and string.sub(live, 49, 56) == ARGV[6]
local mark = live and mark_of(string.sub(live, 1, 32), epoch)
if (mark == '' or mark == 'touched') and not is_seen then
  return {2, live, redis.call('PTTL', KEYS[1])}
end
local reply = put(KEYS[1], ARGV[3], ARGV[4])
if refused(reply) then
  return reply
end
tell(KEYS[2], '-', KEYS[1])
return {1}
",
    )
});

/// Reads a record with its token, and starts counters that are missing. Keys: data, stamp, epoch, and
/// the edition where there is one.
/// Arguments: starts of stamp and epoch, the most bytes that data may have. Returns data, TTL in
/// ms, stamp and epoch; data of another type or size is nil, as a counter that could not be started.
///
/// For where `read.rs` finds no counters. A server without memory refuses MULTI, but not this.
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[COUNTER, REFUSED, STORED, REVISE],
        r"
local function started(name, start)
  local value = counter(name)
  if not value and not refused(redis.pcall('SET', name, start)) then
    value = start
  end
  return value or false
end
local stamp = started(KEYS[2], ARGV[1])
local known = counter(KEYS[3])
local epoch = known or started(KEYS[3], ARGV[2])
if not known then
  revise(KEYS[4])
end
return {stored(KEYS[1], ARGV[3]), redis.call('PTTL', KEYS[1]), stamp, epoch}
",
    )
});

/// Raises an epoch and a stamp, and touches the notice that tells hosts which listen; the stamp
/// tells those that listen later. Keys: epoch, notice, stamp, and the edition where there is one.
/// Arguments: starts of epoch and stamp.
pub(super) static CLEAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[REFUSED, RAISE, TELL, REVISE],
        r"
raise(KEYS[1], ARGV[1])
revise(KEYS[4])
tell(KEYS[3], raise(KEYS[3], ARGV[2]), KEYS[2])
local reply = redis.pcall('SET', KEYS[2], '')
if refused(reply) and redis.call('DEL', KEYS[2]) == 0 then
  return reply
end
return 1
",
    )
});

/// Begins the reign of this server over a stripe, unless it has begun: stamp and epoch start anew,
/// and the notice is touched. Keys: reign, stamp, epoch, notice. Arguments: the reign, starts of
/// stamp and epoch.
pub(super) static BEGIN_REIGN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[REFUSED, TELL, REIGN],
        r"
local names, starts = {KEYS[2], KEYS[3], KEYS[4]}, {ARGV[2], ARGV[3]}
return begin_reign(KEYS[1], ARGV[1], names, starts) or 1
",
    )
});

/// Raises cells of the numbering of changes of tags, which begins where there is none, or where it is
/// of another reign (`tags.rs`). Key: the hash. Arguments: an era, the reign or nothing, then the
/// field of each cell. Returns the era and the numbers before and after, or 0 where the server has no
/// memory for it and no hash any more: that voids all records with tags.
pub(super) static RAISE_TAGS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[REFUSED, TELL],
        r"
local name = KEYS[1]
local found = redis.pcall('HMGET', name, 'era', 'n', 'reign')
local function plain(value)
  return type(value) == 'string' and #value <= 15 and string.match(value, '^[1-9]%d*$')
end
local era, number
if not refused(found) and plain(found[1]) and plain(found[2]) and found[3] == ARGV[2] then
  era, number = found[1], tonumber(found[2])
else
  redis.call('DEL', name)
  era, number = ARGV[1], 1
  if refused(redis.pcall('HSET', name, 'era', era, 'n', '1', 'reign', ARGV[2])) then
    tell(name, '-', name)
    return 0
  end
end
local before = number
for index = 3, #ARGV do
  number = number + 1
  local digits = string.format('%.0f', number)
  local reply = redis.pcall('HSET', name, 'n', digits, ARGV[index], digits,
    'l' .. string.format('%.0f', number % 128), digits .. ':' .. ARGV[index])
  if refused(reply) then
    redis.call('DEL', name)
    tell(name, '-', name)
    return 0
  end
end
tell(name, '-', name)
return {era, string.format('%.0f', before), string.format('%.0f', number)}
",
    )
});

/// Whose turn it is to load a key. Keys: lease, data. Arguments: what to do (`take`, `renew`,
/// `release`), the owner, for how many ms. Returns whether the lease is the owner's (was, when it is
/// released), and for `take` whether there is data.
///
/// A lease that its owner does not renew ends by itself. Nobody but its owner renews or releases it.
pub(super) static LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[],
        r"
local is_mine = redis.pcall('GET', KEYS[1]) == ARGV[2]
if ARGV[1] == 'take' then
  if is_mine then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  else
    local reply = redis.pcall('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3])
    if type(reply) == 'table' and reply.err then
      return reply
    end
    is_mine = reply and true or false
  end
elseif is_mine and ARGV[1] == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif is_mine then
  redis.call('DEL', KEYS[1])
end
return {is_mine and 1 or 0, redis.call('EXISTS', KEYS[2])}
",
    )
});

/// All scripts, to be loaded when a connection is made.
pub(super) fn load_all(has_reigns: bool) -> Vec<Cmd> {
    let (write, begin_reign) =
        if has_reigns { (&WRITE_UNDER, Some(&BEGIN_REIGN)) } else { (&WRITE, None) };
    [&READ, write, &REMOVE, &EXPIRE, &TOUCH, &FILL, &CLEAR, &LEASE, &RAISE_TAGS]
        .into_iter()
        .chain(begin_reign)
        .map(|script| {
            let mut command = redis::cmd("SCRIPT");
            command.arg("LOAD").arg(&script.text);
            command
        })
        .collect()
}
