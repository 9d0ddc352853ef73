//! A proxy-wasm host on wasmtime (ABI 0.2.1, as Envoy implements it), for what a real Envoy cannot be made to do:
//! answer a host call with an error, pass malformed bytes, move the clock, count the calls. It runs the same file
//! that is released.
//!
//! The host is strict where Envoy is lenient: a trap, a call of an unknown import, a pointer out of bounds and an
//! endless loop each panic, and therefore fail the test.

mod exchange;
mod imports;
mod metadata;
mod request;
#[cfg(test)]
mod self_test;
mod state;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

pub use exchange::{Action, Exchange, LocalResponse};
pub use metadata::metadata;
pub use request::{PeerFrom, Request, parse_map, serialize_map};
pub use state::{Arg, Call, Level, Log, Status};

use state::{State, StreamState};
use wasmtime::{Config, Engine, Instance, Linker, Module, Store, WasmParams, WasmResults};

/// The fuel for one call into the module: far more than any legitimate call needs, so that an endless loop ends as a
/// trap.
const FUEL_PER_CALL: u64 = 1_000_000_000;
/// The context id of the plugin itself; Envoy also counts from one.
const ROOT: u32 = 1;

/// The path of the module under test: the released file, or the file that `OPENCLAW_WASM` names. With
/// `OPENCLAW_WASM=build`, the host builds one itself.
pub fn module_path() -> PathBuf {
    std::env::var_os("OPENCLAW_WASM").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/openclaw-trusted-proxy.wasm"),
        PathBuf::from,
    )
}

/// An engine that counts fuel.
fn engine() -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true);
    Engine::new(&config).unwrap_or_else(|error| panic!("wasmtime cannot start: {error:?}"))
}

/// The module under test, compiled once per process.
fn shipped() -> &'static (Engine, Module) {
    static MODULE: OnceLock<(Engine, Module)> = OnceLock::new();
    MODULE.get_or_init(|| {
        let path =
            if std::env::var_os("OPENCLAW_WASM").is_some_and(|what| what == "build") { build() } else { module_path() };
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}; run `make wasm` first", path.display()));
        let engine = engine();
        let module = Module::new(&engine, bytes)
            .unwrap_or_else(|error| panic!("{} is not a WebAssembly module: {error:?}", path.display()));
        (engine, module)
    })
}

/// The names of all exports of the module under test, sorted.
pub fn exports() -> Vec<String> {
    let mut names: Vec<String> = shipped().1.exports().map(|export| export.name().to_owned()).collect();
    names.sort();
    names
}

/// Builds the module from the current sources, quickly and without optimization: for mutation testing, which changes
/// them.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target/wasm-under-test");
    let status = std::process::Command::new("cargo")
        .args(["build", "--quiet", "--lib", "--release", "--locked", "--package", "openclaw-trusted-proxy"])
        .args(["--target", "wasm32-wasip1", "--target-dir"])
        .arg(&target)
        .envs([
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
        ])
        .current_dir(&root)
        .status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "the module cannot be built: {status:?}");
    let packed = target.join("packed.wasm");
    let status = std::process::Command::new("cargo")
        .args(["run", "--quiet", "--locked", "--package", "openclaw-trusted-proxy-pack", "--target-dir"])
        .arg(&target)
        .arg("--")
        .args([&target.join("wasm32-wasip1/release/openclaw_trusted_proxy.wasm"), &packed])
        .current_dir(&root)
        .status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "the module cannot be packed: {status:?}");
    packed
}

/// One VM with the module under test, and its host.
pub struct Host {
    store: Store<State>,
    instance: Instance,
    next_context: u32,
    case: String,
    fuel_per_call: u64,
}

impl Host {
    /// Starts a VM: instantiates the module and brings up the root context, but configures nothing yet.
    pub fn new() -> Self {
        Self::answering(&[])
    }

    /// Starts a VM with a configuration that must be accepted.
    pub fn configured(config: &serde_json::Value) -> Self {
        let mut host = Self::new();
        let accepted = host.configure(config.to_string().as_bytes());
        assert!(accepted, "the configuration was refused: {}\n{}", config, host.log_text());
        host
    }

    /// Starts a VM that answers calls of these names with these statuses, from the first instruction on.
    pub fn answering(answers: &[(&str, Status)]) -> Self {
        let (engine, module) = shipped();
        Self::start(engine, module, answers)
    }

    fn start(engine: &Engine, module: &Module, answers: &[(&str, Status)]) -> Self {
        let mut linker = Linker::new(engine);
        let mut store = Store::new(engine, State::default());
        for (call, status) in answers {
            store.data_mut().answer(call, None, *status);
        }
        let instance = imports::define(&mut linker)
            .and_then(|()| linker.define_unknown_imports_as_traps(module))
            .and_then(|()| store.set_fuel(FUEL_PER_CALL))
            .and_then(|()| linker.instantiate(&mut store, module))
            .unwrap_or_else(|error| panic!("the module cannot be instantiated: {error:?}"));
        let mut host = Self { store, instance, next_context: ROOT, case: String::new(), fuel_per_call: FUEL_PER_CALL };
        assert!(
            host.exports("proxy_abi_version_0_2_1"),
            "the module does not export proxy_abi_version_0_2_1; Envoy would reject it"
        );
        // A reactor has `_initialize`, a command has `_start`; hosts call the one that exists.
        let entry = if host.exports("_initialize") { "_initialize" } else { "_start" };
        host.enter::<_, ()>(0, entry, ());
        host.add_root();
        host
    }

    /// Adds the name of the current case to every later failure message.
    pub fn in_case(&mut self, case: impl Into<String>) {
        self.case = case.into();
    }

    /// Lets every later call burn up to `fuel`: for policies that are larger than usual.
    pub fn allow_fuel(&mut self, fuel: u64) {
        self.fuel_per_call = fuel;
    }

    // ---- the life of the plugin ----

    /// Creates one more root context, as Envoy does for a new configuration; returns its id.
    pub fn add_root(&mut self) -> u32 {
        let id = self.create_context(0);
        let started = self.enter::<_, i32>(id, "proxy_on_vm_start", (id, 0)).is_none_or(|ok| ok != 0);
        assert!(started, "proxy_on_vm_start returned false{}", self.suffix());
        id
    }

    /// Gives a root context the name of its plugin.
    pub fn name_root(&mut self, root: u32, name: &str) {
        self.state().names.insert(root, name.to_owned());
    }

    /// Shares data with another VM from now on, as VMs with one `vm_id` do.
    pub fn share_with(&mut self, other: &Self) {
        self.state().shared = std::sync::Arc::clone(&other.store.data().shared);
    }

    /// Configures the first root context; false means that it was refused.
    pub fn configure(&mut self, config: &[u8]) -> bool {
        self.configure_root(ROOT, config)
    }

    /// Configures a root context; false means that it was refused.
    pub fn configure_root(&mut self, root: u32, config: &[u8]) -> bool {
        self.state().configuration = config.to_vec();
        let size = u32::try_from(config.len()).unwrap();
        self.enter::<_, i32>(root, "proxy_on_configure", (root, size)).is_none_or(|ok| ok != 0)
    }

    /// Removes a root context, as Envoy does after its configuration was refused or replaced.
    pub fn remove_root(&mut self, root: u32) {
        self.remove_context(root);
    }

    /// Calls the timer of the first root context once.
    pub fn tick(&mut self) {
        self.tick_root(ROOT);
    }

    /// Calls the timer of a root context once.
    pub fn tick_root(&mut self, root: u32) {
        self.enter::<_, ()>(root, "proxy_on_tick", root);
    }

    // ---- the life of a request ----

    /// Runs a request from its first byte to its log entry.
    pub fn send(&mut self, request: &Request) -> Exchange {
        self.send_under(ROOT, request)
    }

    /// Like [`Host::send`], under another root context.
    pub fn send_under(&mut self, root: u32, request: &Request) -> Exchange {
        let id = self.open_under(root, request);
        self.request_headers(id);
        self.finish(id)
    }

    /// Opens a stream without passing it the headers yet; returns its id.
    pub fn open(&mut self, request: &Request) -> u32 {
        self.open_under(ROOT, request)
    }

    /// Like [`Host::open`], under another root context.
    pub fn open_under(&mut self, root: u32, request: &Request) -> u32 {
        let id = self.next_context;
        let stream = StreamState::new(request.clone());
        self.state().streams.insert(id, stream);
        self.create_context(root)
    }

    /// Passes a stream its request headers.
    pub fn request_headers(&mut self, id: u32) -> Action {
        let stream = self.stream(id);
        let (count, end) = (u32::try_from(stream.headers.len()).unwrap(), u32::from(stream.request.end_of_stream));
        let action =
            self.enter::<_, i32>(id, "proxy_on_request_headers", (id, count, end)).map_or(Action::Continue, |action| {
                match action {
                    0 => Action::Continue,
                    1 => Action::Pause,
                    other => panic!("proxy_on_request_headers returned {other}{}", self.suffix()),
                }
            });
        let fuel = self.state().fuel;
        let stream = self.stream(id);
        (stream.action, stream.fuel) = (Some(action), fuel);
        action
    }

    /// Ends a stream and returns its outcome.
    ///
    /// Before that, it passes bodies, trailers and the response to the module, as Envoy does if the module has the
    /// callbacks. A filter of request headers lets all of them pass.
    pub fn finish(&mut self, id: u32) -> Exchange {
        let stream = self.stream(id);
        let went_on = stream.action == Some(Action::Continue) && stream.response.is_none();
        let answered = went_on || stream.response.is_some();
        if went_on && !stream.request.end_of_stream {
            self.pass(id, "proxy_on_request_body", (id, 0, 0));
            self.pass(id, "proxy_on_request_trailers", (id, 1));
        }
        if answered {
            self.pass(id, "proxy_on_response_headers", (id, 1, 0));
            self.pass(id, "proxy_on_response_body", (id, 0, 1));
        }
        self.remove_context(id);
        let state = self.state();
        let stream = state.streams.remove(&id).unwrap();
        let calls = state.calls.iter().filter(|call| call.context == id).cloned().collect();
        Exchange {
            action: stream.action.expect("the stream never got its headers"),
            headers: stream.headers,
            response: stream.response,
            properties: stream.properties,
            calls,
            fuel: stream.fuel,
        }
    }

    /// Gives an open stream another value of a property.
    pub fn set_property(&mut self, id: u32, path: &[&str], value: impl Into<Vec<u8>>) {
        self.stream(id).request.properties.insert(path.join("\0").into_bytes(), value.into());
    }

    /// Sets a property of an open stream, as another filter would.
    pub fn leave(&mut self, id: u32, name: &str, value: &str) {
        self.stream(id).properties.push((name.to_owned(), value.into()));
    }

    /// Whether the module has closed an open stream.
    pub fn is_closed(&mut self, id: u32) -> bool {
        self.stream(id).closed
    }

    /// Ends a stream that never got its headers.
    pub fn abandon(&mut self, id: u32) {
        self.remove_context(id);
        self.state().streams.remove(&id);
    }

    fn pass<P: WasmParams>(&mut self, id: u32, callback: &str, params: P) {
        let action = self.enter::<_, i32>(id, callback, params).unwrap_or_default();
        assert_eq!(action, 0, "{callback} holds the stream back{}", self.suffix());
    }

    fn create_context(&mut self, parent: u32) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        self.state().contexts.insert(id);
        self.state().roots.insert(id, if parent == 0 { id } else { parent });
        self.enter::<_, ()>(id, "proxy_on_context_create", (id, parent));
        id
    }

    fn remove_context(&mut self, id: u32) {
        self.enter::<_, i32>(id, "proxy_on_done", id);
        self.enter::<_, ()>(id, "proxy_on_log", id);
        self.enter::<_, ()>(id, "proxy_on_delete", id);
        self.state().contexts.remove(&id);
    }

    // ---- what the test steers ----

    /// From now on, answers every call of that name with `status` and does nothing else.
    pub fn answer(&mut self, call: &str, status: Status) {
        self.state().answer(call, None, status);
    }

    /// Answers only the nth call of that name from now on, counted from one.
    pub fn answer_nth(&mut self, call: &str, nth: usize, status: Status) {
        self.state().answer(call, Some(nth), status);
    }

    /// From now on, reports every buffer with its size, but passes a null pointer.
    pub fn hand_over_null(&mut self) {
        self.state().null_buffers = true;
    }

    /// Answers every call normally again.
    pub fn answer_honestly(&mut self) {
        self.state().answers.clear();
        self.state().null_buffers = false;
    }

    /// Advances the clock; it never advances by itself.
    pub fn advance(&mut self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap();
        self.state().clock += nanoseconds;
    }

    /// Sets the clock back.
    pub fn set_back(&mut self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap();
        self.state().clock -= nanoseconds;
    }

    /// Sets a value that VMs share, as another one would.
    pub fn share(&mut self, key: &[u8], value: &[u8]) {
        let mut shared = self.state().shared.lock().unwrap();
        let version = shared.get(key).map_or(1, |(_, version)| version + 1);
        shared.insert(key.to_vec(), (value.to_vec(), version));
    }

    // ---- what the test reads ----

    /// Every host call so far, in order.
    pub fn calls(&self) -> &[Call] {
        &self.store.data().calls
    }

    /// The host calls since the last call of this function. A test that sends many requests should take them
    /// regularly, because each request is looked up among all calls.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// Every log line so far, in order, including what the module writes to stdout and stderr.
    pub fn logs(&self) -> &[Log] {
        &self.store.data().logs
    }

    /// The log lines since the last call of this function.
    pub fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.state().logs)
    }

    /// The value of a metric; `None` if it was never defined.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.store.data().metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    /// The names and values of all metrics that are not zero.
    pub fn metrics(&self) -> Vec<(String, u64)> {
        let counted = self.store.data().metrics.iter().filter(|metric| metric.value != 0);
        counted.map(|metric| (metric.name.clone(), metric.value)).collect()
    }

    /// The period of the timer that the plugin requested; zero means no timer.
    pub fn tick_period(&self) -> Duration {
        Duration::from_millis(self.store.data().tick_period.into())
    }

    /// The period of the timer of a root context; zero means no timer.
    pub fn tick_period_of(&self, root: u32) -> Duration {
        Duration::from_millis(self.store.data().tick_periods.get(&root).copied().unwrap_or_default().into())
    }

    /// The fuel that the last call into the module burnt.
    pub fn fuel(&self) -> u64 {
        self.store.data().fuel
    }

    /// The size of the module's linear memory.
    pub fn memory_bytes(&mut self) -> usize {
        self.instance.get_memory(&mut self.store, "memory").map_or(0, |memory| memory.data_size(&self.store))
    }

    // ---- inside ----

    fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    fn stream(&mut self, id: u32) -> &mut StreamState {
        self.state().streams.get_mut(&id).unwrap_or_else(|| panic!("no stream {id}"))
    }

    fn exports(&mut self, name: &str) -> bool {
        self.instance.get_func(&mut self.store, name).is_some()
    }

    fn suffix(&self) -> String {
        if self.case.is_empty() { String::new() } else { format!(" ({})", self.case) }
    }

    fn log_text(&self) -> String {
        self.logs().iter().map(|log| format!("  {log}\n")).collect()
    }

    /// Calls an export for a context; `None` if the module does not have it, in which case Envoy skips the call.
    fn enter<P: WasmParams, R: WasmResults>(&mut self, context: u32, name: &str, params: P) -> Option<R> {
        let function = self.instance.get_func(&mut self.store, name)?;
        let function = function
            .typed::<P, R>(&self.store)
            .unwrap_or_else(|error| panic!("the export {name} has the wrong type: {error}"));
        self.state().effective_context = context;
        let outcome = self
            .store
            .set_fuel(self.fuel_per_call)
            .and_then(|()| function.call(&mut self.store, params))
            .unwrap_or_else(|trap| panic!("trap in {name}{}: {trap:?}\n{}", self.suffix(), self.log_text()));
        let left = self.store.get_fuel().unwrap_or_default();
        self.state().fuel = self.fuel_per_call - left;
        Some(outcome)
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}
