//! Texts that list things: connections, sessions, ephemerals, watches (parity FL-31..FL-36, FL-42, FL-43).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use super::render::Totals;
use crate::base::SessionId;
use crate::mail::{ConnReport, Report};

const FITS: &str = "a String takes everything";

/// One line of cons, stat or an admin view. ZK: ServerCnxn.dumpConnectionInfo.
pub(super) fn connection(text: &mut String, conn: &ConnReport, brief: bool) {
    write!(
        text,
        " /{}[{:x}](queued={},recved={},sent={}",
        java_socket(conn.peer),
        conn.interest_ops,
        conn.queued_count,
        conn.received_count,
        conn.sent_count,
    )
    .expect(FITS);
    if let (false, Some(session)) = (brief, conn.session) {
        write!(text, ",sid={session},lop={},est={},to={}", conn.last_op, conn.established.0, conn.timeout_ms,)
            .expect(FITS);
        if conn.last_cxid >= 0 {
            write!(text, ",lcxid=0x{:x}", conn.last_cxid).expect(FITS);
        }
        let latency = &conn.latency_ms;
        write!(
            text,
            ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            conn.last_zxid,
            conn.last_response_ms,
            conn.last_latency_ms,
            latency.min(),
            latency.sum.checked_div(latency.count).unwrap_or(0),
            latency.max(),
        )
        .expect(FITS);
    }
    text.push_str(")\n");
}

/// cons.
pub(super) fn connections(report: &Report) -> String {
    let mut text = String::new();
    for conn in report.shards.iter().flat_map(|shard| &shard.connections) {
        connection(&mut text, conn, false);
    }
    text.push('\n');
    text
}

/// dump.
pub(super) fn dump(report: &Report) -> String {
    let replica = &report.replica;
    // Deadlines are monotonic; dates are for people. ZK: Time.elapsedTimeToDate.
    let date = |mono_ms: u64| java_date(replica.now_wall.0 + mono_ms as i64 - replica.now_mono_ms as i64);
    let mut text = "SessionTracker dump:\n".to_owned();
    let session_sets = |text: &mut String, buckets: &[(u64, Vec<SessionId>)]| {
        let session_count: usize = buckets.iter().map(|(_, sessions)| sessions.len()).sum();
        writeln!(text, "Session Sets ({})/({session_count}):", buckets.len()).expect(FITS);
        for (deadline_ms, sessions) in buckets {
            writeln!(text, "{} expire at {}:", sessions.len(), date(*deadline_ms)).expect(FITS);
            sessions.iter().for_each(|session| writeln!(text, "\t{session}").expect(FITS));
        }
    };
    if let Some(local) = &replica.local_session_buckets {
        text.push_str("Local ");
        session_sets(&mut text, local);
    }
    if let Some(member) = replica.member.as_ref().filter(|member| member.leading.is_none()) {
        // When a session expires is known to the leader alone.
        writeln!(text, "Global Sessions({}):", member.sessions.len()).expect(FITS);
        for (session, timeout_ms) in &member.sessions {
            writeln!(text, "{session}\t{timeout_ms}ms").expect(FITS);
        }
    } else {
        if replica.local_session_buckets.is_some() {
            text.push_str("Global ");
        }
        session_sets(&mut text, &replica.session_buckets);
    }
    let ephemerals = &Totals::of(report).tree.ephemerals;
    writeln!(text, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", ephemerals.len()).expect(FITS);
    for (session, paths) in ephemerals {
        writeln!(text, "{session}:").expect(FITS);
        paths.iter().for_each(|path| writeln!(text, "\t{path}").expect(FITS));
    }
    let mut buckets: BTreeMap<u64, Vec<&ConnReport>> = BTreeMap::new();
    let conns = || report.shards.iter().flat_map(|shard| &shard.connections);
    conns().for_each(|conn| buckets.entry(conn.expires_ms).or_default().push(conn));
    writeln!(text, "Connections dump:\nConnections Sets ({})/({}):", buckets.len(), conns().count()).expect(FITS);
    for (deadline_ms, conns) in buckets {
        writeln!(text, "{} expire at {}:", conns.len(), date(deadline_ms)).expect(FITS);
        for conn in conns {
            let session = conn.session.unwrap_or(SessionId::NONE);
            writeln!(text, "\tip: /{} sessionId: {session}", java_socket(conn.peer)).expect(FITS);
        }
    }
    text
}

/// wchs.
pub(super) fn watch_summary(report: &Report) -> String {
    let connections: u64 = report.shards.iter().map(|shard| shard.watching_connections).sum();
    let pairs: u64 = report.shards.iter().map(|shard| shard.watch_pairs).sum();
    let paths: BTreeSet<&str> = report.shards.iter().flat_map(|shard| &shard.watched_paths).map(|p| &**p).collect();
    format!("{connections} connections watching {} paths\nTotal watches:{pairs}\n", paths.len())
}

/// wchc.
pub(super) fn watches_by_session(report: &Report) -> String {
    let mut text = String::new();
    for (session, paths) in report.shards.iter().flat_map(|shard| &shard.watches) {
        writeln!(text, "{session}").expect(FITS);
        paths.iter().for_each(|path| writeln!(text, "\t{path}").expect(FITS));
    }
    text.push('\n');
    text
}

/// wchp.
pub(super) fn watches_by_path(report: &Report) -> String {
    let mut by_path: BTreeMap<&str, BTreeSet<SessionId>> = BTreeMap::new();
    for (session, paths) in report.shards.iter().flat_map(|shard| &shard.watches) {
        paths.iter().for_each(|path| {
            by_path.entry(path).or_default().insert(*session);
        });
    }
    let mut text = String::new();
    for (path, sessions) in by_path {
        writeln!(text, "{path}").expect(FITS);
        sessions.iter().for_each(|session| writeln!(text, "\t{session}").expect(FITS));
    }
    text.push('\n');
    text
}

/// `address:port` as Java's InetSocketAddress prints it.
fn java_socket(peer: SocketAddr) -> String {
    match peer.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", peer.port()),
        std::net::IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}"));
            format!("[{}]:{}", groups.join(":"), peer.port())
        }
    }
}

/// `java.util.Date.toString` in UTC: "Thu Jan 01 00:00:00 UTC 1970".
fn java_date(wall_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = wall_ms.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to civil date, after Howard Hinnant's algorithm: years start in March, eras have 400 of them.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {} {date:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[day.rem_euclid(7) as usize],
        MONTHS[month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MemberReport;

    #[test]
    fn dates_are_printed_as_java_does() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(951_782_399_999), "Mon Feb 28 23:59:59 UTC 2000");
        assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(1_735_689_599_000), "Tue Dec 31 23:59:59 UTC 2024");
    }

    /// ZK: LeaderSessionTracker.dumpSessions, LearnerSessionTracker.dumpSessions.
    #[test]
    fn dump_names_local_and_global_sessions_where_there_can_be_both() {
        let mut report = Report::default();
        report.replica.session_buckets = vec![(6000, vec![SessionId(0x1a)])];
        let head = |report: &Report| {
            let text = dump(report);
            text[..text.find("ephemeral nodes").unwrap()].to_owned()
        };
        let sets = "Session Sets (1)/(1):\n1 expire at Thu Jan 01 00:00:06 UTC 1970:\n";
        assert_eq!(head(&report), format!("SessionTracker dump:\n{sets}\t0x1a\n"));
        report.replica.local_session_buckets = Some(vec![(6000, vec![SessionId(0x2b)])]);
        assert_eq!(head(&report), format!("SessionTracker dump:\nLocal {sets}\t0x2b\nGlobal {sets}\t0x1a\n"));
        report.replica.member = Some(MemberReport { sessions: vec![(SessionId(0x1a), 4000)], ..Default::default() });
        let learner = format!("SessionTracker dump:\nLocal {sets}\t0x2b\nGlobal Sessions(1):\n0x1a\t4000ms\n");
        assert_eq!(head(&report), learner);
    }

    #[test]
    fn sockets_are_printed_as_java_does() {
        assert_eq!(java_socket("127.0.0.1:5".parse().unwrap()), "127.0.0.1:5");
        assert_eq!(java_socket("[::1]:5".parse().unwrap()), "[0:0:0:0:0:0:0:1]:5");
    }
}
