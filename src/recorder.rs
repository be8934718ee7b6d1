//! Writes running generations to the store, and to disk for the time in which the store takes nothing.

pub mod spool;
