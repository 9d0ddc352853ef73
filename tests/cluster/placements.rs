//! The table "What holds in each placement" of docs/istio.md: the same questions wherever the filter runs, with the
//! filter alone, with another plugin before it and after it, and without the filter.

use harness::document;
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

/// Checks that what comes of these requests is what the table says.
pub fn holds(placement: &str, column: Column, askers: &[Asker<'_>]) {
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
pub fn is_reached(placement: &str, column: Column, arrival: &Arrival) -> bool {
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
