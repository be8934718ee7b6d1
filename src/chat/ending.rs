//! How an answer ended, in words: outcomes, problems, and the line in the log.

use super::Chat;
use crate::{
    generation::Generation,
    log::AppendError,
    model::{Ending, Outcome, Problem},
    recorder::interruption,
    upstream::{Failure, UpstreamError},
};
use std::time::Duration;

/// Why reading ended, when not by the upstream's own word.
pub(super) enum Stopper {
    /// Somebody claimed the end; the claim says how.
    Asked,
    Upstream(UpstreamError),
    /// Bytes.
    ContextTooLarge(usize),
    AnswerTooLarge,
    /// Of too many events, small as they may be.
    LogFull,
    /// The exchange could not be stored; whoever asked was told why.
    NotKept,
}

impl From<UpstreamError> for Stopper {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<AppendError> for Stopper {
    fn from(_: AppendError) -> Self {
        Self::LogFull
    }
}

/// How an answer ended, by the claim that won.
pub(super) struct Claimed {
    pub outcome: Outcome,
    pub finish_reason: Option<String>,
    pub problem: Option<Problem>,
}

/// Claims the end; a claim made before wins.
pub(super) fn claim(
    chat: &Chat,
    generation: &Generation,
    end: Result<Option<String>, Stopper>,
) -> Claimed {
    let (natural, finish_reason, stopper) = match end {
        Ok(finish_reason) => (Outcome::Completed, finish_reason, None),
        Err(stopper) => (outcome_of(&stopper), None, Some(stopper)),
    };
    let outcome = generation.claim(natural);
    let problem = problem_of(outcome, stopper.as_ref(), chat).map(|problem| Problem {
        instance: Some(generation.request_id.clone()),
        ..problem
    });
    Claimed {
        outcome,
        finish_reason,
        problem,
    }
}

fn outcome_of(stopper: &Stopper) -> Outcome {
    match stopper {
        Stopper::Asked => Outcome::Stopped,
        Stopper::Upstream(UpstreamError {
            kind: Failure::Truncated | Failure::Silent,
            ..
        }) => Outcome::Truncated,
        _ => Outcome::Failed,
    }
}

fn problem_of(outcome: Outcome, stopper: Option<&Stopper>, chat: &Chat) -> Option<Problem> {
    match (outcome, stopper) {
        (Outcome::Interrupted, _) => Some(interruption()),
        (Outcome::Failed | Outcome::Truncated, Some(Stopper::Upstream(error))) => {
            Some(of_upstream(error))
        }
        (Outcome::Failed | Outcome::Truncated, Some(Stopper::ContextTooLarge(bytes))) => {
            Some(Problem::new(
                413,
                "context-too-large",
                "The conversation is too long",
                format!(
                    "the conversation up to here has {bytes} bytes of text and {} may be sent to the model; start a new one or shorten the message",
                    chat.options.context_bytes
                ),
            ))
        }
        (Outcome::Failed | Outcome::Truncated, Some(Stopper::NotKept)) => Some(Problem::new(
            503,
            "not-kept",
            "The exchange was not kept",
            "the answer was to be kept in a conversation and could not be; ask again, or without `store`",
        )),
        (Outcome::Failed | Outcome::Truncated, stopper) => {
            let limit = match stopper {
                Some(Stopper::LogFull) => {
                    format!("{} bytes of events", chat.registry.log_bytes())
                }
                _ => format!("{} bytes of text", chat.options.answer_bytes),
            };
            Some(Problem::new(
                502,
                "answer-too-large",
                "The answer is too large",
                format!(
                    "the model sent more than an answer may have ({limit}); what came before is kept"
                ),
            ))
        }
        (Outcome::Stopped | Outcome::Completed, _) => None,
    }
}

pub(super) fn of_upstream(error: &UpstreamError) -> Problem {
    let (status, name, title) = match (error.kind, error.status) {
        (Failure::Refused, Some(429)) => (
            429,
            "upstream-rate-limited",
            "The model server asks to wait",
        ),
        (Failure::Refused, status) => (
            // A redirect, say, is no error that a client would understand.
            status.filter(|status| *status >= 400).unwrap_or(502),
            "upstream-refused",
            "The model server refused",
        ),
        (Failure::Unreachable, _) => (
            502,
            "upstream-unreachable",
            "The model server cannot be reached",
        ),
        (Failure::Late, _) => (
            504,
            "upstream-late",
            "The model server did not answer in time",
        ),
        (Failure::Reported, status) => (
            status.unwrap_or(502),
            "upstream-error",
            "The model server reported an error",
        ),
        (Failure::Truncated, _) => (502, "upstream-truncated", "The answer was cut off"),
        (Failure::Silent, _) => (504, "upstream-silent", "The model server fell silent"),
        (Failure::TooLong, _) => (504, "answer-too-long", "The answer took too long"),
        (Failure::TooLarge, _) => (502, "answer-too-large", "The answer is too large"),
        (Failure::Unreadable, _) => (
            502,
            "upstream-unreadable",
            "The model server's answer cannot be read",
        ),
    };
    // A second begun is a second to wait.
    let retry_after = error
        .retry_after
        .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    Problem {
        retry_after,
        ..Problem::new(status, name, title, error.message.clone())
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One line for each finished generation; no text of anybody's.
pub(super) fn report(generation: &Generation, ending: &Ending) {
    tracing::info!(
        generation.id = %generation.id,
        user.id = %generation.owner,
        request.id = %generation.request_id,
        outcome = ending.outcome.as_str(),
        finish_reason = ending.finish_reason.as_deref(),
        problem = ending.problem.as_ref().map(|problem| &*problem.kind),
        events = ending.last_seq,
        first_token_ms = ending.timings.first_token_ms,
        total_ms = ending.timings.total_ms,
        completion_tokens = ending.usage.map(|usage| usage.completion_tokens),
        "generation ended"
    );
}
