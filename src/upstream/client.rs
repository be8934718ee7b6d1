//! Requests to the model server: what they say, and how long their answers may take to begin.

use super::{
    Answer, ChatRequest, Failure, Step, UpstreamError, UpstreamOptions,
    completion::Completion,
    connect::{self, NewConnections},
    deadline::{Deadline, SHORT},
    login::{self, Secrets},
    push, response,
};
use awc::{
    Client, ClientRequest, ClientResponse,
    error::SendRequestError,
    http::{
        Method, Uri,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use serde_json::Value;
use std::rc::Rc;
use tokio::time::timeout_at;

const PREFILL_REFUSED: &str =
    " (if the model server cannot write on in an answer, set `upstream.continue` to `instruct`)";

/// A worker's way to the model server. Cheap to clone; the clones share their kept-alive connections.
///
/// Its futures must run on the worker that made it, within a `LocalSet`.
#[derive(Clone)]
pub struct Upstream {
    inner: Rc<Inner>,
}

pub(super) struct Inner {
    client: Client,
    new_connections: NewConnections,
    authorization: Result<Option<HeaderValue>, &'static str>,
    secrets: Secrets,
    pub options: UpstreamOptions,
}

impl Upstream {
    pub fn new(options: &UpstreamOptions) -> Self {
        let (client, new_connections) = connect::client(options);
        let authorization = login::authorization(&client, options);
        let sent = authorization.as_ref().ok().and_then(Option::as_ref);
        let inner = Inner {
            secrets: Secrets::of(options, sent),
            authorization,
            client,
            new_connections,
            options: options.clone(),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// Asks for a streamed answer; resolves when its head has arrived. Dropping the future closes the socket.
    pub async fn stream(&self, request: &ChatRequest) -> Result<Completion, UpstreamError> {
        self.post(request, true).await
    }

    /// Asks for a whole answer and waits for it. Dropping the future closes the socket.
    pub async fn complete(&self, request: &ChatRequest) -> Result<Answer, UpstreamError> {
        let mut completion = self.post(request, false).await?;
        let mut deltas = Vec::new();
        loop {
            match completion.next().await? {
                Step::Deltas(more) => more.into_iter().for_each(|delta| push(&mut deltas, delta)),
                Step::End { finish_reason } => {
                    return Ok(Answer {
                        deltas,
                        finish_reason,
                    });
                }
            }
        }
    }

    /// Asks with a client's own request, a JSON text in the shape of OpenAI's, which is passed on as it is: whether it says
    /// `stream`, and what of the usage the client may see, is the caller's business. The payloads of the answer are kept, see
    /// [`Completion::take_payloads`]. Dropping the future closes the socket.
    pub async fn relay(&self, request: Bytes) -> Result<Completion, UpstreamError> {
        self.send(request, true).await
    }

    /// The ids of the models that the upstream offers, in its order.
    pub async fn models(&self) -> Result<Vec<String>, UpstreamError> {
        let inner = &self.inner;
        let models = async {
            let patience = Deadline::new(inner.options.first_byte.min(SHORT), Failure::Late);
            let response = inner
                .send(&Method::GET, "models", &Bytes::new(), patience)
                .await?;
            let mut body = response::accept(response, &inner.options).await?;
            let bytes = response::collect(&mut body, inner.options.event_bytes, patience).await?;
            model_ids(&bytes).ok_or_else(|| {
                UpstreamError::new(
                    Failure::Unreadable,
                    "the upstream's list of models is unreadable",
                )
            })
        };
        models.await.map_err(|error| inner.clean(error))
    }

    async fn post(&self, request: &ChatRequest, stream: bool) -> Result<Completion, UpstreamError> {
        let continuation = self.inner.options.continuation;
        let body = request.json(continuation, stream).map_err(|error| {
            let message = format!("cannot write the request: {error}");
            UpstreamError::new(Failure::Unreadable, message)
        })?;
        let asked = self.send(body.into(), false).await;
        asked.map_err(|mut error| {
            // The server's own words name a field that nobody set.
            if request.is_prefill(continuation) && matches!(error.status, Some(400 | 422)) {
                error.message.push_str(PREFILL_REFUSED);
            }
            error
        })
    }

    async fn send(&self, body: Bytes, keep_payloads: bool) -> Result<Completion, UpstreamError> {
        let inner = &self.inner;
        let options = &inner.options;
        let total = Deadline::new(options.total, Failure::TooLong);
        let first_byte = Deadline::new(options.first_byte, Failure::Late).or_earlier(total);
        let head = async {
            let path = "chat/completions";
            let response = inner.send(&Method::POST, path, &body, first_byte).await?;
            response::accept(response, options).await
        };
        let response = head.await.map_err(|error| inner.clean(error))?;
        let inner = inner.clone();
        Ok(Completion::new(inner, response, total, keep_payloads))
    }
}

impl Inner {
    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        deadline: Deadline,
    ) -> Result<ClientResponse, UpstreamError> {
        let sent = async {
            let (result, reused) = self.try_once(method, path, body).await?;
            match result {
                // A kept-alive connection may die at the very moment in which it is used again; a new one deserves a try.
                Err(error) if reused && connect::is_dead(&error) => {
                    self.try_once(method, path, body).await?.0
                }
                result => result,
            }
            .map_err(|error| connect::failure(&error, &self.options))
        };
        match timeout_at(deadline.at, sent).await {
            Ok(result) => result,
            Err(_) => Err(deadline.error()),
        }
    }

    /// The response, and whether a kept-alive connection was used.
    async fn try_once(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(Result<ClientResponse, SendRequestError>, bool), UpstreamError> {
        let mut sending = self.request(method, path)?.send_body(body.clone());
        let (result, connected) = self.new_connections.watch(&mut sending).await;
        Ok((result, !connected))
    }

    fn request(&self, method: &Method, path: &str) -> Result<ClientRequest, UpstreamError> {
        let unusable = |what: &str| UpstreamError::new(Failure::Unreachable, what);
        let base = self.options.base_url.trim_end_matches('/');
        let url = format!("{base}/{path}");
        // awc panics at some addresses that its own check lets through.
        let valid = url.parse::<Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            return Err(unusable(
                "the base URL of the upstream is not an http or https address",
            ));
        }
        let mut request = self.client.request(method.clone(), url);
        if *method == Method::POST {
            request = request.content_type("application/json");
        }
        match &self.authorization {
            Ok(Some(value)) => Ok(request.insert_header((header::AUTHORIZATION, value.clone()))),
            Ok(None) => Ok(request),
            Err(why) => Err(unusable(why)),
        }
    }

    pub fn clean(&self, error: UpstreamError) -> UpstreamError {
        error.cleaned(&self.secrets)
    }
}

/// `{"data": [{"id"}]}`, or a bare list of the same.
fn model_ids(json: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(json).ok()?;
    let models = list.get("data").unwrap_or(&list).as_array()?;
    let id = |model: &Value| model.get("id")?.as_str().map(str::to_owned);
    Some(models.iter().filter_map(id).collect())
}
