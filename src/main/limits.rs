//! Limits of users and keys, as the command line takes and shows them.

use clap::Args;
use continuo::model::Limits;

/// In place of what is configured; 0: as much as they like.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Limits, in place of the configured ones (0: none)")]
pub struct LimitOptions {
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<u32>,
    /// From midnight to midnight, in UTC
    #[arg(long, value_name = "NUMBER")]
    tokens_per_day: Option<u64>,
    /// Answers that are written at once
    #[arg(long, value_name = "NUMBER")]
    generations: Option<u32>,
    /// Streams that are read at once
    #[arg(long, value_name = "NUMBER")]
    emitters: Option<u32>,
}

impl From<LimitOptions> for Limits {
    fn from(asked: LimitOptions) -> Self {
        Self {
            requests_per_minute: asked.requests_per_minute,
            tokens_per_day: asked.tokens_per_day,
            generations: asked.generations,
            emitters: asked.emitters,
        }
    }
}

/// Behind whatever has them; nothing when all is as configured.
pub fn shown(limits: Limits) -> String {
    let Limits {
        requests_per_minute,
        tokens_per_day,
        generations,
        emitters,
    } = limits;
    [
        ("requests/min", requests_per_minute.map(u64::from)),
        ("tokens/day", tokens_per_day),
        ("generations", generations.map(u64::from)),
        ("emitters", emitters.map(u64::from)),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some(format!("  {name} {}", limit?)))
    .collect()
}
