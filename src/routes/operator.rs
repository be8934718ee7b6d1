//! What an operator sees and ends: live connections and running generations.

use super::GenerationPath;
use crate::{
    auth::Operator,
    chat::Chat,
    model::{ConversationId, EmitterId, GenerationId, MessageId, NodeId, UserId, now},
    problem::ApiError,
    registry::{Emitter, EmitterFilter, EmitterSort, Reason, Target},
};
use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EmittersQuery {
    user: Option<UserId>,
    session: Option<String>,
    /// A `-` turns it round.
    #[param(pattern = "^-?(opened_at|age|user|seq|lag|bytes)$")]
    sort: Option<String>,
    /// The `next` of the page before.
    cursor: Option<u32>,
    #[param(minimum = 1)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EmitterList {
    items: Vec<EmitterView>,
    /// How many match the filter.
    total: usize,
    opened: u64,
    #[schema(value_type = BTreeMap<String, u64>)]
    closed: BTreeMap<Reason, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EmitterView {
    id: EmitterId,
    user_id: UserId,
    /// What the client named, else its login or key.
    session: String,
    #[schema(value_type = String)]
    kind: &'static str,
    /// Of a feed none: it is its user's.
    #[schema(required)]
    target: Option<GenerationId>,
    #[schema(required)]
    conversation_id: Option<ConversationId>,
    node: NodeId,
    /// With its port where that is known.
    #[schema(required)]
    peer: Option<String>,
    #[schema(value_type = Option<String>, required)]
    user_agent: Option<Box<str>>,
    #[serde(with = "crate::model::timestamp")]
    opened_at: OffsetDateTime,
    age_seconds: u64,
    seq: u64,
    lag: u64,
    bytes: u64,
}

pub(super) async fn emitters(
    _: Operator,
    chat: Data<Chat>,
    node: Data<NodeId>,
    Query(query): Query<EmittersQuery>,
) -> Result<HttpResponse, ApiError> {
    let (sort, descending) = sort(query.sort.as_deref())?;
    let limit = match query.limit.unwrap_or(100) {
        0 => return Err(ApiError::invalid("limit: at least 1")),
        limit => limit.min(1000) as usize,
    };
    let skip = query.cursor.unwrap_or(0) as usize;
    let filter = EmitterFilter {
        user: query.user,
        session: query.session,
        sort,
        descending,
        skip,
        limit,
    };
    let page = chat.registry.list_emitters(&filter);
    let next = skip.saturating_add(page.items.len());
    let list = EmitterList {
        next: (next < page.total && !page.items.is_empty()).then(|| next.to_string()),
        items: page
            .items
            .iter()
            .map(|emitter| view(emitter, **node))
            .collect(),
        total: page.total,
        opened: page.opened,
        closed: page.closed,
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(list))
}

/// `opened_at` (oldest first) unless asked; a `-` before the name turns the order round.
fn sort(by: Option<&str>) -> Result<(EmitterSort, bool), ApiError> {
    let by = by.unwrap_or("opened_at");
    let (name, descending) = by
        .strip_prefix('-')
        .map_or((by, false), |name| (name, true));
    let sort = match name {
        "opened_at" => EmitterSort::OpenedAt,
        // The oldest are those of greatest age.
        "age" => return Ok((EmitterSort::OpenedAt, !descending)),
        "user" => EmitterSort::User,
        "seq" => EmitterSort::Seq,
        "lag" => EmitterSort::Lag,
        "bytes" => EmitterSort::Bytes,
        _ => {
            return Err(ApiError::malformed(
                "sort: opened_at, age, user, seq, lag or bytes, with a `-` before it to turn it round",
            ));
        }
    };
    Ok((sort, descending))
}

fn view(emitter: &Emitter, node: NodeId) -> EmitterView {
    let client = &emitter.client;
    let target = match client.target {
        Target::Generation(id) => Some(id),
        Target::Feed => None,
    };
    let age = (now() - emitter.opened_at).whole_seconds();
    EmitterView {
        id: emitter.id,
        user_id: client.standing.user,
        session: client
            .session
            .as_deref()
            .map_or_else(|| client.standing.credential.to_string(), ToOwned::to_owned),
        kind: client.target.kind(),
        target,
        conversation_id: client.conversation,
        node,
        peer: client.peer.map(|peer| match peer.port() {
            0 => peer.ip().to_string(),
            _ => peer.to_string(),
        }),
        user_agent: client.user_agent.clone(),
        opened_at: emitter.opened_at,
        age_seconds: u64::try_from(age).unwrap_or(0),
        seq: emitter.seq(),
        lag: emitter.lag(),
        bytes: emitter.bytes(),
    }
}

pub(super) async fn end_emitter(
    _: Operator,
    chat: Data<Chat>,
    id: Path<EmitterId>,
) -> Result<HttpResponse, ApiError> {
    if chat.registry.kill_emitter(*id) {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::not_found("live connection"))
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct RunningView {
    id: GenerationId,
    user_id: UserId,
    #[schema(required)]
    conversation_id: Option<ConversationId>,
    #[schema(required)]
    message_id: Option<MessageId>,
    node: NodeId,
    #[serde(with = "crate::model::timestamp")]
    created_at: OffsetDateTime,
    age_seconds: u64,
    seq: u64,
    /// Events a second since the start; most upstreams send a token an event.
    tokens_per_second: f64,
    readers: usize,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RunningList {
    items: Vec<RunningView>,
    total: usize,
}

pub(super) async fn generations(_: Operator, chat: Data<Chat>, node: Data<NodeId>) -> HttpResponse {
    let readers = chat.registry.readers();
    let items: Vec<_> = chat
        .registry
        .running()
        .iter()
        .map(|generation| {
            let age = generation.started.elapsed();
            let seq = generation.log.seq();
            #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
            let rate = seq.saturating_sub(1) as f64 / age.as_secs_f64().max(0.001);
            RunningView {
                id: generation.id,
                user_id: generation.owner,
                conversation_id: generation.conversation_id(),
                message_id: generation.message_id(),
                node: **node,
                created_at: generation.created_at,
                age_seconds: age.as_secs(),
                seq,
                tokens_per_second: (rate * 10.0).round() / 10.0,
                readers: readers
                    .get(&Target::Generation(generation.id))
                    .copied()
                    .unwrap_or(0),
            }
        })
        .collect();
    let body = RunningList {
        total: items.len(),
        items,
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

pub(super) async fn stop(
    _: Operator,
    chat: Data<Chat>,
    id: GenerationPath,
) -> Result<HttpResponse, ApiError> {
    let record = chat
        .stop_any(*id)
        .await
        .ok_or_else(|| ApiError::not_found("running generation"))?;
    Ok(HttpResponse::Ok().json(record))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Draining {
    #[schema(value_type = String)]
    status: &'static str,
    /// Answers that are not over yet.
    running: usize,
}

/// 202: the process ends once its answers have, as after SIGTERM. Repeating it changes nothing.
pub(super) async fn drain(_: Operator, chat: Data<Chat>) -> HttpResponse {
    chat.ask_to_drain();
    let body = Draining {
        status: "draining",
        running: chat.registry.running().len(),
    };
    HttpResponse::Accepted()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}
