//! Who is asking, found before any handler runs, and taken by extractors: [`CurrentUser`], [`Operator`], [`Unrestricted`].

use super::{Auth, told::Told};
use crate::{model::User, problem::ApiError, standing::Standing};
use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    middleware::Next,
    web::Data,
};
use std::{
    borrow::Borrow,
    future::{Ready, ready},
    sync::Arc,
};

/// The authenticated user of a request. Extracting it fails with 401, or 503 while the store cannot tell.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    pub user: Arc<User>,
    /// What they proved it by: whatever outlives the request takes it along.
    pub standing: Arc<Standing>,
    /// Their key, or the one that logged in, ends by itself or has limits of its own: they make no others, which would not.
    pub is_restricted: bool,
}

/// What [`identify`] found out; taken by the extractor.
struct Identity(Result<Option<CurrentUser>, ApiError>);

/// Looks up who is asking and counts the request, before any extractor runs: the extractors of a handler run side by side, and a stranger
/// is to learn that they are a stranger, not what is wrong with their body or path. What is left of their limit is told with every answer.
pub async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut told = Told::default();
    if ["/api/", "/v1/"]
        .iter()
        .any(|prefix| request.path().starts_with(prefix))
    {
        let auth = Data::<Auth>::clone(request.app_data().expect("the application has its Auth"));
        let mut identity = auth.user(request.request()).await.map_err(ApiError::from);
        if let Ok(Some(current)) = &identity {
            told.of = Some((auth.ledger.clone(), current.standing.clone()));
            match auth.requests.admit(&current.standing) {
                Ok(room) => told.requests = room,
                Err(refused) => {
                    told.requests = Some(refused.room);
                    identity = Err(refused.into());
                }
            }
        }
        request.extensions_mut().insert(Identity(identity));
    }
    let mut response = next.call(request).await?;
    told.tell(response.headers_mut());
    Ok(response)
}

impl FromRequest for CurrentUser {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Identity(found) = request
            .extensions_mut()
            .remove()
            .unwrap_or(Identity(Ok(None)));
        let current = found.and_then(|found| found.ok_or_else(ApiError::unauthorized));
        if let Ok(current) = &current {
            let id = tracing::field::display(current.user.id);
            tracing::Span::current().record("user.id", id);
        }
        ready(current)
    }
}

/// An operator; others get 403.
#[derive(Debug, Clone)]
pub struct Operator(pub CurrentUser);

impl Borrow<CurrentUser> for Operator {
    fn borrow(&self) -> &CurrentUser {
        &self.0
    }
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let current = CurrentUser::from_request(request, payload).into_inner();
        ready(current.and_then(|current| {
            if current.user.operator {
                Ok(Self(current))
            } else {
                Err(ApiError::new(
                    403,
                    "operators-only",
                    "Operators only",
                    "this needs an account with the operator role",
                ))
            }
        }))
    }
}

/// Somebody whose way in may make others: not by a key that ends by itself or has limits of its own. Others get 403.
#[derive(Debug, Clone)]
pub struct Unrestricted<T>(pub T);

impl<T: Borrow<CurrentUser>> FromRequest for Unrestricted<T>
where
    T: FromRequest<Error = ApiError, Future = Ready<Result<T, ApiError>>>,
{
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let who = T::from_request(request, payload).into_inner();
        ready(who.and_then(|who| {
            if who.borrow().is_restricted {
                return Err(ApiError::new(
                    403,
                    "restricted-key",
                    "This key makes no others",
                    "a key that expires or is limited would make one that is not; use a login, or a key without an end and limits",
                ));
            }
            Ok(Self(who))
        }))
    }
}
