//! Continuo: a chat server whose answers belong to the server, not to the connection. ARCHITECTURE.md is the map.

pub mod auth;
pub mod chat;
pub mod config;
pub mod cursor;
pub mod data_dir;
pub mod demo;
pub mod emitter;
pub mod event;
pub mod feed;
pub mod generation;
pub mod head;
pub mod log;
pub mod markdown;
pub mod model;
pub mod openai;
pub mod problem;
pub mod recorder;
pub mod registry;
pub mod routes;
pub mod server;
pub mod standing;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod upstream;
