//! The commands that work on accounts, keys and logins in the database, beside a running server too: it notices within half a second.

use super::{
    limits::{LimitOptions, shown},
    print,
};
use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use continuo::{
    auth,
    model::{KeyId, LoginId, User, now},
    server,
    store::{Store, UserChange, UserChanged, When},
    text::{is_name, one_line},
};
use std::time::Duration;
use time::{Date, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros};

#[derive(Subcommand)]
pub enum UserCommand {
    /// Create an account
    Add {
        name: String,
        /// May see and end everybody's connections
        #[arg(long)]
        operator: bool,
    },
    List,
    /// Lock an account out; what its keys and logins began ends
    Disable {
        name: String,
        /// Let it in again
        #[arg(long)]
        undo: bool,
    },
    /// Make an account an operator, or one that is none
    Role {
        name: String,
        role: Role,
    },
    /// Set all of an account's limits; one that is not named is as configured
    Limits {
        name: String,
        #[command(flatten)]
        limits: LimitOptions,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Role {
    User,
    Operator,
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it, once
    Add {
        /// What it is for
        #[arg(default_value = "key")]
        name: String,
        /// Whose; the owner's unless named
        #[arg(long)]
        user: Option<String>,
        /// When it ends: 12h, 30d, 2030-01-31, or a time as RFC 3339 has it
        #[arg(long, value_parser = moment)]
        expires: Option<OffsetDateTime>,
        #[command(flatten)]
        limits: LimitOptions,
    },
    List {
        /// Whose; everybody's unless named
        #[arg(long)]
        user: Option<String>,
    },
    /// Take a key away; what it and its logins began ends
    Revoke { id: KeyId },
}

#[derive(Subcommand)]
pub enum SessionCommand {
    List {
        /// Whose; everybody's unless named
        #[arg(long)]
        user: Option<String>,
    },
    /// Log a browser out; what it began ends
    End { id: LoginId },
}

/// The owner unless named.
pub async fn find_user(store: &dyn Store, name: Option<&str>) -> anyhow::Result<User> {
    match name {
        None => Ok(store.ensure_owner(server::OWNER).await?),
        Some(name) => store
            .user_by_name(name)
            .await?
            .with_context(|| format!("there is no user {name:?}; `continuo user list` shows them")),
    }
}

impl UserCommand {
    pub async fn run(self, store: &dyn Store) -> anyhow::Result<()> {
        match self {
            Self::Add { name, operator } => {
                check_name(&name)?;
                let user = store.add_user(&name, operator).await?;
                let user = user.with_context(|| format!("there is a user {name:?} already"))?;
                print(&format!("{}  {}", user.id, user.name))
            }
            Self::List => {
                for user in store.users().await? {
                    let role = if user.operator { "operator" } else { "user" };
                    let disabled = if user.disabled { "  disabled" } else { "" };
                    let limits = shown(user.limits);
                    print(&format!(
                        "{}  {role:8}  {}{disabled}{limits}",
                        user.id, user.name
                    ))?;
                }
                Ok(())
            }
            Self::Disable { name, undo } => {
                let change = UserChange {
                    disabled: Some(!undo),
                    ..UserChange::default()
                };
                change_user(store, &name, change).await
            }
            Self::Role { name, role } => {
                let change = UserChange {
                    operator: Some(matches!(role, Role::Operator)),
                    ..UserChange::default()
                };
                change_user(store, &name, change).await
            }
            Self::Limits { name, limits } => {
                let change = UserChange {
                    limits: Some(limits.into()),
                    ..UserChange::default()
                };
                change_user(store, &name, change).await
            }
        }
    }
}

async fn change_user(store: &dyn Store, name: &str, change: UserChange) -> anyhow::Result<()> {
    let user = find_user(store, Some(name)).await?;
    match store.change_user(user.id, change).await? {
        UserChanged::Done(_) => Ok(()),
        UserChanged::NotFound => bail!("there is no user {name:?} any more"),
        UserChanged::LastOperator => bail!(
            "{name:?} is the only operator who is not disabled; make another one first with `continuo user role NAME operator`"
        ),
    }
}

impl KeyCommand {
    pub async fn run(self, store: &dyn Store) -> anyhow::Result<()> {
        match self {
            Self::Add {
                name,
                user,
                expires,
                limits,
            } => {
                check_name(&name)?;
                let user = find_user(store, user.as_deref()).await?;
                let (_, secret) =
                    auth::new_key(store, user.id, &name, limits.into(), expires).await?;
                print(&secret)
            }
            Self::List { user } => {
                let user = some_user(store, user.as_deref()).await?;
                for key in store.keys(user.map(|user| user.id)).await? {
                    let state = match (key.revoked_at, key.expires_at) {
                        (Some(_), _) => "  revoked".to_owned(),
                        (None, Some(at)) if at <= now() => "  expired".to_owned(),
                        (None, Some(at)) => format!("  expires {}", rfc3339(at)),
                        (None, None) => String::new(),
                    };
                    let used = match key.last_used_at {
                        Some(at) => format!("  used {}", rfc3339(at)),
                        None => String::new(),
                    };
                    let limits = shown(key.limits);
                    print(&format!(
                        "{}  {:12}  user {}  {}{state}{limits}{used}",
                        key.id, key.prefix, key.user_id, key.name
                    ))?;
                }
                Ok(())
            }
            Self::Revoke { id } => {
                if !store.revoke_key(id, None).await? {
                    bail!("there is no key {id}; `continuo key list` shows them");
                }
                Ok(())
            }
        }
    }
}

impl SessionCommand {
    pub async fn run(self, store: &dyn Store, idle: Duration) -> anyhow::Result<()> {
        match self {
            Self::List { user } => {
                let user = some_user(store, user.as_deref()).await?;
                let when = When { now: now(), idle };
                for login in store.logins(user.map(|user| user.id), when).await? {
                    print(&format!(
                        "{}  user {}  since {}  seen {}  {}  {}",
                        login.id,
                        login.user_id,
                        rfc3339(login.created_at),
                        rfc3339(login.last_seen_at),
                        login.address.as_deref().unwrap_or("-"),
                        one_line(login.user_agent.as_deref().unwrap_or("-")),
                    ))?;
                }
                Ok(())
            }
            Self::End { id } => {
                if !store.end_login(id, None).await? {
                    bail!("there is no session {id}; `continuo session list` shows them");
                }
                Ok(())
            }
        }
    }
}

async fn some_user(store: &dyn Store, name: Option<&str>) -> anyhow::Result<Option<User>> {
    match name {
        None => Ok(None),
        name => find_user(store, name).await.map(Some),
    }
}

/// Lists show a name in one line.
fn check_name(name: &str) -> anyhow::Result<()> {
    if !is_name(name) {
        bail!("a name has 1 to 200 characters, no control characters and no space around it");
    }
    Ok(())
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.replace_millisecond(0)
        .unwrap_or(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A time to come: from now on, the beginning of a day in UTC, or as RFC 3339 has it.
fn moment(text: &str) -> Result<OffsetDateTime, String> {
    const WANTED: &str =
        "wants a time to come, such as 12h, 30d, 2030-01-31 or 2030-01-31T12:00:00Z";
    let later = |number: &str, unit: u64| {
        let seconds = number
            .parse::<u32>()
            .ok()
            .map(|number| u64::from(number) * unit)?;
        now().checked_add(Duration::from_secs(seconds).try_into().ok()?)
    };
    let day = || {
        let day = Date::parse(text, macros::format_description!("[year]-[month]-[day]")).ok()?;
        Some(day.with_time(Time::MIDNIGHT).assume_utc())
    };
    let at = if let Some(days) = text.strip_suffix('d') {
        later(days, 24 * 60 * 60)
    } else if let Some(hours) = text.strip_suffix('h') {
        later(hours, 60 * 60)
    } else {
        day().or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok())
    };
    // A database keeps years of four digits.
    at.filter(|at| *at > now() && at.year() < 9999)
        .ok_or_else(|| WANTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_said_in_several_ways() {
        let in_a_day = now() + Duration::from_hours(24);
        let about = moment("24h").expect("a time") - in_a_day;
        assert!(about < Duration::from_mins(1), "{about}");
        assert!(moment("30d").expect("a time") > in_a_day);
        let day = moment("2999-01-31").expect("a time");
        assert_eq!(day, macros::datetime!(2999-01-31 00:00:00 UTC));
        let time = moment("2999-01-31T12:00:00+02:00").expect("a time");
        assert_eq!(time, macros::datetime!(2999-01-31 10:00:00 UTC));
        for text in [
            "",
            "d",
            "-1d",
            "0d",
            "2001-01-31",
            "tomorrow",
            "4000000000d",
            "99999999999d",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
