//! What the contract says about one method of one path.

use super::{super::generations::EventsQuery, Shape};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Content, Header, HeaderBuilder, HttpMethod, ObjectBuilder, Ref, RefOr, Required, Response,
        ResponseBuilder, ResponsesBuilder, Schema,
        extensions::ExtensionsBuilder,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{KnownFormat, SchemaFormat, Type},
        security::SecurityRequirement,
    },
};

pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

#[derive(PartialEq)]
enum Access {
    Anybody,
    User,
    Operator,
}

pub(in super::super) struct Op {
    id: &'static str,
    access: Access,
    operation: OperationBuilder,
    responses: BTreeMap<u16, ResponseBuilder>,
    /// By status; the words say which problems these are.
    refusals: BTreeMap<u16, String>,
    /// What else may come from the model server itself.
    upstream: bool,
    schemas: Schemas,
}

/// The id of the request, by which the server's log knows it.
pub(super) fn request_id() -> Header {
    HeaderBuilder::new()
        .schema(Some(uuid()))
        .description(Some("By which the server's log knows this request."))
        .build()
}

fn uuid() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

impl Op {
    fn new(access: Access, id: &'static str, summary: &str) -> Self {
        Self {
            id,
            access,
            operation: OperationBuilder::new().summary(Some(summary)),
            responses: BTreeMap::new(),
            refusals: BTreeMap::new(),
            upstream: false,
            schemas: Vec::new(),
        }
    }

    /// No account needed.
    pub fn anybody(id: &'static str, summary: &str) -> Self {
        Self::new(Access::Anybody, id, summary)
    }

    /// As one who proved who they are, with these problems in common.
    pub fn user(id: &'static str, summary: &str) -> Self {
        Self::new(Access::User, id, summary)
            .refuses(401, "`unauthorized`")
            .refuses(429, "`rate-limit-exceeded`, `too-many`")
            .refuses(500, "`internal`")
            .refuses(503, "`store-unavailable`")
    }

    pub fn operator(id: &'static str, summary: &str) -> Self {
        let mut op = Self::user(id, summary).refuses(403, "`operators-only`");
        op.access = Access::Operator;
        op
    }

    /// More than its summary.
    pub fn says(mut self, description: &str) -> Self {
        self.operation = self.operation.description(Some(description));
        self
    }

    pub fn query<P: IntoParams>(mut self) -> Self {
        let parameters = P::into_params(|| Some(ParameterIn::Query));
        self.operation = self.operation.parameters(Some(parameters));
        self.refuses(400, "`malformed-request`")
    }

    pub fn parameter(mut self, parameter: impl Into<Parameter>) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// A header that the request may have.
    pub fn header(self, name: &str, description: &str, schema: ObjectBuilder) -> Self {
        let header = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema));
        self.parameter(header).refuses(400, "`malformed-request`")
    }

    /// Repeating it with the same key has no second effect.
    pub fn once(self) -> Self {
        self.once_only("One key stands for one request of yours, for 24 hours: repeated, it has no second effect and the same answer.")
    }

    /// The same, with another answer.
    pub fn once_only(self, description: &str) -> Self {
        self.header(
            "Idempotency-Key",
            description,
            text()
                .min_length(Some(1))
                .max_length(Some(255))
                .pattern(Some("^[ -~]+$")),
        )
        .refuses(422, "`idempotency-key-reused`")
    }

    /// The reader may name its session.
    pub fn session(self) -> Self {
        let about =
            "The tab, device or program that reads: its reconnect replaces its old connection.";
        let name = || {
            let name = text().min_length(Some(1)).max_length(Some(128));
            name.pattern(Some("^[!-~]+$"))
        };
        let query = ParameterBuilder::new()
            .name("session")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "The same as the header `X-Session-Id`, for clients that set none.",
            ))
            .schema(Some(name()));
        self.header("X-Session-Id", about, name()).parameter(query)
    }

    /// Where a reader of a stream goes on, in its parameters, and what says that it is over.
    pub fn resumes(self) -> Self {
        let position = text().pattern(Some("^[0-9]*$"));
        self.query::<EventsQuery>()
            .header(
                "Last-Event-ID",
                "The position behind which to begin; before `after`.",
                position,
            )
            .session()
            .gives_nothing(
                204,
                "It has ended, and there is nothing behind this position.",
            )
    }

    /// A body of JSON, which may be left out when everything in it may.
    pub fn body<T: ToSchema>(mut self, required: bool, example: Value) -> Self {
        let mut content = Content::new(Some(self.schema::<T>()));
        content.example = Some(example);
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .description(Some("At most `limits.body_bytes` (8 MiB unless configured), within `limits.body_seconds`."))
            .required(Some(if required { Required::True } else { Required::False }))
            .build();
        self.operation = self.operation.request_body(Some(body));
        self.takes_body()
    }

    fn takes_body(self) -> Self {
        self.refuses(400, "`malformed-request`")
            .refuses(408, "`body-too-slow`")
            .refuses(413, "`body-too-large`")
            .refuses(415, "`unsupported-media-type`")
            .refuses(422, "`invalid-value`")
    }

    /// JSON of this type.
    pub fn gives<T: ToSchema>(mut self, status: u16, description: &str, example: Value) -> Self {
        let mut content = Content::new(Some(self.schema::<T>()));
        content.example = Some(example);
        self.content(status, description, "application/json", content)
    }

    pub fn gives_nothing(mut self, status: u16, description: &str) -> Self {
        let response = self.responses.remove(&status).unwrap_or_default();
        self.responses
            .insert(status, response.description(description));
        self
    }

    /// A text of another type, and one as an example.
    pub fn gives_text(
        self,
        status: u16,
        description: &str,
        media_type: &str,
        example: &str,
    ) -> Self {
        let mut content = Content::new(Some(text()));
        content.example = Some(example.into());
        self.content(status, description, media_type, content)
    }

    /// Server-sent events. The schema is that of each event (as `OpenAPI` 3.2 says of `itemSchema`); `x-events` has the schema of its data by
    /// its name.
    pub fn streams(
        mut self,
        status: u16,
        description: &str,
        events: Vec<(&'static str, RefOr<Schema>)>,
        example: Value,
    ) -> Self {
        let event = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("Of each event."))
            .property("id", text())
            .property("event", text())
            .property("data", text().description(Some("JSON, or `[DONE]`.")))
            .property("retry", ObjectBuilder::new().schema_type(Type::Integer));
        let mut content = Content::new(Some(event));
        content.example = Some(example);
        let events: BTreeMap<_, _> = events.into_iter().collect();
        let events = serde_json::to_value(events).unwrap_or(Value::Null);
        content.extensions = Some(ExtensionsBuilder::new().add("x-events", events).build());
        self = self.content(status, description, "text/event-stream", content);
        self
    }

    fn content(
        mut self,
        status: u16,
        description: &str,
        media_type: &str,
        content: Content,
    ) -> Self {
        let response = self.responses.remove(&status).unwrap_or_default();
        let response = response
            .description(description)
            .content(media_type, content);
        self.responses.insert(status, response);
        self
    }

    /// A header of the response of this status.
    pub fn with(mut self, status: u16, name: &str, description: &str) -> Self {
        let response = self.responses.remove(&status).unwrap_or_default();
        let header = HeaderBuilder::new()
            .schema(Some(text()))
            .description(Some(description))
            .build();
        self.responses.insert(status, response.header(name, header));
        self
    }

    /// Words on the problems of this status, added to those before.
    pub fn refuses(mut self, status: u16, words: &str) -> Self {
        let known = self.refusals.entry(status).or_default();
        if !known.contains(words) {
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(words);
        }
        self
    }

    /// What the model server refuses is passed on with its status.
    pub fn passes_refusals(mut self) -> Self {
        self.upstream = true;
        self
    }

    /// What stands for the parameter of a generic type.
    pub fn of<T: ToSchema>(mut self) -> Self {
        let _ = self.schema::<T>();
        self
    }

    /// Schemas that are referred to by hand.
    pub fn uses(mut self, schemas: Schemas) -> Self {
        self.schemas.extend(schemas);
        self
    }

    /// A reference, or the schema itself where its name says not all: of a generic type.
    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        let is_generic =
            std::any::type_name::<T>().contains('<') && !std::any::type_name::<T>().contains("<'");
        if is_generic {
            return T::schema();
        }
        self.schemas.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name()).into()
    }

    pub(super) fn finish(
        self,
        path: &str,
        method: &HttpMethod,
        schemas: &mut Schemas,
        used: &mut BTreeSet<(Shape, u16)>,
    ) -> Operation {
        let shape = match (self.upstream, path.starts_with("/v1/")) {
            (true, _) => Shape::Passed,
            (false, true) => Shape::OpenAi,
            (false, false) => Shape::Problem,
        };
        let mut refusals = self.refusals;
        let mut add = |status: u16, words: &str| {
            let known = refusals.entry(status).or_default();
            if !known.contains(words) {
                *known = [words, known]
                    .into_iter()
                    .filter(|it| !it.is_empty())
                    .collect::<Vec<_>>()
                    .join(", ");
            }
        };
        add(421, "`unknown-host`");
        if *method != HttpMethod::Get {
            add(403, "`cross-site`");
        }
        let mut operation = self.operation.operation_id(Some(self.id)).tag(tag(path));
        for name in path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
        {
            add(404, "`not-found`");
            let is_model = path.starts_with("/v1/models/");
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(if is_model {
                    text().min_length(Some(1))
                } else {
                    uuid()
                }));
            operation = operation.parameter(parameter);
        }
        if self.access != Access::Anybody {
            operation = operation
                .security(SecurityRequirement::new("key", [] as [String; 0]))
                .security(SecurityRequirement::new("login", [] as [String; 0]));
        }
        let mut responses = ResponsesBuilder::new();
        for (status, response) in self.responses {
            responses = responses.response(
                status.to_string(),
                response.header("x-request-id", request_id()).build(),
            );
        }
        for (status, words) in refusals {
            used.insert((shape, status));
            let mut refused = Ref::from_response_name(shape.response(status));
            refused.description = words;
            responses = responses.response(status.to_string(), RefOr::<Response>::Ref(refused));
        }
        if self.upstream {
            for range in ["4XX", "5XX"] {
                let mut content = Content::new(Some(Ref::from_schema_name(Shape::Passed.schema())));
                content.example = Some(json!({
                    "error": { "message": "The model is overloaded", "type": "server_error", "param": null, "code": null }
                }));
                let passed = ResponseBuilder::new()
                    .description("As the model server refused, with its error where it has one, and its `Retry-After` and `x-ratelimit-*`.")
                    .content("application/json", content)
                    .header("x-request-id", request_id());
                responses = responses.response(range, passed.build());
            }
        }
        schemas.extend(self.schemas);
        operation.responses(responses.build()).build()
    }
}

/// What it is about: the first word of its path that says so.
fn tag(path: &str) -> &str {
    let mut words = path.split('/').skip(1);
    match (words.next(), words.next()) {
        (Some("api"), Some("openapi.json")) | (Some("livez" | "readyz"), _) => "server",
        (Some("api"), Some(word)) => word,
        _ => "openai",
    }
}
