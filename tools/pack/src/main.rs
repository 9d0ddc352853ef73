//! Removes exports that the host must not call from the built module, and the code that only they need.
//!
//! The SDK exports every callback of proxy-wasm. Envoy enters the VM for each exported callback on every request,
//! which costs time, so the released module does not export callbacks that the filter does not use. This tool also
//! replaces the SDK's request callbacks with the filter's own (`src/contexts.rs` explains why), because both cannot
//! have the same name before linking.
//!
//! usage: pack IN OUT

use std::process::ExitCode;

use walrus::{ExportItem, ModuleConfig, passes};

/// The exports of the released module.
const EXPORTS: [&str; 9] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_memory_allocate",
    "proxy_on_request_headers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// The prefix of the callbacks that replace those of the SDK.
const OWN: &str = "guard_on_";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: pack IN OUT");
        return ExitCode::from(2);
    };
    match pack(from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pack: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn pack(from: &str, to: &str) -> Result<(), String> {
    let mut config = ModuleConfig::new();
    config.generate_name_section(false).generate_producers_section(false);
    let mut module = config.parse_file(from).map_err(|error| format!("{from} is not a module: {error:#}"))?;
    for own in module.exports.iter().map(|export| (export.name.clone(), export.id())).collect::<Vec<_>>() {
        let (name, id) = own;
        let Some(callback) = name.strip_prefix(OWN) else { continue };
        let theirs = format!("proxy_on_{callback}");
        let replaced = module.exports.iter().find(|export| export.name == theirs).map(|export| export.id());
        module.exports.delete(replaced.ok_or_else(|| format!("{from} exports {name:?}, but no {theirs:?}"))?);
        module.exports.get_mut(id).name = theirs;
    }
    let needless: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !EXPORTS.contains(&export.name.as_str()))
        .map(|export| export.id())
        .collect();
    for id in needless {
        let export = module.exports.get(id);
        // Anything other than a callback was added by us, or by a toolchain for which this was not written.
        if !export.name.starts_with("proxy_on_") || !matches!(export.item, ExportItem::Function(_)) {
            return Err(format!(
                "{from} exports {:?}, which is not a callback: list it in tools/pack, or build without it",
                export.name
            ));
        }
        module.exports.delete(id);
    }
    for name in EXPORTS {
        if !module.exports.iter().any(|export| export.name == name) {
            return Err(format!("{from} does not export {name:?}"));
        }
    }
    passes::gc::run(&mut module);
    std::fs::write(to, module.emit_wasm()).map_err(|error| format!("cannot write {to}: {error}"))
}
