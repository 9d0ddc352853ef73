//! The table "What holds in each placement" of docs/istio.md: the same questions wherever the filter runs, with the
//! filter alone, with another plugin before it and after it, and without the filter.

use harness::document;
use harness::envoy::eventually;
use harness::wire::{Headers, values};
use serde_json::{Value, json};

/// The user of the policies.
const USER: &str = "nick@example.com";

/// What another plugin writes, whatever the request has.
const HEADERS: &str = r#"
function envoy_on_request(handle)
  handle:headers():replace("x-openclaw-user", "other@example.com")
  handle:headers():replace("x-openclaw-scopes", "operator.other")
"#;

/// What it tries too, after the filter.
const STATE: &str = r#"
  local state = handle:streamInfo():filterState()
  for _, name in ipairs({"user", "scopes"}) do
    state:set("wasm.openclaw_trusted_proxy.stamped_" .. name, "envoy.string", "other")
  end
"#;

/// The users in what arrived. If the other plugin's scopes arrived, it says so too.
pub fn users(received: &Headers) -> Vec<String> {
    let users = values(received, "x-openclaw-user");
    if !values(received, "x-openclaw-scopes").iter().any(|scopes| scopes.contains("operator.other")) {
        return users;
    }
    users.into_iter().map(|user| format!("{user} with other scopes")).collect()
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    With = 1,
    Before,
    After,
    Without,
}

/// What the upstream got: a user, or a request without one. Or nothing, because somebody refused.
pub type Arrival = Result<Option<String>, String>;

/// What comes of a request and of a WebSocket, which must be the same. While a configuration changes, it is not.
pub fn both(request: Arrival, socket: Arrival) -> Arrival {
    if request == socket { request } else { Ok(Some(format!("a request: {request:?}, a WebSocket: {socket:?}"))) }
}

/// Somebody who asks: a description, whether the policy admits them, and what comes of it.
pub type Asker<'a> = (&'a str, bool, Box<dyn Fn() -> Arrival + 'a>);

/// Everybody who asks at an edge that signs people in, given the tokens of two users. The policy admits the first one.
pub fn at_an_edge<'a>(
    listed: &str,
    other: &str,
    ask: impl Fn(&[(&str, &str)]) -> Arrival + Copy + 'a,
) -> Vec<Asker<'a>> {
    let credentials = |bearer: &str| ("authorization", bearer.to_owned());
    let named = |user: &str| ("x-openclaw-user", user.to_owned());
    let asks = |headers: Vec<(&'static str, String)>| -> Box<dyn Fn() -> Arrival + 'a> {
        Box::new(move || {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask(&headers)
        })
    };
    vec![
        ("a user", true, asks(vec![credentials(listed)])),
        ("a user who names another", true, asks(vec![credentials(listed), named("other@example.com")])),
        ("a stranger who names a user", false, asks(vec![credentials(other), named(USER)])),
        ("nobody who names a user", false, asks(vec![named(USER)])),
    ]
}

/// Waits until the first asker, whom the policy admits, gets what the table says, and then checks it for all.
pub fn settles(placement: &str, column: Column, askers: &[Asker<'_>]) {
    let (who, _, ask) = &askers[0];
    eventually(&format!("{placement}, {column:?}: {who}"), || is_reached(placement, column, &ask()));
    holds(placement, column, askers);
}

/// Checks that what comes of these requests is what the table says.
fn holds(placement: &str, column: Column, askers: &[Asker<'_>]) {
    let word = cell(placement, column);
    let arrivals: Vec<(&str, bool, Arrival)> = askers.iter().map(|(who, listed, ask)| (*who, *listed, ask())).collect();
    let holds = |(_, listed, arrival): &(&str, bool, Arrival)| match (&*word, arrival) {
        ("only its users", Ok(user)) => *listed && user.as_deref() == Some(USER),
        ("only its users", Err(_)) => !listed,
        ("nobody", arrival) => arrival.is_err(),
        ("no user", Ok(user)) => user.is_none(),
        ("no user", Err(_)) => !listed,
        (word, _) => panic!("docs/istio.md: {placement} has the cell {word:?}"),
    };
    assert!(arrivals.iter().any(|(_, listed, _)| *listed), "nobody asks whom the policy admits");
    assert!(arrivals.iter().all(holds), "{placement}, {column:?}: {word}, but {arrivals:?}");
}

/// Whether what comes of the request of somebody whom the policy admits is what the table says.
fn is_reached(placement: &str, column: Column, arrival: &Arrival) -> bool {
    match (&*cell(placement, column), arrival) {
        ("nobody", arrival) => arrival.is_err(),
        ("no user", arrival) => *arrival == Ok(None),
        (_, arrival) => *arrival == Ok(Some(USER.to_owned())),
    }
}

fn cell(placement: &str, column: Column) -> String {
    let page = document::page("docs/istio.md");
    let (_, section) = page.split_once("\n## What holds in each placement\n").expect("the section of the table");
    let mut rows = section.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with("| "));
    let cells = |row: &str| -> Vec<String> { row.split('|').skip(1).map(|cell| cell.trim().to_owned()).collect() };
    let row = rows.find(|row| cells(row)[0] == placement).unwrap_or_else(|| panic!("no row {placement:?}"));
    cells(row)[column as usize].clone()
}

/// Another plugin of the same proxies: a TrafficExtension that runs before the filter, or after it.
pub fn other_plugin(namespace: &str, attached: &Value, column: Column) -> Value {
    let mut spec = attached.clone();
    // Without a priority, it is the last of its phase.
    spec["phase"] = json!(if column == Column::Before { "AUTHN" } else { "AUTHZ" });
    spec["lua"] = json!({"inlineCode": other_code(column)});
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1", "kind": "TrafficExtension",
        "metadata": {"name": "other", "namespace": namespace}, "spec": spec,
    })
}

/// The code of another plugin.
pub fn other_code(column: Column) -> String {
    format!("{HEADERS}{}end\n", if column == Column::After { STATE } else { "" })
}
