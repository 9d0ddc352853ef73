//! Findings about what is around a policy, and what they ask of the policy itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use policy::config::MOST_ERRORS;

use super::attach::Mesh;
use super::finding::{Finding, Level};
use crate::input::{Deployment, Placed};
use crate::json5::{Node, Span, Value};
use crate::output::Problem;

/// The place of a finding: its words, and what the excerpt shows.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'a> {
    pub place: &'a str,
    pub span: Span,
}

/// Collects findings about what is around policies.
pub struct Report<'a> {
    pub deployment: &'a Deployment,
    pub mesh: Rc<Mesh<'a>>,
    pub findings: &'a mut Vec<Finding>,
    /// How many findings were left out, by id.
    pub more: BTreeMap<&'static str, (Level, usize)>,
}

impl Report<'_> {
    pub fn add(
        &mut self,
        id: &'static str,
        level: Level,
        spot: Spot<'_>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.is_full(id) {
            self.leave_out(id, level);
            return;
        }
        let excerpt = self.deployment.files.get(spot.span.file).and_then(|file| file.excerpt(spot.span));
        let (place, problem, remedy) = (spot.place.to_owned(), problem.into(), remedy.into());
        // Listeners that share a part by an alias have it once.
        let is_same = |other: &Finding| {
            excerpt.is_some() && other.id == id && other.problem.excerpt == excerpt && other.problem.problem == problem
        };
        if !self.findings.iter().any(is_same) {
            let problem = Problem { place, problem, remedy, excerpt };
            self.findings.push(Finding { id, level, problem, is_reminder: false });
        }
    }

    /// Whether there are so many findings of an id that further ones are only counted.
    pub fn is_full(&self, id: &str) -> bool {
        self.findings.iter().filter(|other| other.id == id).count() >= MOST_ERRORS
    }

    /// Counts a finding that is left out.
    pub fn leave_out(&mut self, id: &'static str, level: Level) {
        let (_, more) = self.more.entry(id).or_insert((level, 0));
        *more = more.saturating_add(1);
    }

    /// Adds a finding for those that were left out.
    pub fn add_counts(&mut self) {
        for (id, (level, count)) in std::mem::take(&mut self.more) {
            let problem = Problem {
                place: String::new(),
                problem: format!("at least {count} more like these"),
                remedy: "correct these first".to_owned(),
                excerpt: None,
            };
            self.findings.push(Finding { id, level, problem, is_reminder: false });
        }
    }

    /// Headers that a route writes and removes after the filter has run, each with its place.
    pub fn headers(&mut self, place: &str, written: Vec<(&str, Span)>, removed: Vec<(&str, Span)>, user: &str) {
        const ID: &str = "check.route_headers";
        for (name, span) in written {
            let name = name.to_ascii_lowercase();
            let spot = Spot { place, span };
            if name == user {
                let problem = format!("writes {name} after the filter: whoever is admitted is this user");
                self.add(ID, Level::Critical, spot, problem, "remove it: only the filter writes this header");
            } else if is_ours(&name) {
                let problem = format!("writes {name} after the filter has checked or removed it");
                self.add(ID, Level::Warn, spot, problem, "remove it");
            }
        }
        for (name, span) in removed {
            let name = name.to_ascii_lowercase();
            let spot = Spot { place, span };
            if name == user {
                let problem = format!("removes {name} after the filter has set it: the Gateway refuses everybody");
                self.add(ID, Level::Warn, spot, problem, "remove it");
            } else if name == "x-openclaw-scopes" {
                let problem = format!(
                    "removes {name} after the filter has set it: to the Gateway, a request without it has every scope"
                );
                self.add(ID, Level::Critical, spot, problem, "remove it");
            }
        }
    }
}

/// The place of a key and its value; of the whole object, if the key is missing.
pub fn spot<'a>(place: &'a str, object: &Node, key: &str) -> Spot<'a> {
    let member = object.members().iter().find(|member| member.key == key);
    let span = match member {
        None => object.members().first().map_or(object.span, |first| first.key_span),
        Some(member) if matches!(member.node.value, Value::List(_) | Value::Object(_)) => member.key_span,
        Some(member) => Span { end: member.node.span.end.max(member.key_span.end), ..member.key_span },
    };
    Spot { place, span }
}

impl Placed {
    /// The header in which the peer sends the user.
    pub fn theirs(&self) -> String {
        let header = self.node.at(&["gateway", "auth", "trustedProxy", "userHeader"]);
        header.text().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The header that the filter stamps.
    pub fn user(&self) -> String {
        let upstream = self.node.at(&["filter", "upstreamUserHeader"]).text();
        upstream.map_or_else(|| self.theirs(), |name| name.trim().to_ascii_lowercase())
    }

    pub fn is_edge(&self) -> bool {
        self.node.at(&["filter", "edge"]).is_true()
    }

    pub fn takes_the_users_of_a_filter(&self) -> bool {
        !self.node.at(&["filter", "trustedPeers"]).items().is_empty() && !self.is_edge() && self.theirs() == self.user()
    }

    /// The place of a key in a block of the policy; the block is a path with dots.
    pub fn spot(&self, block: &str, key: &str) -> Spot<'_> {
        let block = self.node.at(&block.split('.').collect::<Vec<_>>());
        spot(&self.place, if block.is_set() { block } else { &self.node }, key)
    }
}

/// Whether the settings of a connection manager remove a header before any filter runs.
pub fn removes(manager: &Node, header: &str) -> bool {
    let extensions = manager.at(&["early_header_mutation_extensions"]).items().iter();
    extensions
        .flat_map(|extension| extension.at(&["typed_config", "mutations"]).items())
        .filter_map(|mutation| mutation.at(&["remove"]).text())
        .any(|name| name.eq_ignore_ascii_case(header))
}

/// Whether the filter checks or removes a header, so that nothing after it may write it.
fn is_ours(name: &str) -> bool {
    policy::names::is_built_in(name)
        || name.starts_with("x-openclaw-")
        || ["origin", "x-forwarded-for", "x-real-ip", "forwarded"].contains(&name)
}
