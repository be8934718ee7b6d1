//! Markdown blocks: however a text is cut, a reader ends with the blocks of the whole text.

#[path = "markdown/cost.rs"]
mod cost;
#[path = "markdown/examples.rs"]
mod examples;
#[path = "markdown/nodes.rs"]
mod nodes;
#[path = "markdown/pieces.rs"]
mod pieces;
#[path = "markdown/reader.rs"]
mod reader;
