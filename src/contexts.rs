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

use crate::host::{self, Callbacks, Id, TICK_MILLISECONDS};
use crate::plugin::Plugin;
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
    before_configure: |id| {
        sweep(id);
    },
    after_configure,
    after_tick,
};

/// Called once per VM.
pub(crate) fn start() {
    envoy_log::install();
    host::register(&CALLBACKS);
    proxy_wasm::set_root_context(|id| {
        let plugin = Rc::<Plugin>::default();
        with(|contexts| contexts.plugins.push((id, Rc::clone(&plugin))));
        Box::new(Root(plugin))
    });
}

/// A plugin, as the SDK sees it.
struct Root(Rc<Plugin>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        self.0.configure(size)
    }

    fn on_tick(&mut self) {
        self.0.tick();
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
    stream::on_request_headers(plugin.flatten().as_deref())
}

/// Drops the plugins that the host has ended, on behalf of one that exists. Returns whether others exist.
fn sweep(on_behalf: Id) -> bool {
    let others = with(|contexts| contexts.plugins.iter().map(|(id, _)| *id).filter(|id| *id != on_behalf).collect());
    let others: Vec<Id> = others.unwrap_or_default();
    if others.is_empty() {
        return false;
    }
    let (live, ended): (Vec<Id>, Vec<Id>) = others.into_iter().partition(|id| host::has_context(*id));
    host::act_for(on_behalf);
    ended.into_iter().for_each(end_plugin);
    !live.is_empty()
}

/// Runs after a plugin has handled its timer.
fn after_tick(id: Id) {
    if sweep(id) {
        let _ = host::set_tick_period(SWEEP_MILLISECONDS);
    }
}

/// Runs after a plugin was configured. It may replace another one, which ends a little later.
fn after_configure(id: Id) {
    if sweep(id) {
        let _ = host::set_tick_period(TICK_MILLISECONDS);
    }
}
