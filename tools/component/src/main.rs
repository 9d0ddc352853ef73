//! Makes a component of a core module that `wit-bindgen` left its world in, and checks it.
//!
//! usage: componentize MODULE COMPONENT

use std::process::ExitCode;

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: componentize MODULE COMPONENT");
        return ExitCode::from(2);
    };
    match componentize(module, component) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("componentize: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn componentize(module: &str, component: &str) -> Result<(), String> {
    let bytes = std::fs::read(module).map_err(|error| format!("cannot read {module}: {error}"))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{module} makes no component: {error:#}"))?;
    std::fs::write(component, encoded).map_err(|error| format!("cannot write {component}: {error}"))
}
