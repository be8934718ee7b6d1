pub mod event;
pub mod model;
pub mod store;
pub mod text;
pub mod upstream;
