//! Why a request that passes has its scopes, one by one, for people. `grant.rs` decides; this follows its steps.

use crate::admission::{Admission, Kind};
use crate::ceilings::Holder;
use crate::names::SCOPES_HEADER;
use crate::policy::Policy;
use crate::request::Request;
use crate::scopes::{Scope, Scopes};
use crate::text::{quoted, trim};

/// One scope that a request has, or has not though it names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeStep {
    /// The scope's name, or another text that the request names.
    pub name: String,
    /// Whether the request has it.
    pub granted: bool,
    /// Why.
    pub because: String,
}

/// On such a WebSocket nothing is asked for: what the ceiling includes is the cap.
const OWN_SOCKET: &str = "a WebSocket of the Gateway may use what the ceiling includes";

/// A list of scopes, and where it comes from.
struct Limit {
    of: String,
    scopes: Scopes,
}

impl Policy {
    /// The groups that were read from the groups header. `None` if the policy has no ceilings of groups or users.
    #[must_use]
    pub fn groups_read<'a>(&self, request: &Request<'a>) -> Option<Vec<&'a [u8]>> {
        let ceilings = self.ceilings.as_ref()?;
        Some(ceilings.groups_in(self.groups(request)).collect())
    }

    /// Each scope of a request that passes, and each that it asks for in vain. Empty if the filter limits none.
    #[must_use]
    pub fn scope_steps(&self, request: &Request<'_>, admission: &Admission<'_>) -> Vec<ScopeStep> {
        let Some(granted) = admission.scopes() else { return Vec::new() };
        let (asked, source) = self.asked(request, admission);
        let limits = self.limits(request, admission);
        let ceilings: Vec<_> = limits.iter().map(|limit| limit.of.as_str()).collect();
        let is_plugin_only = !self.plugins_read_header && !request.is_upgrade() && !self.is_own_path(request);
        let known: Scopes = asked.iter().filter_map(|name| self.known(name)).collect();
        let mut steps = Vec::new();
        for scope in granted.iter() {
            let from = match known.iter().find(|other| *other == scope) {
                Some(_) => source.to_owned(),
                None => match known.iter().find(|other| other.satisfies(scope)) {
                    Some(broader) => format!("{} includes it: {source}", broader.name()),
                    None => source.to_owned(),
                },
            };
            let ceiling = limits.iter().find(|limit| limit.scopes.satisfies(scope)).map(|limit| {
                match limit.scopes.iter().find(|other| *other == scope) {
                    Some(_) => format!("; {} has it", limit.of),
                    None => {
                        let broader = limit.scopes.iter().find(|other| other.satisfies(scope));
                        format!("; {} has {}, which includes it", limit.of, broader.map_or("", Scope::name))
                    }
                }
            });
            let because = from + &ceiling.unwrap_or_default();
            steps.push(ScopeStep { name: scope.name().to_owned(), granted: true, because });
        }
        if source == OWN_SOCKET {
            return steps;
        }
        for name in asked {
            let because = match self.known(&name) {
                Some(scope) if granted.iter().any(|other| other == scope) => continue,
                None => "this Gateway knows no such scope".to_owned(),
                Some(scope) if is_plugin_only && !Scope::PLUGIN_DEFAULT.iter().any(|most| most.satisfies(scope)) => {
                    "this Gateway grants a plugin operator.write and what it includes".to_owned()
                }
                Some(_) => format!("above {}", ceilings.join(" and ")),
            };
            let name =
                if Scope::parse(&name).is_some() { String::from_utf8_lossy(&name).into_owned() } else { quoted(&name) };
            let step = ScopeStep { name, granted: false, because: format!("{because} ({source})") };
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    fn known(&self, name: &[u8]) -> Option<Scope> {
        self.known_scopes.iter().find(|scope| scope.name().as_bytes() == name)
    }

    /// What a request asks for, and in which way.
    fn asked(&self, request: &Request<'_>, admission: &Admission<'_>) -> (Vec<Vec<u8>>, &'static str) {
        let names = |scopes: &Scopes| scopes.iter().map(|scope| scope.name().as_bytes().to_vec()).collect();
        if let Some(value) = request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes()) {
            let tokens = value.split(|&byte| byte == b',').map(trim).filter(|name| !name.is_empty());
            return (tokens.map(<[u8]>::to_vec).collect(), "the request names it");
        }
        let is_user = matches!(admission.kind(), Kind::Identified(_));
        if request.is_upgrade() && (self.is_own_socket(request) || !is_user) {
            (names(&self.known_scopes), OWN_SOCKET)
        } else if request.is_upgrade() {
            (names(&self.plugin_scopes), "the default on a plugin's WebSocket")
        } else if self.is_own_path(request) {
            (names(&self.default_scopes), "the default on the Gateway's own paths")
        } else {
            (names(&self.plugin_scopes), "the default on every other path")
        }
    }

    /// The most that the request may have: any of these.
    fn limits(&self, request: &Request<'_>, admission: &Admission<'_>) -> Vec<Limit> {
        let Kind::Identified(user) = admission.kind() else {
            let most = self.without_user.iter();
            return most.map(|scopes| Limit { of: "the limit without a user".to_owned(), scopes: *scopes }).collect();
        };
        let holders = self.ceilings.as_ref().map(|ceilings| ceilings.holders(user, self.groups(request)));
        let named = holders.into_iter().flatten().map(|(holder, scopes)| {
            let of = match holder {
                Holder::User => format!("the ceiling of user {}", quoted(user)),
                Holder::Group(group) => format!("the ceiling of group {}", quoted(group)),
                Holder::Everybody => "the ceiling of \"*\"".to_owned(),
            };
            Limit { of, scopes }
        });
        named.collect()
    }
}
