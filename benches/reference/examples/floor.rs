//! The floor: the same host calls that `sdk` makes for `calls`, made directly, by a minimal module for a filter with
//! state per request: it is called for each request's start, headers and end. Data from the host is freed without
//! being read.
#![allow(unsafe_code)]

use std::ptr::null_mut;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
}

const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;

/// The version of the ABI.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// The host writes the data that it passes here.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// The plugin, or a request, starts.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

/// The VM starts.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> u32 {
    1
}

/// Accepts every configuration.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_: u32, _: usize) -> u32 {
    1
}

/// The headers of a request.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_: u32, _: usize, _: u32) -> u32 {
    let (path, name, value) = ("source\0address", "x-openclaw-scopes", "operator.write");
    let done = receive(|data, size| {
        // SAFETY: the path is a live string; the host writes to the two places it is given.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }
    }) && receive(|data, size| {
        // SAFETY: the host writes to the two places it is given.
        unsafe { proxy_get_header_map_pairs(0, data, size) }
    });
    // SAFETY: name and value are live strings.
    if done && unsafe { proxy_replace_header_map_value(0, name.as_ptr(), name.len(), value.as_ptr(), value.len()) } == 0
    {
        CONTINUE
    } else {
        PAUSE
    }
}

/// Something ends.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_: u32) {}

/// Makes a call that passes data, and frees the data; returns whether there was any.
fn receive(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> bool {
    let (mut data, mut size) = (null_mut::<u8>(), 0_usize);
    if call(&raw mut data, &raw mut size) != 0 || data.is_null() {
        return false;
    }
    // SAFETY: the host has filled what `proxy_on_memory_allocate` made: a boxed slice of exactly this size.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)) });
    true
}
