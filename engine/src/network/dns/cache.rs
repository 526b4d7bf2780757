//! PURE. Answers of other servers, for as long as they hold, and at most so many.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;

/// Longest time that an answer is kept, whatever it says.
const KEPT_MAX: Duration = Duration::from_secs(300);
/// Answers of more records are not kept.
const RECORDS_MAX: usize = 64;

/// Who was asked, and what: name, type, flags.
pub(super) type Key = (Vec<SocketAddr>, (String, u16, u8));

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
    len_max: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Message,
    since: Instant,
    until: Instant,
}

impl Cache {
    pub(super) fn new(len_max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), len_max }
    }

    /// An answer that still holds, its times counted down.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let entry = self.entries.get(key).filter(|entry| now < entry.until)?;
        let age = u32::try_from(now.saturating_duration_since(entry.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = entry.answer.clone();
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.decrement_ttl(age);
        }
        Some(answer)
    }

    /// Keeps an answer, if it may be kept.
    pub(super) fn put(&mut self, key: Key, answer: &Message, now: Instant) {
        let Some(holds) = lifetime(answer) else { return };
        let entry = Entry { answer: answer.clone(), since: now, until: now + holds.min(KEPT_MAX) };
        if self.entries.insert(key.clone(), entry).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > self.len_max {
            // The oldest goes: it is the likeliest to have run out.
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// How long an answer holds: the shortest of its times; for "there is none" what the zone says (RFC 2308).
fn lifetime(answer: &Message) -> Option<Duration> {
    let code = answer.metadata.response_code;
    let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
    if answer.metadata.truncation
        || records > RECORDS_MAX
        || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
    {
        return None;
    }
    let seconds = if answer.answers.is_empty() || code == ResponseCode::NXDomain {
        let soa = answer.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        soa?
    } else {
        answer.answers.iter().map(|record| record.ttl).min()?
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, Record, RecordType};

    use super::*;

    fn key(name: &str) -> Key {
        (Vec::new(), (name.to_owned(), 1, 0))
    }

    fn answer(ttl: Option<u32>) -> Message {
        let name = Name::from_ascii("web.example.").unwrap();
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name.clone(), RecordType::A));
        if let Some(ttl) = ttl {
            message.add_answer(Record::from_rdata(name, ttl, RData::A(A([10, 0, 0, 1].into()))));
        }
        message
    }

    #[test]
    fn an_answer_holds_for_its_time_and_counts_down() {
        let (mut cache, now) = (Cache::new(8), Instant::now());
        cache.put(key("web"), &answer(Some(60)), now);
        let later = cache.get(&key("web"), now + Duration::from_secs(20)).unwrap();
        assert_eq!(later.answers[0].ttl, 40);
        assert!(cache.get(&key("web"), now + Duration::from_secs(60)).is_none());
        cache.put(key("long"), &answer(Some(1_000_000)), now);
        assert!(cache.get(&key("long"), now + KEPT_MAX).is_none());
    }

    #[test]
    fn what_says_no_time_is_not_kept() {
        let (mut cache, now) = (Cache::new(8), Instant::now());
        let mut failed = answer(Some(60));
        failed.metadata.response_code = ResponseCode::ServFail;
        let mut cut = answer(Some(60));
        cut.metadata.truncation = true;
        for message in [answer(Some(0)), answer(None), failed, cut] {
            cache.put(key("x"), &message, now);
            assert!(cache.get(&key("x"), now).is_none());
        }
        let mut negative = answer(None);
        negative.metadata.response_code = ResponseCode::NXDomain;
        let zone = Name::from_ascii("example.").unwrap();
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 30);
        negative.add_authority(Record::from_rdata(zone, 600, RData::SOA(soa)));
        cache.put(key("none"), &negative, now);
        assert!(cache.get(&key("none"), now + Duration::from_secs(29)).is_some());
        assert!(cache.get(&key("none"), now + Duration::from_secs(30)).is_none());
    }

    #[test]
    fn the_oldest_goes_first() {
        let (mut cache, now) = (Cache::new(2), Instant::now());
        for name in ["a", "b", "b", "c"] {
            cache.put(key(name), &answer(Some(60)), now);
        }
        let kept = ["a", "b", "c"].map(|name| cache.get(&key(name), now).is_some());
        assert_eq!(kept, [false, true, true]);
    }
}
