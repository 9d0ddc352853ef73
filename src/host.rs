//! Host calls as `Result`s over bytes. The only file with `unsafe` in it.
//!
//! The SDK's own wrappers panic on statuses that they do not expect and copy every header once more; a panic here is
//! an outage. These make the calls of the proxy-wasm ABI 0.2.1 straight.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::OnceLock;

/// The host's number of a plugin or of a request.
pub(crate) type Id = u32;

/// A status other than `Ok` that the host answered a call with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostError(#[allow(dead_code, reason = "shown when the error is printed")] u32);

type Result<T> = std::result::Result<T, HostError>;

/// The map of request headers, in the numbering of the ABI.
const REQUEST_HEADERS: u32 = 0;
/// The buffer that holds the plugin configuration.
const PLUGIN_CONFIGURATION: u32 = 7;

/// How serious a log line is, in the numbering of the ABI.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Kinds of metrics, in the numbering of the ABI.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, limit: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
}

/// `Ok` of the ABI is 0.
const fn check(status: u32) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(HostError(status)) }
}

/// Makes a call that hands over a buffer.
fn receive(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut::<u8>(), 0_usize);
    check(call(&raw mut data, &raw mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: on success the host has allocated `size` bytes through the module's `proxy_on_memory_allocate`, which
    // makes a boxed slice of exactly that size with the global allocator, and it has handed its ownership over.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// A property: the bytes of an attribute. `path` has its segments separated by NULs.
pub(crate) fn property(path: &[u8]) -> Result<Vec<u8>> {
    // SAFETY: the pointer and length are those of a live slice; the host writes to the two places it is given.
    receive(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Sets a property, which Envoy keeps as filter state under `wasm.` and the path.
pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: both pairs of pointer and length are those of live slices.
    check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// The request's headers, serialized.
pub(crate) fn request_headers() -> Result<Vec<u8>> {
    // SAFETY: the host writes to the two places it is given.
    receive(|data, size| unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, data, size) })
}

/// Leaves one request header of this name, with this value.
pub(crate) fn set_request_header(name: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: both pairs of pointer and length are those of live slices.
    check(unsafe {
        proxy_replace_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes all request headers of this name.
pub(crate) fn remove_request_header(name: &[u8]) -> Result<()> {
    // SAFETY: the pointer and length are those of a live slice.
    check(unsafe { proxy_remove_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len()) })
}

/// The plugin configuration, `size` bytes of it.
pub(crate) fn plugin_configuration(size: usize) -> Result<Vec<u8>> {
    // SAFETY: the host writes to the two places it is given.
    receive(|data, received| unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, received) })
}

/// Answers the request in the upstream's place. `headers` is a serialized map.
pub(crate) fn send_local_response(status: u16, headers: &[u8], body: &[u8]) -> Result<()> {
    const NO_DETAILS: &[u8] = &[];
    const NO_GRPC_STATUS: i32 = -1;
    // SAFETY: every pair of pointer and length is that of a live slice.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            NO_DETAILS.as_ptr(),
            NO_DETAILS.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Defines a metric, or finds the one that has the name already.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: the pointer and length are those of a live string; the host writes to the place it is given.
    check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds to a counter.
pub(crate) fn increment_metric(id: u32, by: i64) -> Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { proxy_increment_metric(id, by) })
}

/// Sets a gauge.
pub(crate) fn record_metric(id: u32, value: u64) -> Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { proxy_record_metric(id, value) })
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> Result<u64> {
    let mut time = 0;
    // SAFETY: the host writes to the place it is given.
    check(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

/// How long counts wait that are reported once in a while: admitted requests, and refusals left out of the log.
pub(crate) const TICK_MILLISECONDS: u32 = 1_000;

/// Asks for a tick every `milliseconds`; 0 ends them.
pub(crate) fn set_tick_period(milliseconds: u32) -> Result<()> {
    // SAFETY: a plain number.
    check(unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

/// Whether the host still has a context of this number. From here on it takes calls as that context's: see [`act_for`].
pub(crate) fn has_context(id: Id) -> bool {
    /// `BadArgument` of the ABI. A host that answers anything else does not say that there is none.
    const NO_CONTEXT: u32 = 2;
    // SAFETY: a plain number.
    (unsafe { proxy_set_effective_context(id) }) != NO_CONTEXT
}

/// Lets the host take calls as this context's, until the callback ends.
pub(crate) fn act_for(id: Id) {
    // SAFETY: a plain number.
    let _ = unsafe { proxy_set_effective_context(id) };
}

/// Writes a line to Envoy's log.
pub(crate) fn log(level: LogLevel, message: &str) -> Result<()> {
    // SAFETY: the pointer and length are those of a live string.
    check(unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) })
}

// Callbacks. Their names are not the host's: the SDK has those, and exports them whether they are needed or not.
// `tools/pack` puts these in their place.

unsafe extern "C" {
    // The SDK's, for plugins. They must not be called out of a callback of a plugin's: the SDK has its tables
    // borrowed then.
    fn proxy_on_context_create(id: u32, plugin: u32);
    fn proxy_on_configure(id: u32, size: usize) -> bool;
    fn proxy_on_tick(id: u32);
    fn proxy_on_delete(id: u32);
}

/// What the host's callbacks lead to. This file knows nothing about those who handle them.
#[derive(Debug)]
pub(crate) struct Callbacks {
    /// A plugin begins.
    pub(crate) plugin: fn(id: Id),
    /// A request of a plugin begins.
    pub(crate) request: fn(id: Id, plugin: Id),
    /// The headers of a request are there; whether it goes on.
    pub(crate) request_headers: fn(id: Id) -> bool,
    /// A plugin is about to be configured.
    pub(crate) before_configure: fn(id: Id),
    /// A plugin was configured, or kept what it had.
    pub(crate) after_configure: fn(id: Id),
    /// A plugin's timer fired, and the plugin did its own part.
    pub(crate) after_tick: fn(id: Id),
}

static CALLBACKS: OnceLock<&'static Callbacks> = OnceLock::new();

/// Registers what the callbacks lead to; once, when the VM starts.
pub(crate) fn register(callbacks: &'static Callbacks) {
    // A second registration would be ours, and the first one stays.
    let _ = CALLBACKS.set(callbacks);
}

/// A plugin begins, or a request of one.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_context_create(id: Id, plugin: Id) {
    let Some(callbacks) = CALLBACKS.get() else { return };
    if plugin == 0 {
        (callbacks.plugin)(id);
        // SAFETY: plain numbers; the SDK defines the function with this signature.
        unsafe { proxy_on_context_create(id, 0) };
    } else {
        (callbacks.request)(id, plugin);
    }
}

/// The headers of a request: 0 lets it go on, 1 does not.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_request_headers(id: Id, _count: usize, _end_of_stream: u32) -> u32 {
    let goes_on = CALLBACKS.get().is_some_and(|callbacks| (callbacks.request_headers)(id));
    u32::from(!goes_on)
}

/// A plugin gets its configuration; whether it takes it.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_configure(id: Id, size: usize) -> bool {
    let Some(callbacks) = CALLBACKS.get() else { return false };
    (callbacks.before_configure)(id);
    // SAFETY: plain numbers; the SDK defines the function with this signature.
    let taken = unsafe { proxy_on_configure(id, size) };
    (callbacks.after_configure)(id);
    taken
}

/// The timer of a plugin.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_tick(id: Id) {
    // SAFETY: a plain number; the SDK defines the function with this signature.
    unsafe { proxy_on_tick(id) };
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.after_tick)(id);
    }
}

/// Ends a plugin that the SDK knows.
pub(crate) fn end_plugin(id: Id) {
    // SAFETY: a plain number; the SDK defines the function with this signature. Only the callbacks above lead here,
    // and none of the SDK's functions is running then.
    unsafe { proxy_on_delete(id) };
}
