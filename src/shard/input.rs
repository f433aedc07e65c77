//! From bytes to requests: four-letter words, the handshake, frames, and where each request goes.

use super::conn::{Conn, Phase, Waiting};
use super::{Effects, Shard, large, mark_dirty};
use crate::admin::{self, Word};
use crate::base::{ConnId, ErrorCode, Instant, Now, SessionId, Xid, Zxid, limits};
use crate::codec::frame;
use crate::codec::opcode::OpCode;
use crate::codec::reply::{self, ConnectResponse};
use crate::codec::request::{ConnectRequest, Request, RequestHeader, fails_in_order};
use crate::codec::{Malformed, Reader};
use crate::mail::metrics::{Advanced, Basic, Counter};
use crate::mail::{Connect, Service, Submit, ToReplica};
use crate::session;
use crate::tree::auth;

/// What bodies of requests are cut from is allocated in pieces of this size.
const ARENA_BYTES: usize = 64 * 1024;

impl Shard {
    /// Serves what can be served of `bytes` in one pass; returns how many were used.
    pub(super) fn consume(&mut self, conn: ConnId, bytes: &[u8], now: Now, out: &mut Effects) -> usize {
        let mut at = 0;
        let held = self.conns.get(conn).and_then(|c| c.held);
        let is_late = self.is_late(held, now.mono);
        while let Some(c) = self.conns.get_mut(conn) {
            let rest = &bytes[at..];
            let phase = c.phase;
            if rest.is_empty() || !self.may_take(self.conns.get(conn).expect("looked up above")) {
                return at;
            }
            if phase == Phase::Greeting
                && let Some(used) = self.maybe_word(conn, rest, now, out)
            {
                return at + used;
            }
            let (payload, used) = match frame::cut(rest, self.settings.frame_bytes_max) {
                Ok(Some(cut)) => cut,
                Ok(None) => {
                    self.judge_length(conn, phase, rest, now, out);
                    return at;
                }
                Err(Malformed(reason)) => {
                    self.fault(conn, reason, false, now, out);
                    return at;
                }
            };
            if phase == Phase::Live {
                if self.exceeds_large_requests(payload.len()) {
                    self.metrics.count(Counter::LargeRequestsRejected);
                    self.fault(conn, "too many bytes of large requests in flight", false, now, out);
                    return at;
                }
                if self.is_full_for(payload) {
                    self.stall(conn, held.unwrap_or(now.mono), out);
                    return at;
                }
            }
            at += used;
            self.stats.received += 1;
            let Some(c) = self.conns.get_mut(conn) else { return at };
            c.held = None;
            c.stats.received += 1;
            match phase {
                Phase::Greeting => self.on_handshake(conn, payload, now, out),
                _ => self.on_request(conn, payload, is_late, now, out),
            }
        }
        at
    }

    /// Answers a four-letter word; `None` if the bytes are none, `Some(0)` if more are needed to know.
    fn maybe_word(&mut self, conn: ConnId, rest: &[u8], now: Now, out: &mut Effects) -> Option<usize> {
        let head = rest.first_chunk::<4>()?;
        let word = Word::from_bytes(*head)?;
        let is_allowed = self.settings.words.allows(word);
        if word == Word::TelnetClose && is_allowed {
            return None;
        }
        let argument = rest[4..].first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
        if word == Word::Stmk && is_allowed && argument.is_none() {
            return Some(0);
        }
        self.stats.received += 1;
        let origin = self.origin(conn);
        let c = self.conns.get_mut(conn)?;
        c.stats.received += 1;
        c.active = now.mono;
        if is_allowed && word != Word::Ruok {
            c.phase = Phase::Asking(word);
            let kind = word.survey(argument.unwrap_or(0));
            out.mail.push(ToReplica::Survey { origin, kind });
        } else {
            let text = if is_allowed { "imok".to_owned() } else { admin::not_whitelisted(word) };
            c.output.extend_from_slice(text.as_bytes());
            mark_dirty(c, out);
            self.close(conn, false, out);
        }
        Some(rest.len())
    }

    /// A request whose length alone says that it will not be served need not be waited for (parity W-07).
    fn judge_length(&mut self, conn: ConnId, phase: Phase, rest: &[u8], now: Now, out: &mut Effects) {
        let Some(word) = rest.first_chunk::<4>() else { return };
        if phase == Phase::Live && self.exceeds_large_requests(u32::from_be_bytes(*word) as usize) {
            self.metrics.count(Counter::LargeRequestsRejected);
            self.fault(conn, "too many bytes of large requests in flight", false, now, out);
        }
    }

    fn exceeds_large_requests(&self, bytes: usize) -> bool {
        let counted = large(&self.settings, bytes);
        counted > 0 && self.large_bytes + counted > self.large_bytes_share
    }

    /// Whether this request must wait for room in the whole shard: any request when the throttle is on
    /// (parity RT-50), otherwise only one that would travel to the replica.
    fn is_full_for(&self, payload: &[u8]) -> bool {
        if self.settings.request_throttle_max > 0 && self.outstanding >= self.throttle_share {
            return true;
        }
        self.outstanding >= limits::MAILBOX_MESSAGES
            && RequestHeader::decode(&mut Reader::new(payload))
                .is_ok_and(|header| OpCode::from_i32(header.op).is_some_and(OpCode::goes_to_replica))
    }

    fn stall(&mut self, conn: ConnId, since: Instant, _out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.is_stalled = true;
        c.held = Some(since);
        self.stalled.push_back(conn);
        self.metrics.count(Counter::RequestThrottleWaitCount);
    }

    /// There may be room again: those held back go on in the order they came.
    pub(super) fn release_stalled(&mut self, now: Now, out: &mut Effects) {
        let room = if self.settings.request_throttle_max > 0 { self.throttle_share } else { limits::MAILBOX_MESSAGES };
        for _ in 0..self.stalled.len() {
            if self.outstanding >= room {
                return;
            }
            let Some(conn) = self.stalled.pop_front() else { return };
            if let Some(c) = self.conns.get_mut(conn) {
                c.is_stalled = false;
                let waited_ms = c.held.map_or(0, |since| now.mono.millis_since(since));
                self.metrics.sample(Advanced::RequestThrottleQueueTimeMs, waited_ms);
                self.resume_input(conn, now, out);
            }
        }
    }

    fn is_late(&self, held: Option<Instant>, now: Instant) -> bool {
        let limit_ms = self.settings.throttled_op_wait_ms;
        limit_ms > 0 && held.is_some_and(|since| now.millis_since(since) > limit_ms)
    }

    /// The first frame. A password is checked before anything else learns of the claim (parity UB-09).
    fn on_handshake(&mut self, conn: ConnId, payload: &[u8], now: Now, out: &mut Effects) {
        let Ok(request) = ConnectRequest::decode(payload) else {
            self.metrics.count(Counter::UnsuccessfulHandshake);
            return self.fault(conn, "not a handshake", false, now, out);
        };
        if self.service == Service::Nobody {
            return self.fault(conn, "no leader to serve clients with", false, now, out);
        }
        let renews = request.session != SessionId::NONE;
        let (is_admitted, deficit) = self.bucket.admit(renews, now.mono);
        self.metrics.add(Basic::ConnectionTokenDeficit, deficit);
        if !is_admitted {
            self.metrics.count(Counter::ConnectionRejected);
            return self.fault(conn, "connection throttle", false, now, out);
        }
        self.metrics.count(Counter::ConnectionRequestCount);
        if self.service == Service::ReadOnly && request.read_only != Some(true) {
            return self.fault(conn, "not a read-only client, and no leader to serve others with", false, now, out);
        }
        let origin = self.origin(conn);
        let Some(c) = self.conns.get_mut(conn) else { return };
        let old_client = request.read_only.is_none();
        if renews {
            self.metrics.count(Counter::ConnectionRevalidateCount);
            if !session::password_is(request.session, &request.password) {
                return self.refuse_handshake(conn, old_client, out);
            }
        }
        c.phase = Phase::Connecting { old_client };
        // Shown nowhere and touched never until granted, but the replica must hear of it when we go.
        c.session = request.session;
        out.mail.push(ToReplica::Connect(Connect {
            origin,
            session: request.session,
            timeout_ms: request
                .timeout_ms
                .max(self.settings.session_timeout_min_ms)
                .min(self.settings.session_timeout_max_ms),
            last_zxid_seen: request.last_zxid_seen,
        }));
    }

    /// What a handshake's answer says of this server, to clients that know the field (parity H-03, H-15).
    pub(super) fn says_read_only(&self, old_client: bool) -> Option<bool> {
        (!old_client).then_some(self.service == Service::ReadOnly)
    }

    /// "Your session has expired": zeros everywhere, then the end (parity H-14).
    pub(super) fn refuse_handshake(&mut self, conn: ConnId, old_client: bool, out: &mut Effects) {
        let read_only = self.says_read_only(old_client);
        let Some(c) = self.conns.get_mut(conn) else { return };
        ConnectResponse { timeout_ms: 0, session: SessionId::NONE, password: [0; 16], read_only }.encode(&mut c.output);
        c.stats.sent += 1;
        self.stats.sent += 1;
        mark_dirty(c, out);
        self.close(conn, false, out);
    }

    /// One request of a live session, in the order of checks of parity OPE-01..OPE-03.
    fn on_request(&mut self, conn: ConnId, payload: &[u8], is_late: bool, now: Now, out: &mut Effects) {
        let mut reader = Reader::with_limit(payload, self.settings.field_bytes_max);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            return self.fault(conn, "frame shorter than a request header", false, now, out);
        };
        let op = OpCode::from_i32(header.op);
        match op {
            Some(OpCode::Auth) => return self.on_auth(conn, header.xid, reader, now, out),
            Some(OpCode::Sasl) => return self.on_sasl(conn, header.xid, reader, now, out),
            _ => {}
        }
        if !self.is_authenticated(conn) {
            self.answer_now(conn, header.xid, Some(ErrorCode::SessionClosedRequireAuth), out);
            return self.fault(conn, "authentication is enforced", false, now, out);
        }
        self.touch(conn, now.mono);
        let goes = op.filter(|op| op.goes_to_replica());
        if is_late && !matches!(op, Some(OpCode::Ping | OpCode::CloseSession)) {
            self.metrics.count(Counter::ThrottledOps);
            return self.refuse(conn, header.xid, ErrorCode::ThrottledOp, out);
        }
        if self.service == Service::ReadOnly && goes.is_some_and(|op| op != OpCode::CloseSession) {
            // Before anything of it is looked at (ZK: ReadOnlyRequestProcessor).
            return self.refuse(conn, header.xid, ErrorCode::NotReadOnly, out);
        }
        let is_ordered = |op: OpCode| match Request::decode(op, reader.clone()) {
            Ok(_) => true,
            Err(malformed) => fails_in_order(op, malformed),
        };
        match goes {
            Some(op) if is_ordered(op) => self.submit(conn, header.xid, op, payload, now, out),
            _ => {
                let Some(c) = self.conns.get_mut(conn) else { return };
                if c.waiting.is_empty() {
                    return self.serve(conn, payload, now.mono, now, out);
                }
                self.outstanding += 1;
                self.large_bytes += large(&self.settings, payload.len());
                self.metrics.add(Basic::ReadsAfterWriteInSessionQueue, c.waiting.len() as u64);
                c.push_waiting(Waiting::Frame { bytes: payload.into(), arrived: now.mono });
            }
        }
    }

    fn submit(&mut self, conn: ConnId, xid: Xid, op: OpCode, payload: &[u8], now: Now, out: &mut Effects) {
        let origin = self.origin(conn);
        let Some(c) = self.conns.get_mut(conn) else { return };
        // One allocation serves many requests: each takes its part of the arena.
        if self.arena.capacity() < payload.len() {
            self.arena = bytes::BytesMut::with_capacity(payload.len().max(ARENA_BYTES));
        }
        self.arena.extend_from_slice(&payload[RequestHeader::BYTES..]);
        let body = self.arena.split().freeze();
        self.outstanding += 1;
        self.large_bytes += large(&self.settings, payload.len());
        self.metrics.count(Counter::RequestCommitQueued);
        c.push_waiting(Waiting::Submitted { xid, op, bytes: payload.len() as u32, arrived: now.mono });
        out.mail.push(ToReplica::Submit(Submit { origin, session: c.session, xid, op, body, ids: c.ids.clone() }));
    }

    /// An error in its turn: at once if nothing is before it.
    fn refuse(&mut self, conn: ConnId, xid: Xid, error: ErrorCode, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if c.waiting.is_empty() {
            self.answer_error(conn, xid, error, out);
        } else {
            self.outstanding += 1;
            c.push_waiting(Waiting::Refused { xid, error });
        }
    }

    pub(super) fn answer_error(&mut self, conn: ConnId, xid: Xid, error: ErrorCode, out: &mut Effects) {
        let zxid = self.applied;
        let Some(c) = self.conns.get_mut(conn) else { return };
        reply::reply(&mut c.output, xid, zxid, Some(error), |_| {});
        c.stats.sent += 1;
        self.stats.sent += 1;
        mark_dirty(c, out);
    }

    /// A reply off the line, with the zxid 0 that clients ignore (parity X-05).
    fn answer_now(&mut self, conn: ConnId, xid: Xid, error: Option<ErrorCode>, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        reply::reply(&mut c.output, xid, Zxid::ZERO, error, |_| {});
        c.stats.sent += 1;
        self.stats.sent += 1;
        mark_dirty(c, out);
    }

    fn is_authenticated(&self, conn: ConnId) -> bool {
        let schemes = &self.settings.enforced_schemes;
        schemes.is_empty()
            || self.conns.get(conn).is_some_and(|c| c.ids.iter().any(|id| schemes.iter().any(|s| **s == *id.scheme)))
    }

    /// Answered when it is read, ahead of whatever waits: later requests already have the new ids (W-15).
    fn on_auth(&mut self, conn: ConnId, xid: Xid, reader: Reader<'_>, now: Now, out: &mut Effects) {
        let Ok(Request::Auth { scheme, auth: proof }) = Request::decode(OpCode::Auth, reader) else {
            return self.fault(conn, "undecodable auth packet", false, now, out);
        };
        let Some(c) = self.conns.get_mut(conn) else { return };
        let ids = match (scheme.as_deref(), proof) {
            (Some("digest"), Some(proof)) => auth::digest_ids(&self.settings.auth, proof),
            // The address is an identity from the start; claiming it again proves nothing new.
            (Some("ip"), _) => Some(Vec::new()),
            _ => None,
        };
        match ids {
            Some(ids) => {
                ids.into_iter().for_each(|id| c.add_id(id));
                self.answer_now(conn, xid, None, out);
            }
            None => {
                self.answer_now(conn, xid, Some(ErrorCode::AuthFailed), out);
                self.fault(conn, "authentication failed", false, now, out);
            }
        }
    }

    /// Without a login configuration a token is answered with a null one, and nobody gains an id.
    fn on_sasl(&mut self, conn: ConnId, xid: Xid, reader: Reader<'_>, now: Now, out: &mut Effects) {
        if !matches!(Request::decode(OpCode::Sasl, reader), Ok(Request::Sasl { token: Some(_) })) {
            return self.fault(conn, "undecodable sasl packet", false, now, out);
        }
        let Some(c) = self.conns.get_mut(conn) else { return };
        reply::reply(&mut c.output, xid, Zxid::ZERO, None, |w| w.buffer(None));
        c.stats.sent += 1;
        self.stats.sent += 1;
        mark_dirty(c, out);
    }

    pub(super) fn on_report(&mut self, conn: ConnId, report: &crate::mail::Report, _now: Now, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if let Conn { phase: Phase::Asking(word), .. } = c {
            let text = admin::render(*word, report);
            c.output.extend_from_slice(text.as_bytes());
            mark_dirty(c, out);
            self.close(conn, false, out);
        }
    }
}
