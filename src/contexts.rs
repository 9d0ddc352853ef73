//! Finds the plugin of a request. These callbacks of requests replace the SDK's dispatcher.
//!
//! The SDK keeps a boxed object for each request until its end, and looks it up in up to three hash tables for each
//! callback. It panics on anything unexpected, which is an outage. A request needs only one thing: its plugin, from its
//! start until its headers arrive, which is immediately in Envoy. Here, anything unexpected is refused. The SDK still
//! serves the plugins. `tools/pack` gives these callbacks the names that the host calls.
//!
//! Nothing needs to be done at the end of a request. Entering the VM for it would cost as much as counting a request,
//! so that callback is not exported. As a result, plugins also end without a callback, when Envoy replaces their
//! configuration. The filter therefore asks the host which plugins still exist, whenever another plugin of the VM is
//! configured or its timer fires.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, RootContext};

use crate::host::{self, Callbacks, Id};
use crate::plugin::{Plugin, TICK_MILLISECONDS};
use crate::versions::Version;
use crate::{log as envoy_log, stream};

/// How long a plugin that has ended may keep its memory, while another one exists in the same VM.
const SWEEP_MILLISECONDS: u32 = 60_000;

/// How many requests can wait for their headers at a time. If there are more, the oldest are dropped, and would be
/// refused.
const MOST_WAITING: usize = 1024;

static CALLBACKS: Callbacks = Callbacks {
    // The id belongs to this plugin now, whatever it belonged to before.
    plugin: end_plugin,
    request: add_request,
    request_headers: on_request_headers,
    // This runs first, so that the new policy can use the memory.
    before_configure: sweep,
    after_configure,
    // This runs first, so that no plugin that has ended counts as the one in force.
    before_tick: sweep,
};

/// Called once per VM.
pub(crate) fn start() {
    envoy_log::install();
    host::register(&CALLBACKS);
    proxy_wasm::set_root_context(|id| {
        let plugin = Rc::<Plugin>::default();
        with(|contexts| contexts.plugins.push((id, Rc::clone(&plugin))));
        Box::new(Root { id, plugin })
    });
}

/// A plugin, as the SDK sees it.
struct Root {
    id: Id,
    plugin: Rc<Plugin>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        self.plugin.configure(size)
    }

    fn on_tick(&mut self) {
        let needed = self.plugin.tick(self.id, &siblings(&self.plugin));
        self.plugin.timer.set(if needed == 0 && is_shared() { SWEEP_MILLISECONDS } else { needed });
    }
}

#[derive(Default)]
struct Contexts {
    plugins: Vec<(Id, Rc<Plugin>)>,
    /// Requests whose headers have not arrived yet, each with its plugin. There is rarely more than one.
    waiting: Vec<(Id, Id)>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::default();
}

/// Runs `work` on the contexts. `None` if another call is doing so, which no host causes.
fn with<T>(work: impl FnOnce(&mut Contexts) -> T) -> Option<T> {
    CONTEXTS.with(|contexts| contexts.try_borrow_mut().ok().map(|mut contexts| work(&mut contexts)))
}

/// Drops the plugin with this id, if there is one. An id can be used again: ids wrap around at 2^32.
fn end_plugin(id: Id) {
    let plugin = with(|contexts| {
        let at = contexts.plugins.iter().position(|(plugin, _)| *plugin == id)?;
        Some(contexts.plugins.swap_remove(at))
    });
    // The plugin is dropped outside of the borrow, here and by the SDK, because it reports its last counts then.
    if plugin.flatten().is_some() {
        host::end_plugin(id);
    }
}

/// Adds a request that starts.
fn add_request(id: Id, plugin: Id) {
    with(|contexts| {
        if contexts.waiting.len() >= MOST_WAITING {
            contexts.waiting.remove(0);
        }
        contexts.waiting.push((id, plugin));
    });
}

/// Handles the headers of a request. If this returns false, the request does not continue: it has got a reply, or waits
/// until Envoy ends it.
fn on_request_headers(id: Id) -> bool {
    let plugin = with(|contexts| {
        let at = contexts.waiting.iter().rposition(|(request, _)| *request == id)?;
        let (_, plugin) = contexts.waiting.swap_remove(at);
        contexts.plugins.iter().find(|(id, _)| *id == plugin).map(|(_, plugin)| Rc::clone(plugin))
    });
    stream::on_request_headers(id, plugin.flatten())
}

/// Drops the plugins that the host has ended, on behalf of one that exists.
fn sweep(on_behalf: Id) {
    let others = with(|contexts| contexts.plugins.iter().map(|(id, _)| *id).filter(|id| *id != on_behalf).collect());
    let others: Vec<Id> = others.unwrap_or_default();
    if others.is_empty() {
        return;
    }
    let ended: Vec<Id> = others.into_iter().filter(|id| !host::has_context(*id)).collect();
    host::act_for(on_behalf);
    ended.into_iter().for_each(end_plugin);
}

/// Whether there is more than one plugin.
fn is_shared() -> bool {
    with(|contexts| contexts.plugins.len() > 1).unwrap_or_default()
}

/// The versions that plugins have of the same policy as this one, which is one of them.
fn siblings(plugin: &Plugin) -> Vec<Version> {
    let siblings = with(|contexts| {
        let all = contexts.plugins.iter().filter(|(_, other)| plugin.is_version_of(other));
        all.filter_map(|(_, other)| other.version()).collect()
    });
    siblings.unwrap_or_default()
}

/// Runs after a plugin was configured. It may replace another one, which ends a little later.
fn after_configure(id: Id) {
    sweep(id);
    let plugin = with(|contexts| contexts.plugins.iter().find(|(plugin, _)| *plugin == id).cloned()).flatten();
    if let Some((_, plugin)) = plugin.filter(|_| is_shared()) {
        plugin.timer.at_least_every(TICK_MILLISECONDS);
    }
}
