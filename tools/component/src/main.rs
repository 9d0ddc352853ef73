//! Turns a core module, in which `wit-bindgen` embedded its world, into a component and checks it.
//!
//! usage: componentize MODULE COMPONENT
//!        componentize same-interface COMPONENT COMPONENT

use std::process::ExitCode;

use wit_component::{ComponentEncoder, WitPrinter};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["same-interface", one, other] => same_interface(one, other),
        [module, component] => componentize(module, component),
        _ => {
            eprintln!("usage: componentize MODULE COMPONENT, or componentize same-interface COMPONENT COMPONENT");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("componentize: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))
}

fn componentize(module: &str, component: &str) -> Result<(), String> {
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&read(module)?)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("cannot make a component from {module}: {error:#}"))?;
    std::fs::write(component, encoded).map_err(|error| format!("cannot write {component}: {error}"))
}

/// The interface of a component, in WIT.
fn interface(file: &str) -> Result<String, String> {
    let bytes = read(file)?;
    let decoded = wit_component::decode(&bytes).map_err(|error| format!("{file} is not a component: {error:#}"))?;
    let (resolve, own) = (decoded.resolve(), decoded.package());
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != own).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, own, &others).map_err(|error| format!("cannot print the interface of {file}: {error:#}"))?;
    Ok(printer.output.to_string())
}

fn same_interface(one: &str, other: &str) -> Result<(), String> {
    let (first, second) = (interface(one)?, interface(other)?);
    if first == second {
        println!("{one} and {other} have the same interface:\n{first}");
        return Ok(());
    }
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    let (first, second) = differs.unwrap_or(("(one has more)", "(than the other)"));
    Err(format!("{one} and {other} differ in their interface, first here:\n  {first}\n  {second}"))
}
