//! What the demo model has answers to. Between them they use all of Markdown that a chat has to show; the texts are in `answers/`.

/// Stands for a piece of the prompt.
pub(super) const PROMPT: &str = "{prompt}";

/// Something that can be asked for.
#[derive(Debug)]
pub(super) struct Topic {
    /// Each asks for it when it is the whole message, or stands behind `demo:`.
    pub words: &'static [&'static str],
    /// Each asks for it from within a sentence.
    pub cues: &'static [&'static str],
    /// What a conversation about it is called.
    pub title: &'static str,
    /// They take turns.
    pub recitals: &'static [Recital],
}

#[derive(Debug)]
pub(super) struct Recital {
    /// Empty: said without thinking.
    pub thoughts: &'static str,
    pub text: &'static str,
}

/// A text of `answers/`.
macro_rules! answer {
    ($name:literal) => {
        include_str!(concat!("answers/", $name, ".md"))
    };
}

/// Said without thinking.
macro_rules! recitals {
    ($($name:literal),+) => {
        &[$(Recital { thoughts: "", text: answer!($name) }),+]
    };
}

const SHEEP: Recital = Recital {
    thoughts: answer!("riddle.thinking"),
    text: answer!("riddle"),
};
const BALL: Recital = Recital {
    thoughts: answer!("riddle-ball.thinking"),
    text: answer!("riddle-ball"),
};
/// The story, and as much again of everything else.
const LONG: Recital = Recital {
    thoughts: "",
    text: concat!(
        answer!("story"),
        "\n",
        answer!("story-cupboard"),
        answer!("tides"),
        "\n",
        answer!("table"),
        "\n",
        answer!("sorting"),
        "\n",
        answer!("code"),
        "\n",
        answer!("code-clock"),
        "\n",
        answer!("story-end")
    ),
};

/// The first that is asked for counts, so the narrow ones stand first. A cue is one word or several, in lower case.
pub(super) const ENGLISH: [Topic; 12] = [
    Topic {
        words: &["hi", "hello", "hey", "hallo"],
        cues: &[],
        title: "Hello",
        recitals: recitals!("greeting"),
    },
    Topic {
        words: &["help"],
        cues: &["what can you do", "who are you", "what are you"],
        title: "What the demo model can do",
        recitals: recitals!("help"),
    },
    Topic {
        words: &["sorting"],
        cues: &["sorting algorithm", "sorting algorithms", "merge sort"],
        title: "Three ways to sort",
        recitals: recitals!("sorting"),
    },
    Topic {
        words: &["long", "story"],
        cues: &[
            "long answer",
            "long story",
            "long text",
            "a story",
            "the story",
            "lighthouse",
            "many chapters",
        ],
        title: "The keeper of letters",
        recitals: &[LONG],
    },
    Topic {
        words: &["sheep"],
        cues: &["sheep"],
        title: "Nine sheep",
        recitals: &[SHEEP],
    },
    Topic {
        words: &["think"],
        cues: &[
            "think first",
            "think it over",
            "think it through",
            "think about it",
            "a riddle",
        ],
        title: "A riddle, thought over",
        recitals: &[SHEEP, BALL],
    },
    Topic {
        words: &["code"],
        cues: &[
            "code in",
            "me code",
            "some code",
            "write code",
            "several languages",
            "many languages",
            "programming languages",
        ],
        title: "Code in several languages",
        recitals: recitals!("code", "code-clock"),
    },
    Topic {
        words: &["tour", "reload"],
        cues: &[
            "what is continuo",
            "about continuo",
            "continuo do",
            "continuo work",
            "reload",
        ],
        title: "A tour of Continuo",
        recitals: recitals!("tour"),
    },
    Topic {
        words: &["markdown", "formatting"],
        cues: &["markdown"],
        title: "Everything in Markdown",
        recitals: recitals!("markdown"),
    },
    Topic {
        words: &["tides"],
        cues: &["tide", "tides"],
        title: "Why the sea comes and goes",
        recitals: recitals!("tides"),
    },
    Topic {
        words: &["table"],
        cues: &["a table", "in tables"],
        title: "A table of teas",
        recitals: recitals!("table", "planets"),
    },
    Topic {
        words: &["chinese"],
        cues: &["in chinese", "speak chinese"],
        title: "用中文介绍",
        recitals: recitals!("zh/help"),
    },
];

/// Of questions in Chinese. A cue stands anywhere in the text.
pub(super) const CHINESE: [Topic; 6] = [
    Topic {
        words: &["你好", "您好", "嗨"],
        cues: &[],
        title: "你好",
        recitals: recitals!("zh/greeting"),
    },
    Topic {
        words: &["茶"],
        cues: &["茶"],
        title: "中国茶文化",
        recitals: recitals!("zh/tea"),
    },
    Topic {
        words: &["故事"],
        cues: &["故事", "长回答", "长文", "长篇", "灯塔", "章节"],
        title: "收信的灯塔",
        recitals: recitals!("zh/story"),
    },
    Topic {
        words: &["思考"],
        cues: &["只羊", "想清楚", "想一想", "先想", "思考", "谜语"],
        title: "还剩几只羊",
        recitals: &[Recital {
            thoughts: answer!("zh/riddle.thinking"),
            text: answer!("zh/riddle"),
        }],
    },
    Topic {
        words: &["代码", "表格"],
        cues: &["排序", "代码", "编程", "程序", "表格"],
        title: "三种排序算法",
        recitals: recitals!("zh/sorting"),
    },
    Topic {
        words: &["中文", "帮助"],
        cues: &[
            "你自己",
            "自我介绍",
            "你是谁",
            "你会什么",
            "你会做什么",
            "你能做什么",
            "continuo",
            "帮助",
        ],
        title: "演示模型的自我介绍",
        recitals: recitals!("zh/help"),
    },
];

/// To anything else.
const ANY_IN_ENGLISH: &[Recital] = recitals!(
    "tea",
    "insertion",
    "planets",
    "hello",
    "plan",
    "streams",
    "depends"
);
const ANY_IN_CHINESE: &[Recital] = recitals!("zh/answer", "zh/teapot");

/// What answers to anything, in the language of the text.
pub(super) fn anything(text: &str) -> &'static [Recital] {
    if is_chinese(text) {
        ANY_IN_CHINESE
    } else {
        ANY_IN_ENGLISH
    }
}

/// What this word asks for when it is the whole message; in lower case.
pub(super) fn named(word: &str) -> Option<&'static Topic> {
    let mut topics = ENGLISH.iter().chain(&CHINESE);
    topics.find(|topic| topic.words.contains(&word))
}

/// What this text asks for among other words; in lower case.
pub(super) fn asked(text: &str) -> Option<&'static Topic> {
    if is_chinese(text) {
        let has = |cue: &&str| text.contains(*cue);
        return CHINESE.iter().find(|topic| topic.cues.iter().any(has));
    }
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let text = format!(" {} ", words.join(" "));
    let has = |cue: &&str| text.contains(&format!(" {cue} "));
    ENGLISH.iter().find(|topic| topic.cues.iter().any(has))
}

/// By its characters, each of which counts as much as three letters. Text with kana or hangul is not Chinese.
pub(super) fn is_chinese(text: &str) -> bool {
    let (mut han, mut letters) = (0, 0);
    for character in text.chars() {
        match character {
            '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}' => han += 1,
            '\u{3040}'..='\u{30ff}' | '\u{ac00}'..='\u{d7af}' => return false,
            other => letters += usize::from(other.is_alphabetic()),
        }
    }
    han > 0 && 3 * han >= letters
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::{fs, path::Path};

    pub fn all() -> impl Iterator<Item = &'static Recital> {
        let topics = ENGLISH.iter().chain(&CHINESE);
        let asked = topics.flat_map(|topic| topic.recitals);
        asked.chain(ANY_IN_ENGLISH).chain(ANY_IN_CHINESE)
    }

    #[test]
    fn what_a_visitor_would_click_gets_what_it_asks_for() {
        for (text, title) in [
            (
                "a long answer – then reload this page",
                "The keeper of letters",
            ),
            (
                "show me code in several languages",
                "Code in several languages",
            ),
            ("think first", "A riddle, thought over"),
            (
                "think first, please: what is life?",
                "A riddle, thought over",
            ),
            ("reload me now", "A tour of Continuo"),
            ("what is continuo?", "A tour of Continuo"),
            (
                "tell me, in many chapters, the story of a lighthouse keeper who collects letters from the sea.",
                "The keeper of letters",
            ),
            (
                "a farmer has 17 sheep; all but 9 run away. how many are left? think it over, and explain.",
                "Nine sheep",
            ),
            (
                "compare three sorting algorithms in a table, and show one of them in rust and in python.",
                "Three ways to sort",
            ),
            (
                "explain the tides to a ten-year-old, in three short sections.",
                "Why the sea comes and goes",
            ),
            ("use markdown", "Everything in Markdown"),
            ("answer in chinese", "用中文介绍"),
            ("用中文介绍一下你自己", "演示模型的自我介绍"),
            ("请用中文介绍一下中国茶文化，分几个小节。", "中国茶文化"),
            (
                "请分多个章节，讲一个收集大海来信的灯塔看守人的故事。",
                "收信的灯塔",
            ),
            (
                "农夫有 17 只羊，除了 9 只都跑了，还剩几只？请想清楚再解释。",
                "还剩几只羊",
            ),
            (
                "用表格比较三种排序算法，并用 rust 和 python 各写一种。",
                "三种排序算法",
            ),
        ] {
            assert_eq!(asked(text).map(|topic| topic.title), Some(title), "{text}");
        }
        for text in ["how long is the nile?", "a stable, please", "天气怎么样？"] {
            assert_eq!(asked(text).map(|topic| topic.title), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_chinese_by_its_characters() {
        for text in [
            "你好",
            "用 Rust 和 Python 各写一种",
            "什么是 SSE？",
            "CSS 怎么居中",
        ] {
            assert!(is_chinese(text), "{text}");
        }
        for text in [
            "Hello",
            "What does 你好 mean in English?",
            "",
            "123",
            "東京はどこ",
            "서울",
        ] {
            assert!(!is_chinese(text), "{text}");
        }
    }

    #[test]
    fn questions_in_chinese_are_answered_in_chinese() {
        let chinese = CHINESE.iter().flat_map(|topic| topic.recitals);
        for recital in chinese.chain(ANY_IN_CHINESE) {
            let prose: String = recital.text.split("```").step_by(2).collect();
            assert!(is_chinese(&prose), "{prose}");
        }
    }

    fn sources(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let texts = paths.flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![fs::read_to_string(&path).unwrap()]
            }
        });
        texts.collect()
    }

    /// All of it is in the binary.
    #[test]
    fn every_text_is_said_and_they_fit_in_sixty_kilobytes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = sources(&root.join("src/demo/answers"));
        let bytes: usize = sources.iter().map(String::len).sum();
        assert!(bytes < 60_000, "{bytes}");
        for source in sources {
            let is_said = |recital: &Recital| {
                recital.text.contains(&source) || recital.thoughts.contains(&source)
            };
            assert!(all().any(is_said), "{source}");
        }
    }

    #[test]
    fn the_help_names_what_can_be_asked_for() {
        let help = answer!("help");
        for word in [
            "tour",
            "long",
            "think",
            "code",
            "table",
            "markdown",
            "chinese",
            "slow",
            "fail",
            "cut",
            "silent",
            "error 429",
            "help",
        ] {
            assert!(help.contains(&format!("`{word}`")), "{word}");
        }
    }
}
