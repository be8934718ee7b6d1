//! How an answer to a client of `/v1` ends: claimed, kept where that was asked for, and told.

use super::{
    super::{
        Chat,
        ending::{Claimed, Stopper, claim, millis, report},
    },
    Reading, RelayRefused, Reply, payload_log,
};
use crate::{
    generation::Generation,
    model::{Ending, Outcome, Problem, Timings},
    openai,
    upstream::Words,
};
use std::sync::Arc;

/// Claims the end, keeps it where that was asked for, and tells it: in the log, and to whoever still waits for the first payload.
pub(super) async fn finish(
    chat: &Arc<Chat>,
    generation: &Arc<Generation>,
    end: Result<Option<String>, Stopper>,
    mut reading: Reading,
) {
    let words = match &end {
        Err(Stopper::Upstream(error)) => error.words.clone(),
        _ => None,
    };
    let reply = reading.reply.take();
    match reading.kept.take() {
        None => {
            end_unkept(chat, generation, end, reading);
            tell(chat, generation, reply, words);
        }
        Some(kept) => {
            let told = async {
                // Once it is kept; or said that it is not, while that is tried on.
                generation.log.closed().await;
                tell(chat, generation, reply, words);
            };
            tokio::join!(kept.finish(chat, generation, end), told);
        }
    }
}

fn end_unkept(
    chat: &Chat,
    generation: &Generation,
    end: Result<Option<String>, Stopper>,
    reading: Reading,
) {
    let Claimed {
        outcome,
        finish_reason,
        problem,
    } = claim(chat, generation, end);
    let ending = generation.set_ending(Ending {
        outcome,
        content: String::new(),
        reasoning: None,
        tool_calls: None,
        model: reading.model,
        finish_reason,
        usage: generation.cost(reading.usage, outcome),
        timings: Timings {
            first_token_ms: reading.first_token.map(millis),
            thinking_ms: None,
            total_ms: millis(generation.started.elapsed()),
        },
        problem,
        last_seq: payload_log(generation).seq() + 1,
        leaves_message: false,
    });
    report(generation, ending);
}

/// The last payload, and the answer to whoever waits for the first.
fn tell(
    chat: &Chat,
    generation: &Arc<Generation>,
    reply: Option<Reply>,
    words: Option<Box<Words>>,
) {
    let problem = generation.ending().and_then(why_not_whole);
    let last = match &problem {
        None => openai::DONE.to_owned(),
        Some(problem) => {
            let json = words.as_ref().and_then(|words| words.json.as_deref());
            openai::error_or_ours(json, problem)
        }
    };
    payload_log(generation)
        .append_end(last)
        .expect("only this task ends the log, once");
    match (reply, problem) {
        (None, _) => {}
        (Some(reply), None) => reply.begun(chat, generation),
        (Some(reply), Some(problem)) => reply.refused(RelayRefused::Upstream { problem, words }),
    }
}

/// Why the payloads are not all that there was to be.
pub fn why_not_whole(ending: &Ending) -> Option<Problem> {
    let stopped = || {
        Problem::new(
            410,
            "stopped",
            "The answer was stopped",
            "somebody stopped this answer, or its last reader left",
        )
    };
    match ending.outcome {
        Outcome::Stopped => Some(stopped()),
        _ => ending.problem.clone(),
    }
}
