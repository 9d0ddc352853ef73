//! Takes out of the built module what its host shall not call, and the code that only that needed.
//!
//! The SDK exports every callback that proxy-wasm knows. Envoy enters the VM for each that is exported, on every
//! request, and each entry costs; what the filter has no use for is therefore not exported by what ships. And it
//! puts the filter's own callbacks of requests in the place of the SDK's (`src/contexts.rs` says why): both cannot
//! have the same name before.
//!
//! usage: pack IN OUT

use std::process::ExitCode;

use walrus::{ExportItem, ModuleConfig, passes};

/// What ships exports, and nothing else.
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

/// The beginning of the names of callbacks that replace the SDK's of the same name.
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
    let mut module = config.parse_file(from).map_err(|error| format!("{from} is no module: {error:#}"))?;
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
        // Anything but a callback was put there by us, or by a toolchain that this was not written for.
        if !export.name.starts_with("proxy_on_") || !matches!(export.item, ExportItem::Function(_)) {
            return Err(format!(
                "{from} exports {:?}, which is no callback: list it in tools/pack, or build without it",
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
