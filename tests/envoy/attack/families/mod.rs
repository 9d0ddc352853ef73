//! The attacks, by what they attempt.

mod addresses;
mod ceilings;
mod contexts;
mod headers;
mod methods;
mod names;
mod origins;
mod paths;
mod peers;
mod scopes;
mod sites;
mod smuggling;
mod upgrades;

use crate::attack::suite::Attack;

/// Attacks of one kind. They are played one after the other, so that every request that arrives upstream belongs to
/// the current one.
pub struct Family {
    pub name: &'static str,
    /// What they attempt, in one or two sentences.
    pub about: &'static str,
    pub attacks: Vec<Attack>,
}

pub fn all() -> Vec<Family> {
    vec![
        addresses::family(),
        headers::family(),
        names::family(),
        smuggling::family(),
        paths::family(),
        upgrades::family(),
        scopes::family(),
        ceilings::family(),
        origins::family(),
        sites::family(),
        peers::family(),
        contexts::family(),
        methods::family(),
    ]
}
