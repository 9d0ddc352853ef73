//! A test service for the questions that proxies ask about a request: oauth2-proxy's `/oauth2/auth` (202 with the
//! headers of `--set-xauthrequest`, or 401) and, on every other path, a forward-auth service (200 with
//! X-Forwarded-User and X-Forwarded-Groups, or a redirect to the sign-in). A signed-in user has a cookie.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use harness::wire::{Connection, latin1};

pub const NICK: &str = "_oauth2_proxy=nick";
pub const EVE: &str = "_oauth2_proxy=eve";
/// Signed in, with an account that has no address.
pub const NAMELESS: &str = "_oauth2_proxy=nameless";

/// Signed in as nick, in no group.
pub const GROUPLESS: &str = "_oauth2_proxy=groupless";

/// The running service, ended when dropped.
pub struct Login {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Login {
    pub fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let accepting = thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    thread::spawn(move || serve(stream));
                }
            }
        });
        Self { address, ended, accepting: Some(accepting) }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // One more connection, so that the thread wakes up. It may be on another host by now, and then cannot be
        // reached; the socket ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            drop(accepting.join());
        }
    }
}

fn serve(stream: TcpStream) {
    let ours = stream.try_clone();
    let mut connection = Connection::new(stream);
    while let Ok(Some(head)) = connection.head() {
        let answer = answer(&latin1(&head));
        if connection.send(answer.as_bytes()).is_err() {
            break;
        }
    }
    drop(ours.map(|stream| stream.shutdown(Shutdown::Both)));
}

/// The answer to the head of a request.
fn answer(head: &str) -> String {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let is_oauth2_proxy = path.starts_with("/oauth2/auth");
    let cookie =
        |value: &str| head.lines().any(|line| line.to_ascii_lowercase().starts_with("cookie:") && line.contains(value));
    let user = ["nick", "eve"].into_iter().find(|user| cookie(&format!("_oauth2_proxy={user}")));
    let groupless = if is_oauth2_proxy { "X-Auth-Request-Email" } else { "X-Forwarded-User" };
    let (status, headers) = match user {
        None if cookie(GROUPLESS) => ("200 OK", format!("{groupless}: nick@example.com\r\n")),
        Some(user) if is_oauth2_proxy => {
            let email = format!("{user}@example.com");
            (
                "202 Accepted",
                format!(
                    "X-Auth-Request-User: {user}-id\r\nX-Auth-Request-Email: {email}\r\nX-Auth-Request-Preferred-Username: {user}\r\n\
                     X-Auth-Request-Groups: staff\r\n"
                ),
            )
        }
        Some(user) => ("200 OK", format!("X-Forwarded-User: {user}@example.com\r\nX-Forwarded-Groups: staff\r\n")),
        None if cookie(NAMELESS) => (if is_oauth2_proxy { "202 Accepted" } else { "200 OK" }, String::new()),
        None if is_oauth2_proxy => ("401 Unauthorized", String::new()),
        None => ("307 Temporary Redirect", "Location: https://id.example.com/sign-in\r\n".to_owned()),
    };
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n")
}
