//! A conversation as a file: JSON, which can be imported again, or Markdown to read.

use super::ConversationPath;
use crate::{
    auth::CurrentUser,
    chat::{BranchRead, Chat, ConversationRead, MessageRead},
    model::{Conversation, Message, MessageId, Role, Sampling},
    problem::ApiError,
    store::BranchQuery,
    text::one_line,
};
use actix_web::{
    HttpResponse,
    http::header::{
        self, Charset, ContentDisposition, DispositionParam, DispositionType, ExtendedValue,
    },
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use time::OffsetDateTime;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};

/// What an export calls itself.
pub(super) const FORMAT: &str = "continuo.conversation";
pub(super) const FORMAT_VERSION: u32 = 1;
/// The longest name of a file without its extension, in bytes: file systems take 255, and browsers put numbers behind it.
const NAME_BYTES: usize = 180;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    #[default]
    Json,
    Markdown,
}

pub(super) async fn export(
    current: CurrentUser,
    chat: Data<Chat>,
    id: ConversationPath,
    Query(parameters): Query<Parameters>,
) -> Result<HttpResponse, ApiError> {
    let user = current.user.id;
    let read = match parameters.format {
        Format::Json => chat.conversation(user, *id).await?,
        Format::Markdown => {
            let to_the_head = BranchQuery {
                limit: u32::MAX,
                ..BranchQuery::default()
            };
            match chat.branch(user, *id, &to_the_head).await? {
                BranchRead::Found(read) => Some(*read),
                BranchRead::NotFound | BranchRead::UnknownMessage => None,
            }
        }
    };
    let read = read.ok_or_else(|| ApiError::not_found("conversation"))?;
    let title = read.conversation.title.clone();
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(match parameters.format {
        Format::Json => response
            .insert_header(attachment(&title, "json"))
            .json(Exported::from(read)),
        Format::Markdown => response
            .insert_header(attachment(&title, "md"))
            .content_type("text/markdown; charset=utf-8")
            .body(markdown(&read)),
    })
}

#[derive(Serialize, ToSchema)]
pub(super) struct Exported {
    #[schema(schema_with = format_word)]
    format: &'static str,
    #[schema(minimum = 1, maximum = 1)]
    format_version: u32,
    #[schema(max_length = 500)]
    title: String,
    #[schema(max_length = 500)]
    model: Option<String>,
    #[schema(max_length = 100_000)]
    system: Option<String>,
    sampling: Sampling,
    head_id: Option<MessageId>,
    #[serde(with = "crate::model::timestamp")]
    created_at: OffsetDateTime,
    #[serde(with = "crate::model::timestamp")]
    updated_at: OffsetDateTime,
    messages: Vec<Message>,
}

pub(super) fn format_word() -> ObjectBuilder {
    let word = ObjectBuilder::new().schema_type(Type::String);
    word.enum_values(Some([FORMAT]))
}

impl From<ConversationRead> for Exported {
    fn from(read: ConversationRead) -> Self {
        // What belongs to this server and not to the conversation stays here.
        let message = |MessageRead { message, .. }| Message {
            generation_id: None,
            problem: None,
            ..message
        };
        let messages = read.messages.into_iter().map(message).collect();
        let Conversation {
            title,
            model,
            system,
            sampling,
            head_id,
            created_at,
            updated_at,
            ..
        } = read.conversation;
        Self {
            format: FORMAT,
            format_version: FORMAT_VERSION,
            title,
            model,
            system,
            sampling,
            head_id,
            created_at,
            updated_at,
            messages,
        }
    }
}

/// The branch that was read, without thinking text and tool calls, and without answers that never got a word.
fn markdown(read: &ConversationRead) -> String {
    let Conversation { title, system, .. } = &read.conversation;
    let title = if title.is_empty() {
        "Conversation"
    } else {
        title
    };
    let mut text = format!("# {title}\n");
    let mut section = |heading: &str, content: &str| {
        let _ = write!(text, "\n## {heading}\n\n{}\n", content.trim_end());
        if let Some(fence) = open_fence(content) {
            // Or the rest of the file would be code.
            text.push_str(&fence);
            text.push('\n');
        }
    };
    if let Some(system) = system {
        section("System prompt", system);
    }
    for MessageRead { message, .. } in &read.messages {
        if message.role == Role::Assistant && message.content.is_empty() {
            continue;
        }
        let heading = match (message.role, &message.model) {
            (Role::User, _) => "You".to_owned(),
            (Role::System, _) => "System".to_owned(),
            (Role::Assistant, None) => "Answer".to_owned(),
            (Role::Assistant, Some(model)) => format!("Answer ({})", one_line(model)),
        };
        section(&heading, &message.content);
    }
    text
}

/// What closes the code fence that an answer leaves open which was cut short.
fn open_fence(text: &str) -> Option<String> {
    let mut open: Option<(char, usize)> = None;
    for line in text.lines() {
        let unindented = line.trim_start_matches(' ');
        let Some(mark) = unindented.chars().next().filter(|c| ['`', '~'].contains(c)) else {
            continue;
        };
        let rest = unindented.trim_start_matches(mark);
        let length = unindented.len() - rest.len();
        if length < 3 || line.len() - unindented.len() > 3 {
            continue;
        }
        open = match open {
            None if mark == '`' && rest.contains('`') => None,
            None => Some((mark, length)),
            Some((opened, least))
                if opened == mark && length >= least && rest.trim().is_empty() =>
            {
                None
            }
            still => still,
        };
    }
    open.map(|(mark, length)| mark.to_string().repeat(length))
}

/// RFC 6266 with the name as RFC 8187 has it, and an ASCII one before it for clients that know no other.
fn attachment(title: &str, extension: &str) -> ContentDisposition {
    let name = format!("{}.{extension}", file_name(title));
    let is_plain = |c: char| c.is_ascii() && c != '%';
    let plain = name.replace(|c| !is_plain(c), "_");
    ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![
            DispositionParam::Filename(plain),
            DispositionParam::FilenameExt(ExtendedValue {
                charset: Charset::Ext("UTF-8".to_owned()),
                language_tag: None,
                value: name.into_bytes(),
            }),
        ],
    }
}

/// What of a title every file system takes: no separators and no wildcards, nothing that turns the direction of writing (and shows another
/// extension), no dot that hides it.
fn file_name(title: &str) -> String {
    let is_refused = |c: char| {
        c.is_control()
            || r#"/\:*?"<>|"#.contains(c)
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean = title.replace(is_refused, " ");
    let mut name = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    match name.trim_matches(['.', ' ']) {
        "" => "conversation".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::TryIntoHeaderValue as _;

    #[test]
    fn a_file_name_is_what_every_file_system_takes_of_the_title() {
        for (title, name) in [
            ("Bread & salt", "Bread & salt"),
            ("a/b\\c: \"d\" <e>|f*?", "a b c d e f"),
            ("../../etc/passwd", "etc passwd"),
            ("two\r\nlines\0", "two lines"),
            (".hidden.", "hidden"),
            ("红烧肉 🙂", "红烧肉 🙂"),
            ("cod\u{202e}nosj.exe", "cod nosj.exe"),
            ("", "conversation"),
            (" ... ", "conversation"),
        ] {
            assert_eq!(file_name(title), name, "{title}");
        }
        assert_eq!(file_name(&"x".repeat(500)).len(), NAME_BYTES);
        assert_eq!(file_name(&"🙂".repeat(500)), "🙂".repeat(NAME_BYTES / 4));
        assert_eq!(file_name(&format!("x{}", "🙂".repeat(500))).len(), 177);
    }

    #[test]
    fn the_header_names_the_file_twice() {
        for (title, header) in [
            (
                "Bread",
                r#"attachment; filename="Bread.json"; filename*=UTF-8''Bread.json"#,
            ),
            (
                "50% 'é' 🙂\r\n\"x\"",
                r#"attachment; filename="50_ '_' _ x.json"; filename*=UTF-8''50%25%20%27%C3%A9%27%20%F0%9F%99%82%20x.json"#,
            ),
        ] {
            let value = attachment(title, "json").try_into_value().expect("a value");
            assert_eq!(value.to_str().expect("ASCII"), header);
        }
    }

    #[test]
    fn a_fence_that_was_left_open_is_closed_as_it_was_opened() {
        for (text, fence) in [
            ("plain `code`", None),
            ("```rust\nfn main() {}\n```\nand", None),
            ("```rust\nfn main() {", Some("```")),
            ("````\n```\n", Some("````")),
            ("~~~~ js\n```\n~~~", Some("~~~~")),
            ("```\n~~~\n````", None),
            ("   ```\nx", Some("```")),
            ("    ```\nx", None),
            ("``` a ` b\nx", None),
        ] {
            assert_eq!(open_fence(text).as_deref(), fence, "{text}");
        }
    }
}
