//! What of the page's sources is not sent: comments, indentation, white space that means nothing, and semicolons before a closing brace.
//! Nothing is renamed, reordered or rewritten. `tests/browser/served.test.js` has a parser read both.

/// Of other kinds of files only the indentation is left out.
pub fn slim(name: &str, text: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, "js")) => script(text),
        Some((_, "css")) => style(text),
        _ => text.lines().fold(String::new(), |mut slim, line| {
            slim.push_str(line.trim());
            if !line.trim().is_empty() {
                slim.push('\n');
            }
            slim
        }),
    }
}

/// White space before a token.
#[derive(PartialEq)]
enum Gap {
    None,
    Space,
    /// Where a statement may end without a semicolon.
    Line,
}

/// Behind these words and behind most signs, a slash begins a pattern; behind everything else it divides.
const BEFORE_PATTERN: [&str; 10] = [
    "return", "typeof", "case", "of", "in", "await", "yield", "void", "delete", "throw",
];

fn script(text: &str) -> String {
    let mut slim = String::with_capacity(text.len());
    let mut braces = Vec::new(); // For each that is open, whether it is one in a template.
    let mut gap = Gap::None;
    let mut is_value = false; // Whether the last token may end an expression.
    let mut heads = Vec::new(); // For each parenthesis that is open, whether a statement follows it.
    let mut is_head = false; // Whether the last token closed such a one.
    let mut is_needless = false; // Whether the last token is a semicolon that a brace makes needless.
    let mut last = "";
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_line = rest.starts_with("//");
        if is_line || first.is_whitespace() || rest.starts_with("/*") {
            let length = match first {
                '/' if is_line => rest.find('\n'),
                '/' => rest.find("*/").map(|end| end + 2),
                _ => rest.find(|letter: char| !letter.is_whitespace()),
            };
            let (left_out, after) = rest.split_at(length.unwrap_or(rest.len()));
            let is_line = gap == Gap::Line || left_out.contains('\n');
            gap = if is_line { Gap::Line } else { Gap::Space };
            rest = after;
            continue;
        }
        let is_template = first == '`' || first == '}' && braces.pop() == Some(true);
        let (token, after) = rest.split_at(match first {
            '"' | '\'' => until(rest, &[&rest[..1]]),
            '/' if !is_value => pattern(rest),
            _ if is_template => until(rest, &["`", "${"]),
            _ if is_word(first) => rest.find(|at| !is_word(at)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        });
        let is_template_open = is_template && token.ends_with('{');
        if first == '{' || is_template_open {
            braces.push(is_template_open);
        }
        is_value = match first {
            '"' | '\'' | ')' | ']' => true,
            '}' | '`' => !is_template_open,
            '/' => token.len() > 1,
            _ => is_word(first) && !BEFORE_PATTERN.contains(&token),
        };
        if first == '}' && is_needless {
            slim.pop();
        }
        // Behind the head of a loop it is the body.
        is_needless = first == ';' && !is_head && !["else", "do", ";", "{", ":"].contains(&last);
        is_head = first == ')' && heads.pop() == Some(true);
        if first == '(' {
            heads.push(["if", "for", "while"].contains(&last));
        }
        slim.push_str(between(slim.chars().next_back(), &gap, first));
        slim.push_str(token);
        gap = Gap::None;
        last = token;
        rest = after;
    }
    slim.push('\n');
    slim
}

/// What has to stay between the last sign of a token and the first of the next.
fn between(last: Option<char>, gap: &Gap, first: char) -> &'static str {
    let Some(last) = last else { return "" };
    let goes_on = "({[,;:?.=<>&|!*%^~".contains(last) || ")}],;".contains(first);
    match gap {
        Gap::Line if !goes_on => "\n",
        Gap::Space if is_word(last) && is_word(first) => " ",
        // Behind a slash, what might be the flags of a pattern; two signs that would be one; a number and its property.
        Gap::Space if last == '/' || last == first && "+-".contains(first) => " ",
        Gap::Space if last.is_ascii_digit() && first == '.' => " ",
        _ => "",
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || "_$#@\\".contains(letter)
}

/// The length of what begins `text`, with the first of `ends` behind its first sign that has no backslash before it.
fn until(text: &str, ends: &[&str]) -> usize {
    let mut at = 1;
    while let Some(letter) = text[at..].chars().next() {
        if let Some(end) = ends.iter().find(|end| text[at..].starts_with(**end)) {
            return at + end.len();
        }
        at += letter.len_utf8();
        if letter == '\\' {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the regular expression that begins `text`, without its flags. In a class, a slash does not end it.
fn pattern(text: &str) -> usize {
    let mut at = 1;
    loop {
        at += until(&text[at - 1..], &["/", "["]) - 1;
        if !text[..at].ends_with('[') {
            return at;
        }
        at += until(&text[at - 1..], &["]"]) - 1;
    }
}

fn style(text: &str) -> String {
    let mut slim = String::with_capacity(text.len());
    let mut is_gap = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => until(rest, &[&rest[..1]]),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if first.is_whitespace() || token.starts_with("/*") {
            is_gap = true;
            continue;
        }
        if first == '}' && slim.ends_with(';') {
            slim.pop();
        }
        let means_nothing =
            slim.ends_with(['{', '}', ';', ',', ':', '>']) || "{};,>!".contains(first);
        if is_gap && !means_nothing && !slim.is_empty() {
            slim.push(' ');
        }
        slim.push_str(token);
        is_gap = false;
    }
    slim
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_sent_without_comments_and_without_spaces_that_mean_nothing() {
        let source = "// What.\nconst a = {\n  /** Why. */\n  b: '//',\n  /*\n   * How.\n   */\n  c: 2, // So.\n};\n";
        assert_eq!(slim("a.js", source), "const a={b:'//',c:2,};\n");
        for (source, sent) in [
            ("a\n(b)", "a\n(b)"),
            ("a\n++b", "a\n++b"),
            ("return\nb", "return\nb"),
            ("a =\n  b ? c :\n  d", "a=b?c:d"),
            ("f(\n  a,\n  b\n)\n", "f(a,b)"),
            (
                "{ a();\n b; }\nc = `${() => { d; }};`",
                "{a();b}\nc=`${()=>{d}};`",
            ),
            (
                "{ for (;;); }{ if (a(b)) ; }{ do ; while (c()); }",
                "{for(;;);}{if(a(b));}{do;while(c());}",
            ),
            ("a + +b - --c", "a+ +b- --c"),
            ("a in b; 'x' in #c; /x/ in d", "a in b;'x'in #c;/x/ in d"),
            (
                "static #a = async () => {}\nget [b]() {}",
                "static #a=async()=>{}\nget[b](){}",
            ),
            ("1 .a; b.c; [...d]", "1 .a;b.c;[...d]"),
            ("a / 2 // half\nb", "a/ 2\nb"),
            (
                "x = /[/*'\"]/gu.test(a) ? / /.exec( b ) : 1 / 2 / 3",
                "x=/[/*'\"]/gu.test(a)?/ /.exec(b):1/ 2/ 3",
            ),
            ("return /a  b\\/ {/", "return/a  b\\/ {/"),
            (
                "`a  ${ b + `  ${ { c } }  ` }  // d`  + 'e  f\\'  '",
                "`a  ${b+`  ${{c}}  `}  // d`+'e  f\\'  '",
            ),
        ] {
            assert_eq!(script(source).trim_end(), sent, "{source}");
        }
    }

    #[test]
    fn a_style_sheet_is_sent_without_comments_and_without_spaces_that_mean_nothing() {
        let source = "/* Why. */\n.a > b:hover, .c :is(d) {\n  color: red !important;\n  margin: 0 calc(1px + 2 * 3px);\n}\n\n@media (min-width: 7px) {\n  p::after { content: \" { ; \\\" \"; }\n}\n";
        assert_eq!(
            slim("a.css", source),
            ".a>b:hover,.c :is(d){color:red!important;margin:0 calc(1px + 2 * 3px)}@media (min-width:7px){p::after{content:\" { ; \\\" \"}}"
        );
    }

    #[test]
    fn a_document_is_sent_without_indentation() {
        assert_eq!(
            slim("a.html", "<p>\n  a\n\n  b\n</p>\n"),
            "<p>\na\nb\n</p>\n"
        );
    }
}
