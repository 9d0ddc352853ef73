//! Requests over HTTP/1.1 and HTTP/2 at a steady rate; every response is checked.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use harness::bytes::Bytes;
use harness::h2::client::{ResponseFuture, SendRequest};
use harness::http::Request;
use harness::wire::{self, Connection, Response};
use harness::{h2, tokio};

use crate::Soak;
use crate::kinds::{self, EDGE, ID, KINDS, Kind, Verdict};
use crate::policies::{Era, Floor, Side};

/// Requests on one connection before it is replaced by a new one.
const TURNOVER: u32 = 3000;
/// Concurrent requests on one HTTP/2 connection.
const AT_ONCE: usize = 8;

/// What one thread saw.
#[derive(Default)]
pub struct Tally {
    pub seen: BTreeMap<(usize, &'static str), u64>,
    pub microseconds: Vec<u32>,
    /// The numbers of refused requests.
    pub refused: Vec<u64>,
    /// Requests that only one policy, or policies that agree about every user, could have decided.
    pub certain: u64,
    /// Requests sent while the policy changed.
    pub between: u64,
    /// Connections that the first Envoy closed cleanly while it drained.
    pub drained: u64,
    /// Connections opened.
    pub opened: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        for (key, count) in other.seen {
            *self.seen.entry(key).or_default() += count;
        }
        self.microseconds.extend(other.microseconds);
        self.refused.extend(other.refused);
        self.certain += other.certain;
        self.between += other.between;
        self.drained += other.drained;
        self.opened += other.opened;
    }

    /// Explains one response, or records that nothing explains it.
    fn judge(&mut self, soak: &Soak, asked: &Asked, connection: Era, response: &Response) {
        let kind = &KINDS[asked.kind];
        let policies = asked.floor..=soak.ledger.written();
        let down = soak.was_down(asked.at);
        let what = match kinds::judge(kind, asked.id, response, policies.clone(), down) {
            Ok(verdict) => {
                if verdict.is_refusal() {
                    if soak.arrivals.has(asked.id) {
                        soak.problem(format!(
                            "request {} ({}) was refused but reached the upstream",
                            asked.id, kind.name
                        ));
                    }
                    self.refused.push(asked.id);
                }
                verdict.name()
            }
            Err(problem) => {
                let body: String = response.text().chars().take(300).collect();
                let sent = soak.seconds(asked.at);
                soak.problem(format!(
                    "request {} ({}), sent at {sent:.3} s to the {connection:?} Envoy, policies {policies:?}: {problem}\n    {} {body}",
                    asked.id, kind.name, response.status
                ));
                "NOT EXPLAINED"
            }
        };
        *self.seen.entry((asked.kind, what)).or_default() += 1;
        let mut sides = policies.map(Side::of);
        let first = sides.next();
        if sides.all(|side| Some(side) == first) {
            self.certain += 1;
        } else {
            self.between += 1;
        }
        self.microseconds.push(u32::try_from(asked.at.elapsed().as_micros()).unwrap_or(u32::MAX));
        soak.count();
    }

    fn failed(&mut self, soak: &Soak, asked: &Asked, connection: Era, error: &dyn std::fmt::Display) {
        if soak.ledger.may_be_gone(connection) {
            self.drained += 1;
            return;
        }
        *self.seen.entry((asked.kind, "NOT EXPLAINED")).or_default() += 1;
        soak.problem(format!(
            "request {} ({}), sent at {:.3} s over a connection to the {connection:?} Envoy: no response: {error}",
            asked.id,
            KINDS[asked.kind].name,
            soak.seconds(asked.at)
        ));
    }
}

/// A request in flight.
#[derive(Clone, Copy)]
struct Asked {
    kind: usize,
    id: u64,
    at: Instant,
    floor: u64,
}

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn kind(&mut self, http1: bool) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let fits = |kind: &&Kind| http1 || !kind.http1_only;
        let all: u32 = KINDS.iter().filter(fits).map(|kind| kind.weight).sum();
        let mut at = u32::try_from(self.0 % u64::from(all)).unwrap_or_default();
        for (index, kind) in KINDS.iter().enumerate().filter(|(_, kind)| fits(kind)) {
            match at.checked_sub(kind.weight) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
    }
}

/// Waits until the next request is due. After a pause it resumes from the current time and does not catch up.
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        Self { next: Instant::now(), every: Duration::from_secs_f64(1.0 / per_second) }
    }

    fn wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.next += self.every;
        if self.next + Duration::from_millis(200) < now {
            self.next = now;
        }
        self.next.checked_duration_since(now)
    }
}

/// A connection opened during the restart may lead to either Envoy, so the policies that decide on it are unknown. It
/// is replaced as soon as new connections are unambiguous.
fn is_stale(opened: Era, now: Era) -> bool {
    opened == Era::Between && now == Era::Second
}

pub fn over_http1(soak: &Soak, seed: u64, per_second: f64) -> Tally {
    let mut tally = Tally::default();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut pace = Pace::new(per_second);
    let mut open: Option<(Connection, Era, Floor, u32)> = None;
    while !soak.ended() {
        if let Some(wait) = pace.wait() {
            std::thread::sleep(wait);
        }
        let era = soak.ledger.era();
        let kind = dice.kind(true);
        let apart = KINDS[kind].http1_only;
        let kept = if apart { None } else { open.take().filter(|(_, opened, ..)| !is_stale(*opened, era)) };
        let (mut connection, era, mut floor, left) = match kept {
            Some(open) => open,
            None => match Connection::open(soak.address) {
                Ok(connection) => {
                    tally.opened += 1;
                    (connection, era, Floor::new(&soak.ledger, era), TURNOVER)
                }
                Err(error) => {
                    soak.problem(format!("no connection to Envoy: {error}"));
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            },
        };
        let asked = Asked { kind, id: soak.next_id(), at: Instant::now(), floor: floor.next(&soak.ledger, era) };
        let exchange = |connection: &mut Connection| -> io::Result<Response> {
            connection.send(&bytes_of(&KINDS[kind], asked.id))?;
            connection.response(KINDS[kind].method)
        };
        match exchange(&mut connection) {
            Ok(response) => {
                tally.judge(soak, &asked, era, &response);
                let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                if closes && response.status == 200 {
                    tally.drained += 1;
                }
                if !closes && !apart && left > 0 {
                    open = Some((connection, era, floor, left - 1));
                }
            }
            Err(error) => tally.failed(soak, &asked, era, &error),
        }
    }
    tally
}

fn bytes_of(kind: &Kind, id: u64) -> Vec<u8> {
    let id = id.to_string();
    if !kind.raw.is_empty() {
        return kind.raw.replace('#', &id).into_bytes();
    }
    let length = kind.body.len().to_string();
    let mut headers: Vec<(&str, &[u8])> = vec![("host", b"claw.example.com"), (ID, id.as_bytes())];
    if !kind.body.is_empty() {
        headers.push(("content-length", length.as_bytes()));
    }
    if kind.through_the_edge {
        headers.push((EDGE, b"1"));
    }
    headers.extend(kind.headers);
    let mut bytes = wire::request(kind.method, kind.path, &headers);
    bytes.extend_from_slice(kind.body);
    bytes
}

pub fn over_http2(soak: &Soak, seed: u64, per_second: f64) -> Tally {
    let mut tally = Tally::default();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(rounds(soak, seed, per_second, &mut tally)),
        Err(error) => soak.problem(format!("no runtime for HTTP/2: {error}")),
    }
    tally
}

async fn rounds(soak: &Soak, seed: u64, per_second: f64, tally: &mut Tally) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut pace = Pace::new(per_second / AT_ONCE as f64);
    let mut open: Option<(SendRequest<Bytes>, Era, Floor, u32)> = None;
    while !soak.ended() {
        if let Some(wait) = pace.wait() {
            tokio::time::sleep(wait).await;
        }
        let era = soak.ledger.era();
        let (mut client, era, mut floor, left) = match open.take().filter(|(_, opened, ..)| !is_stale(*opened, era)) {
            Some(open) => open,
            None => match connect(soak).await {
                Ok(client) => {
                    tally.opened += 1;
                    (client, era, Floor::new(&soak.ledger, era), TURNOVER)
                }
                Err(error) => {
                    soak.problem(format!("no HTTP/2 connection to Envoy: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let oldest = floor.next(&soak.ledger, era);
        let mut running = Vec::with_capacity(AT_ONCE);
        let mut goes_on = left > 0;
        for _ in 0..AT_ONCE {
            let kind = dice.kind(false);
            let asked = Asked { kind, id: soak.next_id(), at: Instant::now(), floor: oldest };
            match send(&mut client, &KINDS[kind], asked.id).await {
                Ok(response) => running.push((asked, response)),
                // Envoy announced that it accepts no more streams on this connection; nothing was sent.
                Err(_) => {
                    goes_on = false;
                    tally.drained += 1;
                    break;
                }
            }
        }
        if running.is_empty() && left == TURNOVER && !soak.ledger.may_be_gone(era) {
            soak.problem("a new HTTP/2 connection takes no request".to_owned());
        }
        for (asked, response) in running {
            match tokio::time::timeout(wire::PATIENCE, receive(response)).await {
                Ok(Ok(response)) => tally.judge(soak, &asked, era, &response),
                // Envoy reports that it did not process the stream. That is how it closes a connection that it
                // drains.
                Ok(Err(error)) if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                    goes_on = false;
                    tally.drained += 1;
                    if soak.arrivals.has(asked.id) {
                        tally.failed(soak, &asked, era, &format!("{error}, but it reached the upstream"));
                    }
                }
                Ok(Err(error)) => {
                    goes_on = false;
                    tally.failed(soak, &asked, era, &error);
                }
                Err(_) => {
                    goes_on = false;
                    tally.failed(soak, &asked, era, &"no response for a minute");
                }
            }
        }
        if goes_on {
            open = Some((client, era, floor, left - 1));
        }
    }
}

async fn connect(soak: &Soak) -> Result<SendRequest<Bytes>, String> {
    let stream = tokio::net::TcpStream::connect(soak.address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    // A broken connection shows up in its requests.
    tokio::spawn(async { drop(connection.await) });
    Ok(client)
}

async fn send(client: &mut SendRequest<Bytes>, kind: &Kind, id: u64) -> Result<ResponseFuture, h2::Error> {
    let mut request =
        Request::builder().method(kind.method).uri(format!("http://claw.example.com{}", kind.path)).header(ID, id);
    if kind.through_the_edge {
        request = request.header(EDGE, "1");
    }
    for (name, value) in kind.headers {
        // HTTP/2 does not allow whitespace around values.
        request = request.header(*name, value.trim_ascii());
    }
    let request = request.body(()).unwrap_or_default();
    std::future::poll_fn(|context| client.poll_ready(context)).await?;
    let (response, mut upload) = client.send_request(request, kind.body.is_empty())?;
    if !kind.body.is_empty() {
        upload.send_data(Bytes::from_static(kind.body), true)?;
    }
    Ok(response)
}

async fn receive(response: ResponseFuture) -> Result<Response, h2::Error> {
    let response = response.await?;
    let status = response.status().as_u16();
    let headers =
        response.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    Ok(Response { status, headers, head: Vec::new(), body })
}

/// For the summary: the outcomes of each kind.
pub fn table(tally: &Tally) -> String {
    let results = [
        Verdict::Admitted.name(),
        Verdict::Anonymous.name(),
        Verdict::Refused.name(),
        Verdict::Malformed.name(),
        Verdict::UpstreamDown.name(),
        "NOT EXPLAINED",
    ];
    let mut text = format!("{:<36}", "requests");
    for result in results {
        text.push_str(&format!("{result:>17}"));
    }
    text.push('\n');
    let mut sums = [0; 6];
    for (index, kind) in KINDS.iter().enumerate() {
        text.push_str(&format!("{:<36}", kind.name));
        for (sum, result) in sums.iter_mut().zip(results) {
            let count = tally.seen.get(&(index, result)).copied().unwrap_or_default();
            *sum += count;
            text.push_str(&format!("{:>17}", if count == 0 { "-".to_owned() } else { count.to_string() }));
        }
        text.push('\n');
    }
    text.push_str(&format!("{:<36}", "all"));
    for sum in sums {
        text.push_str(&format!("{sum:>17}"));
    }
    text
}
