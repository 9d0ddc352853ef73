//! The calls of the proxy-wasm ABI 0.2.1, as `Result`s over bytes. This is the only file with `unsafe` code.
//!
//! The SDK's own wrappers panic on unexpected statuses, which is an outage, and copy every header once more. The
//! functions here make the calls directly.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::OnceLock;

/// The host's id of a plugin or a request.
pub(crate) type Id = u32;

/// The status of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostError(#[allow(dead_code, reason = "shown when the error is printed")] u32);

impl HostError {
    /// The host answered, but not with what it should have.
    pub(crate) const UNEXPECTED: Self = Self(u32::MAX);
}

type Result<T> = std::result::Result<T, HostError>;

/// The ABI's number for the map of request headers.
const REQUEST_HEADERS: u32 = 0;
/// The ABI's number for the buffer that holds the plugin configuration.
const PLUGIN_CONFIGURATION: u32 = 7;

/// Levels of log lines, with the ABI's numbers.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Kinds of metrics, with the ABI's numbers.
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
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
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
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, version: u32) -> u32;
}

/// Turns a status of the ABI into a result. The status `Ok` is 0.
const fn check(status: u32) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(HostError(status)) }
}

/// Makes a call that returns a buffer.
fn receive(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut::<u8>(), 0_usize);
    check(call(&raw mut data, &raw mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: on success, the host has allocated `size` bytes through the module's `proxy_on_memory_allocate`, which
    // makes a boxed slice of exactly that size with the global allocator. The host has passed on its ownership.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Reads a property, which is the bytes of an attribute. The segments of `path` are separated by NULs.
pub(crate) fn property(path: &[u8]) -> Result<Vec<u8>> {
    // SAFETY: the pointer and length are those of a live slice; the host writes to the two places it is given.
    receive(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Sets a property. Envoy stores it as filter state with the key `wasm.` and the path.
pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: both pairs of pointer and length are those of live slices.
    check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// Declares that a property keeps the first value that it gets, as long as the request lives. No other Wasm filter can
/// replace it then, because it is read-only, and no other filter, because filter state that lives as long as its stream
/// alone cannot have the same name.
pub(crate) fn declare_fixed(path: &'static str) -> Result<()> {
    const FUNCTION: &str = "declare_property";
    // `envoy.source.extensions.common.wasm.DeclarePropertyArguments`: the name; read-only; a string; the life span of a
    // downstream request.
    let length = u8::try_from(path.len()).map_err(|_| HostError::UNEXPECTED)?;
    let arguments = [&[0x0A, length], path.as_bytes(), &[0x10, 1, 0x18, 1, 0x28, 1]].concat();
    // SAFETY: both pairs of pointer and length are those of live slices; the host writes to the two places it is given.
    let call = |data, size| unsafe {
        proxy_call_foreign_function(FUNCTION.as_ptr(), FUNCTION.len(), arguments.as_ptr(), arguments.len(), data, size)
    };
    receive(call).map(drop)
}

/// Reads the request's headers, serialized.
pub(crate) fn request_headers() -> Result<Vec<u8>> {
    // SAFETY: the host writes to the two places it is given.
    receive(|data, size| unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, data, size) })
}

/// Replaces all request headers of this name with a single one that has this value.
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

/// Reads `size` bytes of the plugin configuration.
pub(crate) fn plugin_configuration(size: usize) -> Result<Vec<u8>> {
    // SAFETY: the host writes to the two places it is given.
    receive(|data, received| unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, received) })
}

/// Replies to the request instead of the upstream. `headers` is a serialized map.
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

/// Defines a metric, or finds the existing one with this name. Returns its id.
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

/// The time in nanoseconds since 1970.
pub(crate) fn now() -> Result<u64> {
    let mut time = 0;
    // SAFETY: the host writes to the place it is given.
    check(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

/// The time in seconds since 1970. 0 if the host does not provide it.
pub(crate) fn seconds() -> u64 {
    const SECOND: u64 = 1_000_000_000;
    now().unwrap_or_default() / SECOND
}

/// Sets the interval of the timer. 0 stops it.
pub(crate) fn set_tick_period(milliseconds: u32) -> Result<()> {
    // SAFETY: a plain number.
    check(unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

/// Whether the host still has a context with this id. The calls that follow act for that context: see [`act_for`].
pub(crate) fn has_context(id: Id) -> bool {
    /// The status `BadArgument`. Any other status does not mean that there is no such context.
    const NO_CONTEXT: u32 = 2;
    // SAFETY: a plain number.
    (unsafe { proxy_set_effective_context(id) }) != NO_CONTEXT
}

/// Makes the calls that follow act for this context, until the callback ends.
pub(crate) fn act_for(id: Id) {
    // SAFETY: a plain number.
    let _ = unsafe { proxy_set_effective_context(id) };
}

/// Whether the request that the calls act for has ended already. Envoy keeps it for a moment after that.
pub(crate) fn has_ended() -> bool {
    // Envoy knows the duration of a request only when it has ended.
    property(b"request\0duration").is_ok()
}

/// Ends the request that the calls act for, with its response, however far these are: Envoy resets the stream.
pub(crate) fn close_stream() -> Result<()> {
    /// The ABI's number for a request's stream.
    const REQUEST: u32 = 0;
    // SAFETY: a plain number.
    check(unsafe { proxy_close_stream(REQUEST) })
}

/// A value that the VMs with one `vm_id` share, and the number of its version. `None` if there is none.
pub(crate) fn shared(key: &[u8]) -> Option<(Vec<u8>, u32)> {
    let mut version = 0;
    // SAFETY: the pointer and length are those of a live slice; the host writes to the three places it is given.
    let value =
        receive(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version) });
    Some((value.ok()?, version))
}

/// Sets a value that the VMs with one `vm_id` share, if it still has this version. 0 stands for any version.
pub(crate) fn set_shared(key: &[u8], value: &[u8], version: u32) -> Result<()> {
    // SAFETY: both pairs of pointer and length are those of live slices.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) })
}

/// Writes a line to Envoy's log.
pub(crate) fn log(level: LogLevel, message: &str) -> Result<()> {
    // SAFETY: the pointer and length are those of a live string.
    check(unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) })
}

// Callbacks. They cannot have the names that the host calls, because the SDK always exports functions with those names.
// `tools/pack` replaces the SDK's functions with these.

unsafe extern "C" {
    // The SDK's functions for plugins. They must not be called from a callback of a plugin: the SDK's tables are
    // borrowed then.
    fn proxy_on_context_create(id: u32, plugin: u32);
    fn proxy_on_configure(id: u32, size: usize) -> bool;
    fn proxy_on_tick(id: u32);
    fn proxy_on_delete(id: u32);
}

/// The functions that handle the host's callbacks. They are registered, so that this file depends on no other.
#[derive(Debug)]
pub(crate) struct Callbacks {
    /// A plugin starts.
    pub(crate) plugin: fn(id: Id),
    /// A request of a plugin starts.
    pub(crate) request: fn(id: Id, plugin: Id),
    /// The headers of a request have arrived. Returns whether the request continues.
    pub(crate) request_headers: fn(id: Id) -> bool,
    /// A plugin is about to be configured.
    pub(crate) before_configure: fn(id: Id),
    /// A plugin was configured, or kept the configuration that it had.
    pub(crate) after_configure: fn(id: Id),
    /// A plugin is about to handle its timer.
    pub(crate) before_tick: fn(id: Id),
}

static CALLBACKS: OnceLock<&'static Callbacks> = OnceLock::new();

/// Registers the functions that handle callbacks. Called once, when the VM starts.
pub(crate) fn register(callbacks: &'static Callbacks) {
    // Only this crate registers, once. If there were a second call, the first one would stay in force.
    let _ = CALLBACKS.set(callbacks);
}

/// A plugin starts, or a request of one.
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

/// The headers of a request have arrived. Returns 0 if the request continues, and 1 if it does not.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_request_headers(id: Id, _count: usize, _end_of_stream: u32) -> u32 {
    let goes_on = CALLBACKS.get().is_some_and(|callbacks| (callbacks.request_headers)(id));
    u32::from(!goes_on)
}

/// A plugin gets its configuration. Returns whether it accepts the configuration.
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

/// A plugin's timer fires.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn guard_on_tick(id: Id) {
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.before_tick)(id);
    }
    // SAFETY: a plain number; the SDK defines the function with this signature.
    unsafe { proxy_on_tick(id) };
}

/// Ends a plugin that the SDK knows.
pub(crate) fn end_plugin(id: Id) {
    // SAFETY: a plain number; the SDK defines the function with this signature. It is only called from the callbacks
    // above, when no function of the SDK is running.
    unsafe { proxy_on_delete(id) };
}
