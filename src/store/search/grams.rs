//! Grams: up to four neighbouring characters of a folded text, as numbers. Every place where a word stands in a text has all grams of
//! the word. White space is in none, as it is in no word.
//!
//! Four letters of an alphabet say about as much as two of the thousands of Chinese, Japanese or Korean characters; more of those would
//! only fill the index. With three letters at most, one text of ten would have those of a word that it does not have.

use super::MAX_WORD_CHARS;

/// A hash, the same on every machine: it is stored. Two grams of one hash cost a look at a text in vain.
pub type Gram = u32;

/// Of a word no more than these are looked up, of all words of a search no more than those: the others would rule out little.
const OF_A_WORD: usize = 12;
const OF_ALL_WORDS: usize = 64;
/// A text longer than this is several documents, so that a long one does not have every gram.
const DOCUMENT_CHARS: usize = 2048;

/// The documents of a text, as their grams, sorted and distinct. Each begins within the one before, so that no word is cut.
pub fn documents(text: &str) -> Vec<Vec<Gram>> {
    let mut documents = Vec::new();
    let mut rest = text;
    loop {
        let next = byte_of(rest, DOCUMENT_CHARS);
        let end = next.map_or(rest.len(), |next| {
            next + byte_of(&rest[next..], MAX_WORD_CHARS - 1).unwrap_or(rest.len() - next)
        });
        let mut grams = of_text(&rest[..end]);
        grams.sort_unstable();
        grams.dedup();
        if !grams.is_empty() {
            documents.push(grams);
        }
        match next {
            Some(next) if end < rest.len() => rest = &rest[next..],
            _ => return documents,
        }
    }
}

/// Where the character after so many begins.
fn byte_of(text: &str, characters: usize) -> Option<usize> {
    text.char_indices().nth(characters).map(|(at, _)| at)
}

/// Repeated, in order of the text.
fn of_text(text: &str) -> Vec<Gram> {
    let mut grams = Vec::with_capacity(text.len() * 3);
    for word in text.split(char::is_whitespace) {
        let (mut last, mut spelled) = (None, Spelled::default());
        for c in word.chars() {
            grams.push(one(c));
            grams.extend(last.map(|last| two(last, c)));
            spelled.push(c);
            grams.extend(spelled.three());
            grams.extend(spelled.four());
            last = Some(c);
        }
    }
    grams
}

/// For each word what every document in which it stands has.
pub fn of_words(words: &[String]) -> Vec<Vec<Gram>> {
    let most = (OF_ALL_WORDS / words.len().max(1)).clamp(1, OF_A_WORD);
    words.iter().map(|word| of_word(word, most)).collect()
}

/// Of one word: the longest grams, which the fewest have, and at most so many.
fn of_word(word: &str, most: usize) -> Vec<Gram> {
    let word: Vec<char> = word.chars().collect();
    let mut grams = Vec::new();
    let mut run = Spelled::default();
    for (n, &c) in word.iter().enumerate() {
        run.push(c);
        let (longer, next) = (run.four(), word.get(n + 1));
        // Three are part of four already, or will be.
        let (is_third, goes_on) = (run.length == 3, next.is_some_and(|next| spells(*next)));
        if longer.is_some() {
            grams.extend(longer);
        } else if is_third && !goes_on {
            grams.extend(run.three());
        }
        if let Some(&next) = next
            && !in_three(&word, n)
        {
            grams.push(two(c, next));
        }
    }
    if let [c] = *word {
        grams.push(one(c));
    }
    // Neighbours say nearly the same.
    let step = grams.len().div_ceil(most).max(1);
    grams = grams.into_iter().step_by(step).collect();
    grams.sort_unstable();
    grams.dedup();
    grams
}

/// True when the two characters at `at` stand among three or more that [`spells`] is true of.
fn in_three(word: &[char], at: usize) -> bool {
    let spells_at = |at: Option<usize>| at.and_then(|at| word.get(at)).is_some_and(|c| spells(*c));
    spells_at(Some(at))
        && spells_at(Some(at + 1))
        && (spells_at(at.checked_sub(1)) || spells_at(Some(at + 2)))
}

/// True for letters of alphabets, digits and signs: where more than two in a row are worth an entry.
fn spells(c: char) -> bool {
    matches!(c, ..'\u{1100}' | '\u{1e00}'..'\u{2100}')
}

/// The last characters of a run that [`spells`] is true of, 14 bits each.
#[derive(Default)]
struct Spelled {
    length: usize,
    last: u64,
}

impl Spelled {
    fn push(&mut self, c: char) {
        if spells(c) {
            self.length += 1;
            self.last = self.last << 14 | u64::from(u32::from(c));
        } else {
            *self = Self::default();
        }
    }

    fn three(&self) -> Option<Gram> {
        (self.length >= 3).then(|| hash(3 << 62 | self.last & ((1 << 42) - 1)))
    }

    fn four(&self) -> Option<Gram> {
        (self.length >= 4).then(|| hash(1 << 63 | self.last & ((1 << 56) - 1)))
    }
}

fn one(a: char) -> Gram {
    hash(u64::from(u32::from(a)))
}

fn two(a: char, b: char) -> Gram {
    hash(u64::from(u32::from(a)) << 21 | u64::from(u32::from(b)))
}

/// The upper half of splitmix64's last step.
fn hash(gram: u64) -> Gram {
    let mut x = gram;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    u32::try_from(x >> 32).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn suggests(text: &str, word: &str) -> bool {
        let word = of_word(word, OF_A_WORD);
        documents(text)
            .iter()
            .any(|grams| word.iter().all(|gram| grams.binary_search(gram).is_ok()))
    }

    proptest! {
        /// An index that does not name a text in which a word stands would lose it.
        #[test]
        fn a_text_has_all_grams_of_every_word_in_it(
            before in "[a-zé你好🙂 \\-]{0,3000}",
            word in "[a-zA-Z0-9äß你好世界한국🙂ёж_%+]{1,200}",
            after in "[a-z你 ]{0,300}",
        ) {
            let text = format!("{before}{word}{after}");
            prop_assert!(suggests(&text, &word));
            let inner: String = word.chars().skip(1).take(3).collect();
            prop_assert!(inner.is_empty() || suggests(&text, &inner));
        }
    }

    #[test]
    fn what_is_not_there_is_seldom_suggested() {
        let text = "The quick brown fox jumps over the lazy dog. 我们在北京学习机器学习。";
        for word in ["q", "fox", "azy", "dog.", "学习", "习。", "学", "。"] {
            assert!(suggests(text, word), "{word}");
        }
        for word in [
            "ß",
            "fx",
            "foxes",
            "xj",
            "quickly",
            "京北",
            "器机",
            "学习习",
            "们北",
        ] {
            assert!(!suggests(text, word), "{word}");
        }
    }

    #[test]
    fn hashes_are_stored_and_stay() {
        assert_eq!(of_word("a", 9), [hash(97)]);
        let stored = [
            of_word("a", 9),
            of_word("你好", 9),
            of_word("the", 9),
            of_word("them", 9),
        ];
        assert_eq!(stored.concat(), STORED);
    }

    #[test]
    fn a_word_is_looked_up_by_its_longest_grams() {
        for (word, count) in [
            ("", 0),
            ("é", 1),
            ("ab", 1),
            ("abc", 1),
            ("abcd", 1),
            ("abcde", 2),
            ("你好世", 2),
            ("a你", 1),
            ("ab你", 2),
            ("abc你", 2),
            ("abcd你abc", 4),
            ("你a你", 2),
        ] {
            assert_eq!(of_word(word, 9).len(), count, "{word}");
        }
        let alphabet: String = ('a'..='z').collect();
        let sixteen = vec![alphabet; 16];
        assert_eq!(of_words(&sixteen[..1])[0].len(), 12);
        let sixteen = of_words(&sixteen);
        assert!(sixteen.iter().all(|grams| grams.len() == 4));
    }

    const STORED: [Gram; 4] = [2_935_979_339, 1_375_241_438, 1_224_710_639, 2_922_411_086];
}
