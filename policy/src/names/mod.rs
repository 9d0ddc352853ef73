//! Header names: which ones the filter manages, and which ones fold like those (contract, section 5).

mod lists;
mod table;

pub(crate) use lists::folds_to_start_with;
pub use lists::{SCOPES_HEADER, fold_alike, folded, is_built_in};
pub use table::{Class, Names, Naming, Seen};
