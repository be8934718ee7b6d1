//! One entry a path: what the server answers there, and what the contract says about it. There is no way to add the one without the other.

use super::contract::Op;
use actix_web::{
    FromRequest, Handler, Resource, Responder, Route, guard,
    web::{self, ServiceConfig},
};
use utoipa::openapi::HttpMethod;

/// A path with its methods. It answers other methods with 405, which `App::route` would not.
pub(super) struct Entry {
    path: &'static str,
    resource: Resource,
    operations: Vec<(HttpMethod, fn() -> Op)>,
}

/// A path of the contract.
pub(super) fn at(path: &'static str) -> Entry {
    Entry {
        path,
        resource: web::resource(path),
        operations: Vec::new(),
    }
}

/// A file of the page, of which the contract says nothing.
pub(super) fn file<F, Args>(path: &'static str, handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let entry = at(path);
    Entry {
        resource: entry.resource.route(get_or_head().to(handler)),
        ..entry
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $method:ident, $route:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name<F, Args>(self, handler: F, operation: fn() -> Op) -> Self
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            self.with(HttpMethod::$method, $route.to(handler), operation)
        }
    )*};
}

impl Entry {
    methods! {
        /// GET, and HEAD, which is answered the same way without the body.
        get: Get, get_or_head();
        /// GET alone: a HEAD would attach.
        attach: Get, web::get();
        post: Post, web::post();
        patch: Patch, web::patch();
        delete: Delete, web::delete();
    }

    fn with(self, method: HttpMethod, route: Route, operation: fn() -> Op) -> Self {
        let mut operations = self.operations;
        operations.push((method, operation));
        Self {
            resource: self.resource.route(route),
            operations,
            ..self
        }
    }

    pub fn register(self, app: &mut ServiceConfig) {
        app.service(self.resource);
    }

    /// As `OpenAPI` writes it, without what a segment may be.
    pub fn template(&self) -> String {
        self.path.replace(":.+}", "}")
    }

    pub fn operations(&self) -> impl Iterator<Item = (HttpMethod, Op)> {
        let made = |(method, operation): &(HttpMethod, fn() -> Op)| (method.clone(), operation());
        self.operations.iter().map(made)
    }
}

fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
