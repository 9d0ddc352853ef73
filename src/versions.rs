//! Which version of a policy is in force, for the sockets that were opened under an earlier one.
//!
//! Envoy makes a new plugin for each configuration, and keeps the old one as long as a stream of it is open. It does
//! not say which one replaces which. So plugins with the same name and the same root id are versions of one policy, and
//! the one that was configured last is in force.
//!
//! If an operator goes back to an earlier text while its plugin still has streams, Envoy uses that plugin again, and
//! configures nothing. Its next request shows it, if the connection is newer than the first request of the version that
//! was in force: a listener that is drained gets requests too, but no new connections.
//!
//! A new module is a new VM, and the old one keeps its streams. VMs with the same `vm_id` share data, on all workers:
//! the version in force, and its text.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;

use policy::Policy;
use policy::config::compile;

use crate::host;

/// The largest policy whose text is shared, in bytes. If it is larger, the sockets of an earlier module are closed.
const MOST_SHARED: usize = 1024 * 1024;

/// One version of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Of the configuration's text.
    hash: u64,
    /// The configuration's text, unless it is too large to be shared.
    text: Rc<[u8]>,
    /// `None` if this module cannot read the configuration, which another module has accepted.
    pub(crate) policy: Option<Rc<Policy>>,
}

impl Version {
    /// A version that this module can read.
    pub(crate) fn new(text: &[u8], policy: Policy) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        let shared = if text.len() <= MOST_SHARED { text } else { &[] };
        Self { hash: hasher.finish(), text: shared.into(), policy: Some(Rc::new(policy)) }
    }
}

/// The versions of one policy in this VM.
#[derive(Debug)]
pub(crate) struct Versions {
    /// The name of the plugins, and their root id.
    name: Vec<u8>,
    in_force: RefCell<Option<Version>>,
    /// Its hash.
    hash: Cell<u64>,
    /// Whether a plugin of this VM has it, or had it.
    is_own: Cell<bool>,
    /// Counts the changes.
    number: Cell<u32>,
    /// The connection of the first request since the last change. Connections have rising numbers.
    since: Cell<Option<u64>>,
}

thread_local! {
    static ALL: RefCell<Vec<Rc<Versions>>> = const { RefCell::new(Vec::new()) };
}

impl Versions {
    /// The versions of the policy to which the plugin in this callback belongs.
    pub(crate) fn of_plugin() -> Rc<Self> {
        let property = |path| host::property(path).unwrap_or_default();
        let name = [property(b"plugin_name"), property(b"plugin_root_id")].join(&0);
        ALL.with(|all| {
            let Ok(mut all) = all.try_borrow_mut() else { return Rc::new(Self::new(name)) };
            // Those that no plugin has are forgotten.
            all.retain(|known| Rc::strong_count(known) > 1);
            if let Some(known) = all.iter().find(|known| known.name == name) {
                return Rc::clone(known);
            }
            let new = Rc::new(Self::new(name));
            all.push(Rc::clone(&new));
            new
        })
    }

    const fn new(name: Vec<u8>) -> Self {
        Self {
            name,
            in_force: RefCell::new(None),
            hash: Cell::new(0),
            is_own: Cell::new(false),
            number: Cell::new(0),
            since: Cell::new(None),
        }
    }

    /// The version in force, and the number of its change.
    pub(crate) fn in_force(&self) -> (Option<Version>, u32) {
        (self.in_force.try_borrow().ok().and_then(|version| version.clone()), self.number.get())
    }

    /// Whether this version is in force.
    pub(crate) fn is_in_force(&self, version: &Version) -> bool {
        self.hash.get() == version.hash
    }

    /// A plugin was configured: its version is in force from now on, also for other VMs.
    pub(crate) fn configured(&self, version: &Version) {
        self.change(version, true, None);
        // On the other workers, it is the same version.
        if self.shared().is_none_or(|(hash, _)| hash != version.hash) {
            self.share(version);
        }
    }

    /// A plugin with this version has got a request. If it was replaced, this can show that it is in force again.
    #[inline]
    pub(crate) fn note_request(&self, version: &Version) {
        if self.hash.get() != version.hash || self.since.get().is_none() {
            self.learn(version);
        }
    }

    #[cold]
    fn learn(&self, version: &Version) {
        let connection = host::property(b"connection\0id").ok().and_then(|id| number(&id));
        if self.hash.get() == version.hash {
            // A host that does not number its connections is not asked again.
            self.since.set(Some(connection.unwrap_or(u64::MAX)));
            self.share(version);
        } else if connection.zip(self.since.get()).is_some_and(|(connection, since)| connection > since) {
            self.return_to(version, connection);
        }
    }

    /// Learns what other VMs have shared. `plugins` are the versions of this policy that plugins of this VM have.
    pub(crate) fn follow(&self, plugins: &[Version]) {
        if let Some((hash, since)) = self.shared() {
            if self.hash.get() == hash {
                self.since.set(self.since.get().or(since));
            } else if let Some(version) = plugins.iter().find(|version| version.hash == hash) {
                self.change(version, true, since);
            } else {
                self.read_shared(hash, since);
            }
        }
        if self.is_own.get() && !plugins.iter().any(|version| self.is_in_force(version)) {
            match plugins {
                // Its only predecessor is still there, so Envoy uses that one again.
                [version] => self.return_to(version, None),
                // The next request shows which one it is.
                _ => self.since.set(Some(0)),
            }
        }
    }

    /// Puts an earlier version in force again.
    fn return_to(&self, version: &Version, since: Option<u64>) {
        log::info!("an earlier version of the policy is in force again: open sockets are decided by it");
        self.change(version, true, since);
        self.share(version);
    }

    /// Takes the shared version over from another module.
    fn read_shared(&self, hash: u64, since: Option<u64>) {
        let Some((value, _)) = host::shared(&self.key(b"text")) else { return };
        // If it is not this one, another change is under way.
        if number(&value) != Some(hash) {
            return;
        }
        let text: Rc<[u8]> = value.get(size_of::<u64>()..).unwrap_or_default().into();
        let policy = compile(&text).ok().map(|compiled| Rc::new(compiled.policy));
        if policy.is_none() {
            log::warn!("open sockets are closed: another module uses a policy that this one cannot read");
        }
        self.change(&Version { hash, text, policy }, false, since);
    }

    fn change(&self, version: &Version, is_own: bool, since: Option<u64>) {
        let Ok(mut in_force) = self.in_force.try_borrow_mut() else { return };
        if self.hash.replace(version.hash) != version.hash {
            self.number.set(self.number.get().wrapping_add(1));
        }
        self.is_own.set(is_own);
        self.since.set(since);
        *in_force = Some(version.clone());
    }

    /// Shares the version in force with the other VMs. One that cannot be shared leaves them with what they know.
    fn share(&self, version: &Version) {
        let hash = version.hash.to_le_bytes();
        let since = self.since.get().unwrap_or(0).to_le_bytes();
        let text = self.key(b"text");
        if host::shared(&text).and_then(|(value, _)| number(&value)) != Some(version.hash) {
            let _ = host::set_shared(&text, &[&hash, &*version.text].concat(), 0);
        }
        let _ = host::set_shared(&self.key(b"version"), &[hash, since].concat(), 0);
    }

    /// The hash of the shared version, and the connection of its first request.
    fn shared(&self) -> Option<(u64, Option<u64>)> {
        let (value, _) = host::shared(&self.key(b"version"))?;
        let (hash, since) = value.split_at_checked(size_of::<u64>())?;
        Some((number(hash)?, number(since).filter(|since| *since > 0)))
    }

    fn key(&self, what: &[u8]) -> Vec<u8> {
        [b"openclaw_trusted_proxy", what, &*self.name].join(&0)
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
