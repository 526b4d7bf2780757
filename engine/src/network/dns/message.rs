//! PURE. Packets to questions, and answers to packets. What cannot be read is answered with a code or not at all.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Seconds that an answer about a container holds: it may be gone, or have another address, soon.
const TTL_S: u32 = 5;
/// The largest datagram that a client is sent, whatever it offers (RFC 9715).
const DATAGRAM_MAX: u16 = 1232;
/// Length of the fixed header.
const HEADER_LEN: usize = 12;

/// How the client is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A question that can be answered.
#[derive(Debug, Clone)]
pub(super) struct Question {
    message: Message,
    query: Query,
}

/// A packet that is none, and what is to be sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) Option<Vec<u8>>);

impl Question {
    /// Reads a packet.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Unreadable> {
        let header = packet.get(..HEADER_LEN).ok_or(Unreadable(None))?;
        // An answer is never answered: two resolvers would else talk for ever.
        if header[2] & 0x80 != 0 {
            return Err(Unreadable(None));
        }
        let id = u16::from_be_bytes([header[0], header[1]]);
        let refuse = |op, code| Unreadable(Message::error_msg(id, op, code).to_vec().ok());
        let message = Message::from_vec(packet).map_err(|_| refuse(OpCode::Query, ResponseCode::FormErr))?;
        if message.metadata.op_code != OpCode::Query {
            return Err(refuse(message.metadata.op_code, ResponseCode::NotImp));
        }
        let [query] = message.queries.as_slice() else { return Err(refuse(OpCode::Query, ResponseCode::FormErr)) };
        if query.query_class != DNSClass::IN {
            return Err(refuse(OpCode::Query, ResponseCode::Refused));
        }
        let query = query.clone();
        Ok(Self { message, query })
    }

    /// The name, with its final dot.
    pub(super) fn name(&self) -> String {
        self.query.name.to_ascii()
    }

    pub(super) fn kind(&self) -> RecordType {
        self.query.query_type
    }

    /// A single label.
    pub(super) fn is_single_label(&self) -> bool {
        self.query.name.num_labels() == 1
    }

    /// The address that is asked for a name.
    pub(super) fn pointer(&self) -> Option<IpAddr> {
        if self.kind() != RecordType::PTR {
            return None;
        }
        let net = self.query.name.parse_arpa_name().ok()?;
        let whole = net.prefix_len() == net.max_prefix_len();
        whole.then(|| net.addr())
    }

    /// What makes two questions one for a cache: name, type and the flags that change the answer.
    pub(super) fn key(&self) -> (String, u16, u8) {
        let dnssec = self.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let flags = u8::from(dnssec)
            | u8::from(self.message.metadata.checking_disabled) << 1
            | u8::from(self.message.metadata.recursion_desired) << 2
            | u8::from(self.message.edns.is_some()) << 3;
        (self.name().to_ascii_lowercase(), self.kind().into(), flags)
    }

    /// The addresses of the type that is asked for, none being an answer too.
    pub(super) fn answer(&self, addresses: &[IpAddr], transport: Transport) -> Vec<u8> {
        let wanted = |ip: &&IpAddr| match self.kind() {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        };
        let data = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => RData::A(A(*v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
        };
        self.reply(addresses.iter().filter(wanted).map(data).collect(), ResponseCode::NoError, transport)
    }

    /// A name for an address.
    pub(super) fn answer_name(&self, name: &str, transport: Transport) -> Vec<u8> {
        let Ok(mut name) = Name::from_ascii(name) else { return self.code(ResponseCode::NXDomain) };
        name.set_fqdn(true);
        self.reply(vec![RData::PTR(PTR(name))], ResponseCode::NoError, transport)
    }

    /// A code alone.
    pub(super) fn code(&self, code: ResponseCode) -> Vec<u8> {
        self.reply(Vec::new(), code, Transport::Tcp)
    }

    fn reply(&self, mut data: Vec<RData>, code: ResponseCode, transport: Transport) -> Vec<u8> {
        loop {
            let mut reply = self.response();
            reply.metadata.response_code = code;
            let record = |data: &RData| Record::from_rdata(self.query.name.clone(), TTL_S, data.clone());
            reply.add_answers(data.iter().map(record));
            let bytes = reply.to_vec().unwrap_or_default();
            // Of many addresses for one name a client is told as many as fit: any will do.
            if data.is_empty() || bytes.len() <= self.room(transport) {
                return bytes;
            }
            data.truncate(data.len() * 3 / 4);
        }
    }

    fn response(&self) -> Message {
        let mut reply = Message::response(self.message.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(self.query.clone());
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_MAX);
            reply.set_edns(edns);
        }
        reply
    }

    fn room(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => usize::from(self.message.max_payload().clamp(512, DATAGRAM_MAX)),
        }
    }

    /// The packet that another server is asked with.
    pub(super) fn packet(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = self.message.clone();
        message.metadata.id = id;
        message.to_vec().ok()
    }

    /// Another server's answer to [`Self::packet`], if it is one.
    pub(super) fn read_answer(&self, packet: &[u8], id: u16) -> Option<Message> {
        let answer = Message::from_vec(packet).ok()?;
        let is_answer = answer.metadata.message_type == MessageType::Response && answer.metadata.id == id;
        let [query] = answer.queries.as_slice() else { return None };
        let same = query.name == self.query.name && query.query_type == self.query.query_type;
        (is_answer && same).then_some(answer)
    }

    /// Another server's answer as this client is given it: its number, its spelling, and no more than it takes.
    pub(super) fn pass_on(&self, answer: &Message, transport: Transport) -> Vec<u8> {
        let mut reply = answer.clone();
        reply.metadata.id = self.message.metadata.id;
        reply.queries = vec![self.query.clone()];
        match reply.to_vec() {
            Ok(bytes) if bytes.len() <= self.room(transport) => bytes,
            Ok(_) => reply.truncate().to_vec().unwrap_or_default(),
            Err(_) => self.code(ResponseCode::ServFail),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, kind: RecordType) -> Question {
        let mut message = Message::query();
        message.metadata.id = 77;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        Question::read(&message.to_vec().unwrap()).unwrap()
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn an_answer_has_the_family_that_is_asked_for() {
        let known = ips(&["10.0.0.1", "fd00::1"]);
        for (kind, count) in [(RecordType::A, 1), (RecordType::AAAA, 1), (RecordType::ANY, 2), (RecordType::MX, 0)] {
            let reply = Message::from_vec(&question("web.", kind).answer(&known, Transport::Udp)).unwrap();
            assert_eq!((reply.metadata.id, reply.metadata.response_code), (77, ResponseCode::NoError));
            assert_eq!(reply.answers.len(), count, "{kind}");
        }
    }

    #[test]
    fn an_address_is_read_from_a_reverse_name() {
        let asked = |name: &str| question(name, RecordType::PTR).pointer().map(|ip| ip.to_string());
        assert_eq!(asked("3.2.0.10.in-addr.arpa.").as_deref(), Some("10.0.2.3"));
        let six = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
        assert_eq!(asked(six).as_deref(), Some("fd00::3"));
        assert_eq!(asked("2.0.10.in-addr.arpa."), None);
        assert_eq!(asked("web."), None);
    }

    #[test]
    fn many_addresses_are_cut_to_what_fits() {
        let many: Vec<IpAddr> = (0..200_u8).map(|n| [10, 0, 0, n].into()).collect();
        let asked = question("web.", RecordType::A);
        let udp = asked.answer(&many, Transport::Udp);
        assert!(udp.len() <= 512 && Message::from_vec(&udp).unwrap().answers.len() > 20);
        assert_eq!(Message::from_vec(&asked.answer(&many, Transport::Tcp)).unwrap().answers.len(), 200);
    }

    #[test]
    fn answers_and_strange_requests_are_not_taken_for_questions() {
        let answer = question("web.", RecordType::A).answer(&[], Transport::Udp);
        assert_eq!(Question::read(&answer).unwrap_err(), Unreadable(None));
        let mut update = Message::query();
        update.metadata.op_code = OpCode::Update;
        let refused = Question::read(&update.to_vec().unwrap()).unwrap_err().0.unwrap();
        assert_eq!(Message::from_vec(&refused).unwrap().metadata.response_code, ResponseCode::NotImp);
    }

    #[test]
    fn only_the_answer_to_what_was_asked_is_believed() {
        let asked = question("web.example.", RecordType::A);
        let reply = asked.answer(&ips(&["10.0.0.1"]), Transport::Udp);
        assert!(asked.read_answer(&reply, 77).is_some());
        assert!(asked.read_answer(&reply, 78).is_none());
        let other = question("evil.example.", RecordType::A);
        assert!(other.read_answer(&reply, 77).is_none());
    }

    proptest! {
        #[test]
        fn no_packet_does_harm(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(question) = Question::read(&packet) {
                let _ = (question.name(), question.pointer(), question.key());
                let _ = question.answer(&ips(&["10.0.0.1"]), Transport::Udp);
                let _ = question.read_answer(&packet, 1);
            }
        }
    }
}
