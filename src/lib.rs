//! Continuo: a chat server whose answers belong to the server, not to the connection. ARCHITECTURE.md is the map.

pub mod chat;
pub mod event;
pub mod generation;
pub mod log;
pub mod model;
pub mod registry;
pub mod store;
pub mod text;
pub mod upstream;
