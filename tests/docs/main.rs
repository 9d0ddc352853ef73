//! The documentation says what the code does, and every command and configuration in it is run.

mod book;
mod borders;
mod compatibility;
mod dashboard;
mod prose;
mod readme;
mod security;
