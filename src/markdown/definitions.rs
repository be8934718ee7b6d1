//! Link definitions of text that is parsed no more, for the references that come later.

use pulldown_cmark::{BrokenLink, CowStr};
use std::collections::HashMap;

/// By label, in lower case; the first definition of a label counts.
#[derive(Debug, Default)]
pub struct Definitions(HashMap<String, (String, String)>);

impl Definitions {
    pub fn add(&mut self, label: &str, target: &str, title: Option<&str>) {
        let definition = || (target.to_owned(), title.unwrap_or_default().to_owned());
        self.0
            .entry(label.to_lowercase())
            .or_insert_with(definition);
    }

    pub fn extend(&mut self, later: Self) {
        for (label, definition) in later.0 {
            self.0.entry(label).or_insert(definition);
        }
    }

    /// Target and title of a reference that the parsed text itself does not define.
    pub fn resolve<'a>(&self, reference: &BrokenLink) -> Option<(CowStr<'a>, CowStr<'a>)> {
        if self.0.is_empty() {
            return None;
        }
        let (target, title) = self.0.get(&reference.reference.to_lowercase())?;
        Some((target.clone().into(), title.clone().into()))
    }
}
