//! Which policy a request belongs to: the callbacks of requests, in the place of the SDK's dispatcher.
//!
//! The SDK keeps a boxed object for each request until its end, and looks it up in up to three hash tables at each
//! callback; what it does not expect is a panic to it, and so an outage. A request needs one thing only: to know
//! its plugin, from its beginning until its headers come, which is at once in Envoy. What is not expected is
//! refused here. The SDK still serves the plugins. `tools/pack` puts these callbacks under the names that the host
//! calls.
//!
//! Nothing is done at the end of a request, and entering the VM for it would cost as much as counting it: the
//! callback is not exported. Plugins end without a word too, then, when Envoy has another configuration for them;
//! which ones are gone is asked when another plugin of the VM is configured, and by its timer.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, RootContext};

use crate::host::{self, Callbacks, Id, TICK_MILLISECONDS};
use crate::plugin::Plugin;
use crate::{log as envoy_log, stream};

/// How long a plugin whose end nobody told may keep its memory, where another lives on in the same VM.
const SWEEP_MILLISECONDS: u32 = 60_000;

/// Requests that can wait for their headers at a time; the oldest beyond that are forgotten, and would be refused.
const MOST_WAITING: usize = 1024;

static CALLBACKS: Callbacks = Callbacks {
    // Whatever the number meant before, it means this plugin now.
    plugin: end_plugin,
    request: add_request,
    request_headers: on_request_headers,
    // Before, so that the memory is there for the new policy.
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

/// The SDK's view of a plugin.
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
    /// Requests whose headers did not come yet, each with its plugin: hardly ever more than one.
    waiting: Vec<(Id, Id)>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::default();
}

/// Runs something on the contexts; `None` where that is going on already, which no host makes happen.
fn with<T>(work: impl FnOnce(&mut Contexts) -> T) -> Option<T> {
    CONTEXTS.with(|contexts| contexts.try_borrow_mut().ok().map(|mut contexts| work(&mut contexts)))
}

/// Lets go of the plugin of this number, if there is one: ids wrap around at 2^32.
fn end_plugin(id: Id) {
    let plugin = with(|contexts| {
        let at = contexts.plugins.iter().position(|(plugin, _)| *plugin == id)?;
        Some(contexts.plugins.swap_remove(at))
    });
    // Dropped outside of the borrow, here and by the SDK: it counts what it has not counted yet.
    if plugin.flatten().is_some() {
        host::end_plugin(id);
    }
}

/// A request of a plugin begins.
fn add_request(id: Id, plugin: Id) {
    with(|contexts| {
        if contexts.waiting.len() >= MOST_WAITING {
            contexts.waiting.remove(0);
        }
        contexts.waiting.push((id, plugin));
    });
}

/// The headers of a request are there. False: it waits, for the answer that it got, or until Envoy gives it up.
fn on_request_headers(id: Id) -> bool {
    let plugin = with(|contexts| {
        let at = contexts.waiting.iter().rposition(|(request, _)| *request == id)?;
        let (_, plugin) = contexts.waiting.swap_remove(at);
        contexts.plugins.iter().find(|(id, _)| *id == plugin).map(|(_, plugin)| Rc::clone(plugin))
    });
    stream::on_request_headers(plugin.flatten().as_deref())
}

/// Lets go of the plugins that the host has ended, on behalf of one that it has not; whether others live on.
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

/// The timer of a plugin: what it does itself is done.
fn after_tick(id: Id) {
    if sweep(id) {
        let _ = host::set_tick_period(SWEEP_MILLISECONDS);
    }
}

/// A plugin was configured, in the place of another perhaps, which ends a little later.
fn after_configure(id: Id) {
    if sweep(id) {
        let _ = host::set_tick_period(TICK_MILLISECONDS);
    }
}
