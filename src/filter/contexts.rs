//! Which policy a request belongs to: the callbacks of requests, in the place of the SDK's dispatcher.
//!
//! The SDK keeps a boxed object for each request until its end, and looks it up in up to three hash tables at each callback;
//! what it does not expect is a panic to it, and so an outage. A request needs one thing only: to know its plugin, from its
//! beginning until its headers come, which is at once in Envoy. What is not expected is refused here. The SDK still serves the
//! plugins. `tools/pack` puts these callbacks under the names that the host calls.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use super::{Plugin, stream};

/// A number of the host's for a plugin or a request.
type Id = u32;

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

/// A plugin begins.
pub(super) fn add_plugin(id: Id, plugin: Rc<Plugin>) {
    with(|contexts| contexts.plugins.push((id, plugin)));
}

/// A request of a plugin begins.
pub(super) fn add_request(id: Id, plugin: Id) {
    with(|contexts| contexts.waiting.push((id, plugin)));
}

/// The headers of a request are there. False: it waits, for the answer that it got, or until Envoy gives it up.
pub(super) fn on_request_headers(id: Id) -> bool {
    let plugin = with(|contexts| {
        let at = contexts.waiting.iter().rposition(|(request, _)| *request == id)?;
        let (_, plugin) = contexts.waiting.swap_remove(at);
        contexts.plugins.iter().find(|(id, _)| *id == plugin).map(|(_, plugin)| Rc::clone(plugin))
    });
    stream::on_request_headers(plugin.flatten().as_deref())
}

/// A plugin or a request ends; whether it was a plugin.
pub(super) fn remove(id: Id) -> bool {
    let plugin = with(|contexts| {
        if let Some(at) = contexts.waiting.iter().rposition(|(request, _)| *request == id) {
            contexts.waiting.swap_remove(at);
        }
        contexts.plugins.iter().position(|(plugin, _)| *plugin == id).map(|at| contexts.plugins.swap_remove(at))
    });
    // Dropped outside: it counts what it has not counted yet.
    plugin.flatten().is_some()
}
