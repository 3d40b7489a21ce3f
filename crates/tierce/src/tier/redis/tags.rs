//! The numbering of changes of tags that all hosts share, in one hash of the server.
//!
//! ```text
//!   PREFIX:t:{00}   era     drawn at random when the hash is made anew
//!                   n       the number of the last change, from 1 on
//!                   reign   the run id of the server, where masters may change (`reign.rs`)
//!                   r<cell> n at the last removal of a tag of this cell
//!                   e<cell> n at the last change that made such a tag's records stale
//!                   l<n mod 128>   the last changes, "n:r<cell>", for those who listen
//! ```
//! **Who judges.** A record with tags bears the era and the number that were known before its value
//! was looked for. Whoever reads it asks for the cells of its tags *after* it has the record, by one
//! more round trip (one for all records of a read of many): any change that returned before the read
//! began is seen, by whichever host it was made, whether this one listens to the stream or not. In a
//! cluster that is the master of the hash's slot, whichever has the record. A script that fills need
//! not compare. What is void is in no fill's way: the fill names it as the record that it saw.
//!
//! **A hash that is lost**, by a flush or an eviction, took cells with it. The next one has another
//! era, so all records of before are void, and hosts that listen void their copies with tags. It is
//! made by whoever needs it first: who subscribes, writes a record with tags or is about to load one.
//! A server without memory for a raise has its hash removed: that is more than was asked for.
//!
//! **Another master** may lack changes that were confirmed. The hash says under which reign it was
//! begun; under another it is as good as lost.
//!
//! **A raise that lands late** (its caller gave up) voids more than it need. A record that is written
//! late bears a number from before and is judged by it. So what failed may be sent again at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Value;

use super::{
    RedisTier,
    call::{Call, Under},
    link::{Link, unexpected},
    names,
    read::{pack, random_start},
    request::Work,
    scripts,
};
use crate::{
    error::Result,
    tag_cells::{CELLS_BELOW, CellChange, KnownBelow, TagChange, Tags, Verdict},
    tier::{Record, TagsRaised, TagsTold},
};

/// Where the hash lies.
pub(super) const STRIPE: usize = 0;

/// How many of the last changes the hash tells of. One that listens reads all of them at once; who
/// missed more asks for the whole hash.
pub(super) const RECENT: u64 = 128;

/// How many changes one script makes: a tenth of a millisecond of the server's time.
const RAISES_AT_ONCE: usize = 100;

/// What the hash says of itself.
const HEAD: [&[u8]; 3] = [b"era", b"n", b"reign"];

/// The field of a cell, and of a change in the list of the last ones.
fn field(raised: CellChange) -> String {
    let letter = match raised.change {
        TagChange::Remove => 'r',
        TagChange::Expire => 'e',
    };
    format!("{letter}{}", raised.cell)
}

fn parse_field(field: &[u8]) -> Option<CellChange> {
    let (letter, digits) = field.split_first()?;
    let change = match letter {
        b'r' => TagChange::Remove,
        b'e' => TagChange::Expire,
        _ => return None,
    };
    let cell = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (cell < CELLS_BELOW).then_some(CellChange { cell, change })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(digits) => names::parse_counter(digits),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The numbering of a head, if it is there and of this reign.
fn known_by(head: &[Value], reign: Option<&[u8]>) -> Option<KnownBelow> {
    let [era, raises, name] = head else { return None };
    let is_own = match (reign, name) {
        (None, _) => true,
        (Some(reign), Value::BulkString(name)) => name == reign,
        _ => false,
    };
    let known = KnownBelow { era: number(era)?, raises: number(raises)? };
    is_own.then_some(known)
}

/// The command that asks for the head and these fields.
fn question(prefix: &str, fields: &[Vec<u8>]) -> Work {
    let name = names::tags(prefix);
    let mut words: Vec<&[u8]> = vec![b"HMGET", &name];
    words.extend(HEAD);
    words.extend(fields.iter().map(|field| &field[..]));
    let mut bytes = Vec::new();
    pack(&mut bytes, &words);
    Work::Packed(bytes, 1)
}

/// What a raise, or the begin of a numbering, is given.
fn arguments(reign: &[u8], raised: &[CellChange]) -> Vec<Bytes> {
    let mut arguments = vec![random_start(), Bytes::copy_from_slice(reign)];
    arguments.extend(raised.iter().map(|raised| Bytes::from(field(*raised))));
    arguments
}

/// The numbers before and after a raise; `None` where the server has no memory for the hash.
fn raised_of(reply: &Value) -> Option<TagsRaised> {
    let Value::Array(parts) = reply else { return None };
    let [era, before, after] = &parts[..] else { return None };
    let before = KnownBelow { era: number(era)?, raises: number(before)? };
    Some(TagsRaised { before, after: number(after)? })
}

impl RedisTier {
    /// The head of the hash and these fields of it.
    fn ask_hash(
        &self,
        call: &Call<'_>,
        fields: &[Vec<u8>],
    ) -> Result<(Option<KnownBelow>, Vec<Value>)> {
        let prefix = &self.common.settings.prefix;
        let answer = call.answer(STRIPE, &|_| Ok(question(prefix, fields)))?;
        let reply = answer.replies.one().ok_or_else(unexpected)?;
        let reply = super::reply::value(reply).map_err(|_| unexpected())?;
        let mut parts = match reply {
            Value::Array(parts) if parts.len() == HEAD.len() + fields.len() => parts,
            // Of another type: the next raise begins it anew.
            Value::ServerError(reply) if reply.code() == "WRONGTYPE" => return Ok((None, vec![])),
            Value::ServerError(reply) => return Err(answer.link.refused(&reply)),
            _ => return Err(unexpected()),
        };
        let cells = parts.split_off(HEAD.len());
        let known = match &answer.under {
            Under::Nobody => known_by(&parts, None),
            Under::Reign(reign) => known_by(&parts, Some(reign.name())),
            Under::Unknown => None,
        };
        Ok((known, cells))
    }

    /// Up to which change the numbering is, and what has become of records with these tags.
    pub(super) fn verdicts(
        &self,
        call: &Call<'_>,
        all: &[&Tags],
    ) -> Result<(Option<KnownBelow>, Vec<Verdict>)> {
        let mut places = BTreeMap::new();
        let mut fields = Vec::new();
        let changes = [TagChange::Remove, TagChange::Expire];
        for hash in all.iter().flat_map(|tags| &tags.hashes) {
            let cell = *hash as usize % CELLS_BELOW;
            places.entry(cell).or_insert_with(|| {
                let of_cell = changes.map(|change| field(CellChange { cell, change }));
                fields.extend(of_cell.map(String::into_bytes));
                fields.len() - changes.len()
            });
        }
        let (known, cells) = self.ask_hash(call, &fields)?;
        let verdict = |tags: &&Tags| {
            let Some(raises) = tags.below.filter(|below| {
                known.is_some_and(|known| known.era == below.era && below.raises <= known.raises)
            }) else {
                return Verdict::Removed;
            };
            let is_raised = |change: usize| {
                tags.hashes.iter().any(|hash| {
                    let place = places.get(&(*hash as usize % CELLS_BELOW));
                    let cell = place.and_then(|place| cells.get(place + change));
                    match cell {
                        Some(Value::Nil) => false,
                        Some(cell) => number(cell).is_none_or(|number| number > raises.raises),
                        None => true,
                    }
                })
            };
            if is_raised(0) {
                Verdict::Removed
            } else if is_raised(1) {
                Verdict::Expired
            } else {
                Verdict::Current
            }
        };
        Ok((known, all.iter().map(verdict).collect()))
    }

    /// Removes from what was read what its tags void, and makes stale what they made so. Returns up to
    /// which change the numbering is, where it was asked.
    pub(super) fn judge_records<'r>(
        &self,
        call: &Call<'_>,
        records: impl Iterator<Item = &'r mut Option<Record>>,
    ) -> Result<Option<KnownBelow>> {
        let tagged: Vec<_> = records
            .filter_map(|slot| tags_of(slot.as_ref()?).cloned().map(|tags| (slot, tags)))
            .collect();
        if tagged.is_empty() {
            return Ok(None);
        }
        let all: Vec<&Tags> = tagged.iter().map(|(_, tags)| tags).collect();
        let (known, verdicts) = self.verdicts(call, &all)?;
        for ((slot, _), verdict) in tagged.into_iter().zip(verdicts) {
            *slot = slot.take().and_then(|record| judged(record, verdict));
        }
        Ok(known)
    }

    /// Up to which change the numbering is, which begins where there is none.
    pub(super) fn numbering(&self, call: &Call<'_>) -> Result<KnownBelow> {
        match self.ask_hash(call, &[])?.0 {
            Some(known) => Ok(known),
            None => Ok(self.raise(call, &[])?.ok_or_else(unexpected)?.before),
        }
    }

    /// Raises cells, of a numbering that begins where there is none; `None` where the server has no
    /// memory for it: then all records with tags are void.
    fn raise(&self, call: &Call<'_>, raised: &[CellChange]) -> Result<Option<TagsRaised>> {
        let name = names::tags(&self.common.settings.prefix);
        let arguments = |link: &Link| {
            if !link.may_change() {
                return Ok(arguments(&[], raised));
            }
            // Connects, where it is not: then the reign is known.
            call.server_deadline(link)?;
            let (_, reign) = link.reign();
            let reign = reign.ok_or_else(super::keeper::replaced)?;
            Ok(arguments(reign.name(), raised))
        };
        let (reply, _) = call.run(STRIPE, &scripts::RAISE_TAGS, &[&name], &arguments)?;
        Ok(raised_of(&reply))
    }

    /// See [`RemoteTier::raise_tags`](crate::tier::RemoteTier::raise_tags).
    pub(super) fn raise_cells(&self, raised: &[CellChange]) -> Result<TagsRaised> {
        let call = self.write_call()?;
        let mut all: Option<TagsRaised> = None;
        for part in raised.chunks(RAISES_AT_ONCE) {
            let now = self.raise(&call, part)?;
            // Where others come between, the host hears of all by the stream.
            all = match (all, now) {
                (Some(all), Some(now))
                    if all.before.era == now.before.era && all.after == now.before.raises =>
                {
                    Some(TagsRaised { after: now.after, ..all })
                }
                (_, now) => now,
            };
        }
        let nothing = TagsRaised { before: KnownBelow { era: 0, raises: 0 }, after: 0 };
        Ok(all.unwrap_or(nothing))
    }
}

/// The tags of a record, if it has some.
pub(super) fn tags_of(record: &Record) -> Option<&Tags> {
    record.extras.as_deref()?.tags.as_ref()
}

/// What is left of a record of which the tags say this.
fn judged(record: Record, verdict: Verdict) -> Option<Record> {
    match verdict {
        Verdict::Current => Some(record),
        Verdict::Removed => None,
        Verdict::Expired => {
            let ttl = record.ttl.filter(|_| !record.stale.is_zero())?;
            Some(Record { stale: ttl, ..record })
        }
    }
}

/// The commands by which one that listens asks what became of tags: the head and the last changes.
pub(super) fn news(prefix: &str) -> redis::Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(names::tags(prefix));
    HEAD.iter().for_each(|field| {
        command.arg(*field);
    });
    (0..RECENT).for_each(|place| {
        command.arg(format!("l{place}"));
    });
    command
}

/// Has the server begin a numbering where there is none.
pub(super) fn begin(prefix: &str, reign: Option<&[u8]>) -> redis::Cmd {
    let name = names::tags(prefix);
    scripts::RAISE_TAGS.command(&[&name], &arguments(reign.unwrap_or_default(), &[]), true)
}

/// What the answer to [`news`] tells one that knew of all until `before`. Where it missed more than
/// is told, the second value is true: then the whole hash is to be asked for.
pub(super) fn told(
    reply: &Value,
    reign: Option<&[u8]>,
    before: Option<KnownBelow>,
) -> (TagsTold, bool) {
    let lost = (TagsTold::default(), false);
    let Value::Array(parts) = reply else { return lost };
    let Some((head, recent)) = parts.split_at_checked(HEAD.len()) else { return lost };
    let Some(known) = known_by(head, reign) else { return lost };
    let any = TagsTold { known: Some(known), raised: None };
    let Some(before) = before.filter(|it| it.era == known.era && it.raises <= known.raises) else {
        return (any, false);
    };
    let one = |at: u64| {
        let Some(Value::BulkString(text)) = recent.get((at % RECENT) as usize) else { return None };
        let colon = text.iter().position(|byte| *byte == b':')?;
        let (digits, field) = (&text[..colon], &text[colon + 1..]);
        (names::parse_counter(digits)? == at).then(|| parse_field(field))?
    };
    if known.raises - before.raises > RECENT {
        return (any, true);
    }
    match (before.raises + 1..=known.raises).map(one).collect() {
        Some(raised) => (TagsTold { known: Some(known), raised: Some(raised) }, false),
        None => (any, true),
    }
}

/// What the whole hash tells one that knew of all until `before`.
pub(super) fn told_by_all(
    reply: &Value,
    reign: Option<&[u8]>,
    before: Option<KnownBelow>,
) -> TagsTold {
    let mut fields = BTreeMap::new();
    match reply {
        Value::Array(parts) => {
            for pair in parts.chunks_exact(2) {
                if let Value::BulkString(field) = &pair[0] {
                    fields.insert(field.clone(), pair[1].clone());
                }
            }
        }
        Value::Map(parts) => {
            for (field, value) in parts {
                if let Value::BulkString(field) = field {
                    fields.insert(field.clone(), value.clone());
                }
            }
        }
        _ => {}
    }
    let head = HEAD.map(|field| fields.get(field).cloned().unwrap_or(Value::Nil));
    let Some(known) = known_by(&head, reign) else { return TagsTold::default() };
    let Some(before) = before.filter(|it| it.era == known.era && it.raises <= known.raises) else {
        return TagsTold { known: Some(known), raised: None };
    };
    let since = |(field, value): (&Vec<u8>, &Value)| {
        let raised = parse_field(field)?;
        number(value).is_none_or(|number| number > before.raises).then_some(raised)
    };
    TagsTold { known: Some(known), raised: Some(fields.iter().filter_map(since).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    /// A hash of era 7 after changes of these fields.
    fn hash(changes: &[&str]) -> (Value, Value) {
        let n = 1 + changes.len() as u64;
        let mut news = vec![text("7"), text(&n.to_string()), text("me")];
        news.extend((0..RECENT).map(|_| Value::Nil));
        let mut all = vec![text("era"), text("7"), text("n"), text(&n.to_string())];
        all.extend([text("reign"), text("me")]);
        let mut cells = BTreeMap::new();
        for (number, field) in (2..).zip(changes) {
            news[HEAD.len() + (number % RECENT) as usize] = text(&format!("{number}:{field}"));
            cells.insert(*field, number);
        }
        for (field, number) in cells {
            all.extend([text(field), text(&number.to_string())]);
        }
        (Value::Array(news), Value::Array(all))
    }

    fn cells(told: &TagsTold) -> Option<Vec<String>> {
        told.raised.as_ref().map(|raised| raised.iter().map(|it| field(*it)).collect())
    }

    #[test]
    fn one_that_listens_hears_of_each_change_since_or_that_it_missed_some() {
        let (news, all) = hash(&["r1", "e2", "r4095"]);
        let at = |raises| Some(KnownBelow { era: 7, raises });
        let (now, is_gap) = told(&news, None, at(2));
        assert_eq!((now.known, is_gap), (at(4), false));
        assert_eq!(cells(&now).unwrap(), ["e2", "r4095"]);
        assert_eq!(cells(&told(&news, None, at(4)).0).unwrap(), [""; 0]);
        assert_eq!(cells(&told_by_all(&all, None, at(1))).unwrap(), ["e2", "r1", "r4095"]);
        assert_eq!(cells(&told_by_all(&all, None, at(3))).unwrap(), ["r4095"]);

        let many: Vec<String> = (0..RECENT + 1).map(|number| format!("r{number}")).collect();
        let (news, all) = hash(&many.iter().map(|field| &field[..]).collect::<Vec<_>>());
        let (now, is_gap) = told(&news, None, at(1));
        assert_eq!((cells(&now), is_gap), (None, true));
        assert_eq!(cells(&told(&news, None, at(2)).0).unwrap().len(), RECENT as usize);
        assert_eq!(cells(&told_by_all(&all, None, at(1))).unwrap().len(), RECENT as usize + 1);
    }

    #[test]
    fn of_another_era_or_reign_any_tag_may_have_been_changed() {
        let (news, all) = hash(&["r1"]);
        let now = Some(KnownBelow { era: 7, raises: 2 });
        for before in
            [None, Some(KnownBelow { era: 8, raises: 1 }), Some(KnownBelow { era: 7, raises: 3 })]
        {
            assert_eq!(told(&news, None, before), (TagsTold { known: now, raised: None }, false));
            assert_eq!(told_by_all(&all, None, before), TagsTold { known: now, raised: None });
        }
        assert_eq!(told(&news, Some(b"me"), now).0.known, now);
        for lost in [told(&news, Some(b"you"), now).0, told(&Value::Nil, None, now).0] {
            assert_eq!(lost, TagsTold::default());
        }
        assert_eq!(told_by_all(&all, Some(b"you"), now), TagsTold::default());
    }

    #[test]
    fn fields_are_those_of_cells_alone() {
        for wrong in [&b""[..], b"r", b"n", b"r4096", b"x1", b"r-1", b"e\xff"] {
            assert_eq!(parse_field(wrong), None, "{}", wrong.escape_ascii());
        }
        for change in [TagChange::Remove, TagChange::Expire] {
            let raised = CellChange { cell: 4095, change };
            assert_eq!(parse_field(field(raised).as_bytes()), Some(raised));
        }
    }
}
