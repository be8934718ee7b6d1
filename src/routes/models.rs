//! The models that can be asked for.

use crate::{auth::CurrentUser, chat::Chat, model::Problem, upstream::Upstream};
use actix_web::{HttpResponse, http::header, web::Data};
use serde::Serialize;
use tracing_actix_web::RequestId;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(super) struct Models<'a> {
    #[schema(value_type = Vec<Model>)]
    items: Vec<Model<'a>>,
    #[schema(required)]
    default: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Model<'a> {
    #[schema(value_type = String)]
    id: &'a str,
}

/// 200 in any case: a page without a list of models is a page all the same.
pub(super) async fn list(
    _: CurrentUser,
    chat: Data<Chat>,
    upstream: Data<Upstream>,
    request_id: RequestId,
) -> HttpResponse {
    let list = chat.models(&upstream).await;
    let models = Models {
        items: list.ids.iter().map(|id| Model { id }).collect(),
        default: list.default,
        problem: list.problem.map(|problem| Problem {
            instance: Some(request_id.to_string()),
            ..problem
        }),
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(models)
}
