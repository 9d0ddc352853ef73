//! Tests that the documentation matches the code, and that every command and configuration in it is run.

mod book;
mod borders;
mod compatibility;
mod contract;
mod dashboard;
mod prose;
mod proxies;
mod readme;
mod security;
