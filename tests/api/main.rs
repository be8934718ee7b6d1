//! The program over real HTTP, with an upstream that the tests drive.
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod answers;
mod bad_input;
mod bad_requests;
mod blocks;
mod branches;
mod continuing;
mod contract;
mod conversations;
mod deleting;
mod door;
mod drain;
mod emitters;
mod every_door;
mod exchange;
mod feed;
mod idempotency;
mod injection;
mod leases;
mod leaving;
mod limits;
mod lists;
mod matrix;
mod models;
mod outage;
mod outage_auth;
mod page;
mod postgres;
mod proxies;
mod recording;
mod refused;
mod resume;
mod revoking;
mod sampling;
mod schema;
mod stop;
mod titles;
mod tls;
mod tokens;
mod turns;
mod upstream_faults;
mod v1;
mod v1_errors;
mod v1_input;
mod v1_leaving;
mod v1_repeats;
mod v1_store;
mod walls;
