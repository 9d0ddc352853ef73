//! Requests: as many as possible (h2load), or at a fixed rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::envoy::{LOAD_CORE, pin};

pub type Headers = Vec<(String, String)>;

const PATH: &str = "/tools/invoke";
const CONNECTIONS: usize = 8;

/// Sends this many requests as fast as possible, from one core; returns requests per second. Every answer must be of
/// the class that `expected` begins with.
pub fn flood(address: SocketAddr, headers: &Headers, requests: usize, expected: u16) -> Result<f64, String> {
    let mut command = Command::new("taskset");
    command.args(["-c", &LOAD_CORE.to_string(), "h2load", "--h1", "-t", "1", "-c", &CONNECTIONS.to_string()]);
    command.args(["-n", &requests.to_string()]);
    for (name, value) in headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.arg(format!("http://{address}{PATH}")).output();
    let output = output.map_err(|error| format!("cannot run taskset (of util-linux): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: ")).unwrap_or_default();
    let wanted = format!("{requests} {}xx", expected / 100);
    if !codes.split(", ").any(|one| one == wanted) {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("h2load at {address}: expected {wanted}, got `{codes}`\n{text}{said}"));
    }
    let finished = text.lines().find_map(|line| line.strip_prefix("finished in "));
    let rate = finished.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
    rate.ok_or_else(|| format!("h2load does not print a rate:\n{text}"))
}

/// Sends `rate` requests per second for a while, each at its scheduled time even if other answers are late; returns
/// the time from the schedule to each answer, in microseconds.
pub fn paced(address: SocketAddr, headers: &Headers, rate: u32, lasting: Duration) -> Result<Vec<f64>, String> {
    let mut request = format!("GET {PATH} HTTP/1.1\r\nhost: claw.example.com\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let request = request.as_bytes();
    let gap = Duration::from_secs_f64(CONNECTIONS as f64 / f64::from(rate));
    let count = (lasting.as_secs_f64() / gap.as_secs_f64()) as u32;
    let begin = Instant::now() + Duration::from_millis(50);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|index| {
                scope.spawn(move || {
                    let offset = gap.mul_f64(index as f64 / CONNECTIONS as f64);
                    paced_connection(address, request, begin + offset, gap, count).map_err(|error| error.to_string())
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a client panicked".to_owned())??);
        }
        Ok(all)
    })
}

fn paced_connection(
    address: SocketAddr,
    request: &[u8],
    begin: Instant,
    gap: Duration,
    count: u32,
) -> std::io::Result<Vec<f64>> {
    pin(LOAD_CORE)?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut times = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for index in 0..count {
        let due = begin + gap * index;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(request)?;
        let mut filled = 0;
        // The answer is `ok`, immediately after the head.
        while !buffer[..filled].ends_with(b"\r\n\r\nok") {
            match stream.read(&mut buffer[filled..])? {
                0 => return Err(std::io::Error::other("Envoy closed the connection")),
                read => filled += read,
            }
        }
        times.push(due.elapsed().as_secs_f64() * 1e6);
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(std::io::Error::other("a request was refused"));
        }
    }
    Ok(times)
}
