//! Tests the model itself on the decision vectors.

use harness::vectors::{self, Expect, Vector};
use model::{Kind, Outcome, Request, latin1};

/// A vector as Envoy would pass it: lower-case names, `:authority` for `host`, values without surrounding blanks.
fn request(case: &Vector) -> Request {
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> =
        vec![(b":method".to_vec(), case.method.clone().into()), (b":path".to_vec(), case.path.clone().into())];
    for (name, value) in case.on_the_wire() {
        let name = if name.eq_ignore_ascii_case("host") { ":authority".to_owned() } else { name.to_ascii_lowercase() };
        headers.push((name.into_bytes(), value.trim_ascii().to_vec()));
    }
    let peer = if case.remote_addr.contains(':') {
        format!("[{}]:40000", case.remote_addr)
    } else {
        format!("{}:40000", case.remote_addr)
    };
    Request { peer: Some(peer.into_bytes()), headers, ..Request::default() }
}

fn judge(case: &Vector) -> Result<(), String> {
    let verdict = model::decide(&case.config, &request(case));
    let stricter = verdict.or_refused.is_some();
    match (&case.expect, verdict.outcome) {
        (Expect::Refuse { reason, status }, Outcome::Refused(code)) => {
            let wanted = if code == "proxy_attribution_required" { 403 } else { 401 };
            if code == *reason && *status == wanted { Ok(()) } else { Err(format!("{code}, expected {reason}")) }
        }
        (Expect::Refuse { .. }, Outcome::Passed { .. }) if stricter => Ok(()),
        (Expect::Admit { user, scopes }, Outcome::Passed { kind, headers }) => {
            let value = |wanted: &str| {
                let copies: Vec<_> = headers.iter().filter(|(name, _)| name == wanted).collect();
                assert!(copies.len() < 2, "{}: {wanted} twice", case.id);
                copies.first().map(|(_, value)| value.clone())
            };
            let seen = (value(&case.user_header()), value("x-openclaw-scopes"));
            let identified = matches!(kind, Kind::Identified(_));
            if identified == user.is_some() && seen == (user.clone(), scopes.as_ref().map(|list| list.join(","))) {
                Ok(())
            } else {
                Err(format!("{seen:?}, expected {user:?} and {scopes:?}"))
            }
        }
        (expect, outcome) => Err(format!("{outcome:?}, expected {expect:?}")),
    }
}

#[test]
fn the_model_decides_every_vector() {
    let cases = vectors::load();
    let wrong: Vec<_> =
        cases.iter().filter_map(|case| judge(case).err().map(|why| format!("{}: {why}", case.id))).collect();
    assert!(wrong.is_empty(), "{} of {} wrong\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 1200, "only {} vectors", cases.len());
}

#[test]
fn bytes_are_read_as_latin_1() {
    assert_eq!(latin1(b"Jos\xE9"), "José");
}
