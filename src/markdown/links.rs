//! Which targets a link may have.

use pulldown_cmark::LinkType;

/// A longer target, or title, is none: a short reference would repeat it again and again.
const TARGET_BYTES: usize = 2048;

/// The `href` of a link, when it may be one. Without control characters a browser reads the same scheme that is compared here.
pub fn href(link_type: LinkType, target: &str) -> Option<String> {
    if target.len() > TARGET_BYTES || target.chars().any(char::is_control) {
        return None;
    }
    if link_type == LinkType::Email {
        return Some(format!("mailto:{target}"));
    }
    let is_allowed = ["http://", "https://", "mailto:"].iter().any(|scheme| {
        let start = target.as_bytes().get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    });
    is_allowed.then(|| target.replace(' ', "%20"))
}

pub fn title(title: &str) -> Option<&str> {
    (!title.is_empty() && title.len() <= TARGET_BYTES).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_and_mail_are_linked() {
        for target in ["http://a.example", "HTTPS://a.example/?q#f", "mailto:a@b"] {
            assert_eq!(href(LinkType::Inline, target).as_deref(), Some(target));
        }
        for target in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "java\nscript:alert(1)",
            "\u{1}javascript:alert(1)",
            "http\t://a.example",
            "http://a\n.example",
            "https:\u{7f}//a.example",
            "data:text/html,<script>",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:http://a.example/1",
            "ftp://a.example",
            "//a.example",
            "/api/session",
            "page.html",
            "#top",
            "http:a.example",
            "",
            "漢字",
        ] {
            assert_eq!(href(LinkType::Inline, target), None, "{target:?}");
        }
        assert_eq!(
            href(LinkType::Inline, "https://a.example/b c").as_deref(),
            Some("https://a.example/b%20c")
        );
        assert_eq!(
            href(LinkType::Email, "javascript@a.example").as_deref(),
            Some("mailto:javascript@a.example")
        );
        let long = format!("https://a.example/{}", "x".repeat(TARGET_BYTES));
        assert_eq!(href(LinkType::Inline, &long), None);
    }
}
