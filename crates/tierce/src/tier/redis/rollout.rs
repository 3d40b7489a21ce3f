//! The state of a rollout over all hosts: see [`tier::rollout`](crate::tier::RolloutAsk).
//!
//! ```text
//!   PREFIX:o:{01}        epoch    of the start; a later one is higher
//!                        number   how many lines the log had so far
//!                        id       drawn at random for each change
//!                        back     1 if it is taken back
//!                        parts    the share, in hundredths of a percent
//!                        plan     its text
//!   PREFIX:o:{01}:log    the last decisions, a line of JSON each
//!   PREFIX:o:{01}:lead   who leads, for as long as a lease
//! ```
//! The three lie in one slot, so each script is one step for all hosts. Nobody is told of their changes
//! by the stream: one process of a host asks a few times a second, by one call which also renews its
//! lease if it leads.
//!
//! A server without memory refuses a proposal, which changes nothing then. A state of another type is
//! none.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use redis::Value;

use super::{
    RedisTier,
    link::unexpected,
    names,
    scripts::{REFUSED, Script},
};
use crate::{
    error::Result,
    tier::{RolloutAsk, RolloutMark, RolloutNews, RolloutNext, RolloutState},
};

/// Where the hash lies: not with that of tags.
pub(super) const STRIPE: usize = 1;

/// How many lines the log keeps: some 300 KB.
const LOG_LINES: usize = 1000;

/// Who asks and does not want to lead.
const NOBODY: &str = "";

impl RedisTier {
    pub(super) fn ask_rollout(&self, ask: &RolloutAsk<'_>) -> Result<RolloutNews> {
        let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let millis = |span: Duration| Bytes::from(span.as_millis().to_string());
        let mark = |mark: RolloutMark| {
            [mark.epoch, mark.number, mark.id].map(|number| Bytes::from(number.to_string()))
        };
        let mut arguments = vec![Bytes::from(LOG_LINES.to_string())];
        let call = match ask {
            RolloutAsk::Look { known, lead } => {
                let (leader, span) = lead.unwrap_or((NOBODY, Duration::ZERO));
                arguments.extend([Bytes::from_static(b"look"), text(leader), millis(span)]);
                arguments.extend(mark(known.unwrap_or_default()));
                self.read_call()?
            }
            RolloutAsk::Propose { expected, leader, next } => {
                let leader = leader.unwrap_or(NOBODY);
                arguments.extend([
                    Bytes::from_static(b"propose"),
                    text(leader),
                    millis(Duration::ZERO),
                ]);
                arguments.extend(mark(*expected));
                arguments.extend(next_arguments(next));
                self.write_call()?
            }
            RolloutAsk::Join { next, quiet } => {
                arguments.extend([Bytes::from_static(b"join"), text(NOBODY), millis(*quiet)]);
                arguments.extend(mark(RolloutMark::default()));
                arguments.extend(next_arguments(next));
                self.write_call()?
            }
            RolloutAsk::Resign { leader } => {
                arguments.extend([
                    Bytes::from_static(b"resign"),
                    text(leader),
                    millis(Duration::ZERO),
                ]);
                arguments.extend(mark(RolloutMark::default()));
                self.write_call()?
            }
        };
        let [state, log, lead] = names::rollout(&self.common.settings.prefix, STRIPE);
        let names: [&[u8]; 3] = [&state, &log, &lead];
        news(call.run(STRIPE, &ROLLOUT, &names, &|_| Ok(arguments.clone()))?.0)
    }
}

fn next_arguments(next: &RolloutNext) -> Vec<Bytes> {
    let RolloutNext { state: RolloutState { mark, is_back, parts }, plan, lines } = next;
    let numbers = [mark.epoch, mark.number, mark.id, u64::from(*is_back), u64::from(*parts)];
    let numbers = numbers.map(|number| Bytes::from(number.to_string()));
    let plan = Bytes::from(plan.clone().unwrap_or_default());
    let lines = lines.iter().map(|line| Bytes::from(line.clone()));
    numbers.into_iter().chain([plan]).chain(lines).collect()
}

fn number<T: std::str::FromStr>(value: &Value) -> Result<T> {
    let text = match value {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok(),
        _ => None,
    };
    text.and_then(|text| text.parse().ok()).ok_or_else(unexpected)
}

fn text(value: &Value) -> Result<Option<String>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => {
            String::from_utf8(bytes.clone()).map(Some).map_err(|_| unexpected())
        }
        _ => Err(unexpected()),
    }
}

fn news(reply: Value) -> Result<RolloutNews> {
    let Value::Array(parts) = reply else { return Err(unexpected()) };
    let [done, leader, leads, state, plan, lines] = &parts[..] else { return Err(unexpected()) };
    let state = match state {
        Value::Nil => None,
        Value::Array(fields) => {
            let [epoch, count, id, back, share] = &fields[..] else { return Err(unexpected()) };
            let mark =
                RolloutMark { epoch: number(epoch)?, number: number(count)?, id: number(id)? };
            let (is_back, parts) = (number::<u8>(back)? == 1, number(share)?);
            Some(RolloutState { mark, is_back, parts })
        }
        _ => return Err(unexpected()),
    };
    let Value::Array(lines) = lines else { return Err(unexpected()) };
    let lines: Result<Vec<String>> =
        lines.iter().map(|line| text(line)?.ok_or_else(unexpected)).collect();
    let leads = match leads {
        Value::Int(millis) => u64::try_from(*millis).ok().filter(|millis| *millis > 0),
        _ => return Err(unexpected()),
    };
    Ok(RolloutNews {
        state,
        plan: text(plan)?.filter(|plan| !plan.is_empty()),
        lines: lines?,
        leader: text(leader)?.filter(|leader| !leader.is_empty()),
        leads: leads.map(Duration::from_millis),
        is_done: *done == Value::Int(1),
    })
}

/// Asks for the state of a rollout over all hosts, or changes it. Keys: state, log,
/// leader. Arguments: how many lines the log keeps; `look`, `propose`, `join` or `resign`; who asks, if
/// who leads; for how many ms to lead, or nobody is to; epoch, number and id of the state that is known
/// or expected; then of the next one epoch, number, id, whether it is back, its share, its plan and
/// its lines.
///
/// Returns whether it was done, who leads, for how many ms the one who asked leads, the state (epoch,
/// number, id, back, share), the plan where the epoch is another than the known one, and the lines
/// after those that are known.
static ROLLOUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        &[REFUSED],
        r"
local names = {state = KEYS[1], log = KEYS[2], lead = KEYS[3]}
local most, verb, asker, span = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local known = {epoch = ARGV[5], number = ARGV[6], id = ARGV[7]}
local next = {epoch = ARGV[8], number = ARGV[9], id = ARGV[10], back = ARGV[11], parts = ARGV[12],
  plan = ARGV[13]}
local first_line = 14
local function digits(value)
  return string.format('%.0f', value)
end
local function state()
  local found = redis.pcall('HMGET', names.state, 'epoch', 'number', 'id', 'back', 'parts')
  if refused(found) then
    redis.call('DEL', names.state)
    return nil
  end
  for index = 1, 5 do
    if not found[index] then
      return nil
    end
  end
  return {epoch = found[1], number = found[2], id = found[3], back = found[4], parts = found[5]}
end
local function log(from)
  local found = redis.pcall('LRANGE', names.log, from, -1)
  if refused(found) then
    redis.call('DEL', names.log)
    return {}
  end
  return found
end
local function add(lines)
  for index, line in ipairs(lines) do
    local reply = redis.pcall('RPUSH', names.log, line)
    if refused(reply) then
      redis.call('LTRIM', names.log, 0, -index)
      return reply
    end
  end
  return nil
end
local function given(is_new)
  local lines = {}
  for index = first_line, #ARGV do
    if is_new(ARGV[index]) then
      table.insert(lines, ARGV[index])
    end
  end
  return lines
end
local function any()
  return true
end
local function put(number, lines, back, parts)
  local reply = add(lines)
  if reply then
    return reply
  end
  local fields = {'epoch', next.epoch, 'number', digits(number), 'id', next.id, 'back', back,
    'parts', parts}
  if next.plan ~= '' then
    table.insert(fields, 'plan')
    table.insert(fields, next.plan)
  end
  reply = redis.pcall('HSET', names.state, unpack(fields))
  if refused(reply) then
    redis.call('LTRIM', names.log, 0, -1 - #lines)
    return reply
  end
  redis.call('LTRIM', names.log, -most, -1)
  return nil
end
local function replace()
  redis.call('DEL', names.log, names.state)
  local lines = given(any)
  local reply = put(math.max(tonumber(next.number), #lines), lines, next.back, next.parts)
  if not reply then
    redis.pcall('SET', names.lead, '', 'PX', span)
  end
  return reply
end

log(-1)
local now = state()
local done = 0
local reply
if verb == 'propose' then
  local seen = now or {epoch = '0', number = '0', id = '0'}
  local leads = asker == '' or redis.pcall('GET', names.lead) == asker
  if leads and seen.epoch == known.epoch and seen.number == known.number and seen.id == known.id then
    local lines = given(any)
    reply = put(tonumber(seen.number) + #lines, lines, next.back, next.parts)
    done = 1
  end
elseif verb == 'join' then
  local mine, theirs = tonumber(next.epoch), now and tonumber(now.epoch) or 0
  if not now or mine > theirs then
    reply = replace()
    done = 1
  elseif mine == theirs and next.back == '1' then
    local is_stronger = now.back ~= '1' or tonumber(next.parts) < tonumber(now.parts)
    local have = {}
    for _, line in ipairs(log(0)) do
      have[line] = true
    end
    local lines = given(function(line) return not have[line] end)
    if is_stronger or #lines > 0 then
      local parts = is_stronger and next.parts or now.parts
      reply = put(tonumber(now.number) + #lines, lines, '1', parts)
    end
    done = 1
  elseif mine == theirs and now.back ~= '1' then
    if tonumber(next.number) > tonumber(now.number) then
      reply = replace()
    end
    done = 1
  end
end
if reply then
  return reply
end
now = state()
local leader = redis.pcall('GET', names.lead)
if type(leader) ~= 'string' then
  leader = false
end
local leads = 0
if verb == 'resign' and leader == asker then
  redis.call('DEL', names.lead)
  leader = false
elseif verb == 'look' and asker ~= '' and now then
  if leader == asker then
    if redis.call('PTTL', names.lead) * 3 < tonumber(span) * 2 then
      redis.pcall('PEXPIRE', names.lead, span)
    end
  elseif not leader then
    local taken = redis.pcall('SET', names.lead, asker, 'NX', 'PX', span)
    if taken and not refused(taken) then
      leader = asker
    end
  end
end
if asker ~= '' and leader == asker then
  leads = redis.call('PTTL', names.lead)
end
if not now then
  return {done, leader, leads, false, false, {}}
end
local plan, lines = false, {}
if now.epoch ~= known.epoch then
  plan = redis.call('HGET', names.state, 'plan')
end
if now.id ~= known.id then
  local missing = tonumber(now.number) - tonumber(known.number)
  lines = log((missing > 0 and now.epoch == known.epoch) and -missing or 0)
end
return {done, leader, leads, {now.epoch, now.number, now.id, now.back, now.parts}, plan, lines}
",
    )
});
