//! Runs the fuzz targets without a fuzzer: on every kept input, and on a short random budget that is the same in
//! every run.

use std::path::PathBuf;

use model::choices::{self, Choices};
use model::targets;

/// The kept inputs of one target, by file name, and those in the folder that `FUZZ_CORPUS` names, if it is set.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = |of_all: PathBuf| {
        let folder = of_all.join(target);
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("no kept inputs in {}: {error}", folder.display()))
    };
    let grown = std::env::var_os("FUZZ_CORPUS").map(PathBuf::from);
    let grown = grown.filter(|corpus| corpus.join(target).exists()).map(folder);
    let mut inputs: Vec<_> = folder(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds"))
        .chain(grown.into_iter().flatten())
        .map(|file| {
            let path = file.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs a target; the message names the input if it fails.
fn run(target: fn(&[u8]), name: &str, input: &[u8]) {
    let result = std::panic::catch_unwind(|| target(input));
    assert!(result.is_ok(), "the target fails on {name}: {}", input.escape_ascii());
}

#[test]
fn every_kept_input_passes_its_target() {
    for (name, target) in targets::ALL {
        let inputs = kept(name);
        assert!(inputs.len() > 2, "only {} kept inputs for {name}", inputs.len());
        for (file, input) in &inputs {
            run(target, file, input);
        }
        println!("{name}: {} kept inputs", inputs.len());
    }
}

#[test]
fn a_short_random_budget_passes_every_target() {
    let budget: u64 = std::env::var("FUZZ_BUDGET").map_or(250, |text| text.parse().expect("FUZZ_BUDGET is a number"));
    for (at, (name, target)) in targets::ALL.into_iter().enumerate() {
        let inputs = kept(name);
        for round in 0..budget {
            let seed = round * 31 + at as u64;
            let random = choices::bytes(seed, 300);
            let mut choices = Choices::new(&random);
            let mut input = match choices.pick(&inputs) {
                (_, input) if !choices.one_in(4) => input.clone(),
                _ => choices::bytes(seed + 1, choices.below(200)),
            };
            for _ in 0..=choices.below(6) {
                change(&mut input, &inputs, &mut choices);
            }
            run(target, &format!("{name}, round {round}"), &input);
        }
    }
}

/// One change of the kind that a fuzzer makes: a byte, a cut, a repeated stretch, or a piece of another input.
fn change(input: &mut Vec<u8>, others: &[(String, Vec<u8>)], choices: &mut Choices<'_>) {
    let at = choices.below(input.len().max(1)).min(input.len());
    let end = (at + 1 + choices.below(12)).min(input.len());
    match choices.below(5) {
        0 if at < input.len() => input[at] = choices.byte(),
        1 => input.insert(at, *choices.pick(b"\n,:/.%[]@*x0 \xFF")),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let (_, other) = choices.pick(others);
            let from = choices.below(other.len().max(1)).min(other.len());
            let piece = other[from..(from + 16).min(other.len())].to_vec();
            input.splice(at..at, piece);
        }
    }
}
