//! What is given of the connection: refuses what Envoy never shows, and names that the policy does not read.

use policy::{IdentitySource, Policy};

use super::Args;
use crate::output::Failure;

/// Checks the options about the connection.
pub fn check(args: &Args, policy: &Policy) -> Result<(), Failure> {
    args.certificate_uri_san.iter().try_for_each(|uri| check_uri(uri))?;
    if args.assertion.as_deref().is_some_and(is_token) {
        return Err(Failure::new(
            "--assertion",
            "is a token",
            "give the identity in it: the value that filter.assertion reads, such as nick@example.com",
        ));
    }
    let claims: Vec<_> = policy.required_claims().map(last_name).collect();
    for name in &args.true_claim {
        if name.is_empty() || (!claims.is_empty() && !claims.contains(name)) {
            let remedy = match &*claims {
                [] => "give the last name in the path of a claim, such as email_verified".to_owned(),
                claims => format!("filter.assertion.requireTrue has {}", claims.join(", ")),
            };
            return Err(Failure::new("--true-claim", format!("{name:?} is not a claim of the policy"), remedy));
        }
    }
    let keys: Vec<&str> = policy
        .identity_sources()
        .iter()
        .filter_map(|source| match source {
            IdentitySource::Certificate => None,
            IdentitySource::FilterState(key) => Some(key.as_str()),
        })
        .collect();
    for (key, _) in &args.filter_state {
        if !keys.is_empty() && !keys.contains(&key.as_str()) {
            let problem = format!("{key:?} is not a filter state that the policy reads");
            return Err(Failure::new(
                "--filter-state",
                problem,
                format!("filter.peerIdentity has {}", keys.join(", ")),
            ));
        }
    }
    Ok(())
}

/// A path has a NUL between its parts.
fn last_name(path: &[u8]) -> String {
    String::from_utf8_lossy(path.rsplit(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.matches('.').count() == 2
}

/// The empty text is a certificate without a URI SAN.
fn check_uri(text: &str) -> Result<(), Failure> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let is_uri = |(scheme, rest): (&str, &str)| is_scheme(scheme) && rest.starts_with(|c| c != ':');
    // As openssl prints subject alternative names.
    let (kind, name) = text.split_once(':').unwrap_or_default();
    if kind == "URI" {
        let problem = format!("{text:?} has a prefix that is not in the certificate");
        return Err(Failure::new("--certificate-uri-san", problem, format!("give {name}")));
    }
    let is_other = ["DNS", "IP", "IP Address", "email"].contains(&kind);
    if text.is_empty()
        || (!is_other && text.bytes().all(|byte| byte.is_ascii_graphic()) && text.split_once(':').is_some_and(is_uri))
    {
        return Ok(());
    }
    let is_host = is_other
        || text.contains('.') && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.*".contains(&byte));
    let problem = if is_host {
        format!("{text:?} is another kind of name, and the filter reads only URI SANs")
    } else {
        format!("{text:?} is not a URI")
    };
    let remedy = "give the URI SAN of the certificate, such as spiffe://cluster.local/ns/openclaw/sa/proxy";
    Err(Failure::new("--certificate-uri-san", problem, remedy))
}
