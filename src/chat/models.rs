//! Which models there are, and which one answers when none is asked for: one look-up for everybody who wants to know.

use super::{Chat, ending::of_upstream};
use crate::{
    model::Problem,
    upstream::{Failure, Upstream, UpstreamError},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long the upstream's list is waited for, and how long it counts, or that it did not come.
const PATIENCE: Duration = Duration::from_secs(3);
const KEPT: Duration = Duration::from_secs(30);
/// More are not listed.
const AT_MOST: usize = 1000;

/// What the upstream listed last, and when.
#[derive(Default)]
pub(super) struct Models(Mutex<Option<(Instant, List)>>);

type List = Result<Arc<[String]>, UpstreamError>;

/// The models that can be asked for.
#[derive(Debug)]
pub struct ModelList {
    pub ids: Arc<[String]>,
    /// The one that answers when neither the request nor the conversation names one, as far as that is known.
    pub default: Option<String>,
    /// Why there are none.
    pub problem: Option<Problem>,
}

impl Chat {
    /// Our own names for models, and what the upstream lists; the latter nothing, and why, when it does not.
    pub async fn models(&self, upstream: &Upstream) -> ModelList {
        let list = self.models.list(upstream).await;
        let problem = match &list {
            Ok(ids) if ids.is_empty() => Some(Problem::new(
                502,
                "no-models",
                "The model server lists no models",
                "it answers, but its list is empty; load a model there, or name one in `upstream.model`",
            )),
            Ok(_) => None,
            Err(error) => Some(of_upstream(error)),
        };
        let listed = list.unwrap_or_default();
        let configured = self.options.model.clone();
        let aliases = &self.options.aliases;
        let others = listed.iter().filter(|id| !aliases.contains_key(*id));
        ModelList {
            default: configured.or_else(|| listed.first().cloned()),
            ids: aliases.keys().chain(others).cloned().collect(),
            problem,
        }
    }

    /// What is asked for, by what the upstream calls it, else what is configured, else the first that the upstream lists, else `default`: a missing list fails nothing.
    pub async fn model(&self, upstream: &Upstream, asked: Option<String>) -> String {
        if let Some(model) = asked.or_else(|| self.options.model.clone()) {
            return self.options.aliases.get(&model).cloned().unwrap_or(model);
        }
        let list = self.models.list(upstream).await.unwrap_or_default();
        let first = list.first().cloned();
        first.unwrap_or_else(|| "default".to_owned())
    }
}

impl Models {
    async fn list(&self, upstream: &Upstream) -> List {
        // Held over the look-up: those who come meanwhile share its answer, also when it is that there is none.
        let mut kept = self.0.lock().await;
        if let Some((at, list)) = &*kept
            && at.elapsed() < KEPT
        {
            return list.clone();
        }
        let listed = timeout(PATIENCE, upstream.models()).await;
        let is_late = listed.is_err();
        let list: List = match listed {
            Ok(ids) => ids.map(askable),
            Err(_) => Err(UpstreamError {
                kind: Failure::Late,
                message: format!(
                    "the upstream did not list its models within {} s",
                    PATIENCE.as_secs()
                ),
                status: None,
                retry_after: None,
                words: None,
            }),
        };
        // A list that fails at once costs nothing to ask for again; one that does not come would hold up every answer.
        let is_kept = is_late || list.as_ref().is_ok_and(|ids| !ids.is_empty());
        *kept = is_kept.then(|| (Instant::now(), list.clone()));
        list
    }
}

/// Each once, and none without a name.
fn askable(mut ids: Vec<String>) -> Arc<[String]> {
    let mut known = HashSet::new();
    ids.retain(|id| !id.trim().is_empty() && known.insert(id.clone()));
    ids.truncate(AT_MOST);
    ids.into()
}
