//! Open WebSockets follow the policy, in a real Envoy: an edit closes those that lost their right, and no others.

use std::net::TcpStream;
use std::time::Duration;

use harness::envoy::eventually;
use harness::tungstenite::{Message, WebSocket};
use serde_json::{Value, json};

use crate::websocket::{Place, policy_with};

const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");

struct Socket(WebSocket<TcpStream>);

impl Socket {
    fn open(place: &Place, headers: &[(&str, &str)]) -> Self {
        let mut socket = place.open(&[&[CLIENT], headers].concat());
        socket.read().expect("the upstream says what it received");
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self(socket)
    }

    /// Whether messages still go both ways.
    fn is_open(&mut self) -> bool {
        self.0.send(Message::text("still there?")).is_ok()
            && matches!(self.0.read(), Ok(Message::Text(text)) if text == "still there?")
    }
}

#[test]
fn an_edit_closes_the_sockets_of_the_user_it_removes_and_no_others() {
    let policy = with_users(&["nick@example.com", "mary@example.com"]);
    let place = Place::with(&policy, str::to_owned);
    let mut nick = Socket::open(&place, &[("x-forwarded-user", "nick@example.com")]);
    let mut mary = Socket::open(&place, &[("x-forwarded-user", "mary@example.com")]);
    assert!(nick.is_open() && mary.is_open());
    place.example.put_policy(&with_users(&["nick@example.com"]).to_string()).unwrap();
    eventually("the removed user's socket is closed", || !mary.is_open());
    assert!(nick.is_open());
}

fn with_users(users: &[&str]) -> Value {
    let mut policy = policy_with(json!({}));
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(users);
    policy
}
