//! The program over real HTTP, with an upstream that the tests drive.
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

#[path = "../support/mod.rs"]
mod support;

mod resume;
mod stop;
