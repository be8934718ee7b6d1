//! Texts that are made up, the same in every run: English-like words with the frequencies of letters and words that English has, Chinese of
//! common characters, and code.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measuring tool"
)]

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

/// Two common characters that never stand together in this order.
pub const APART_A: char = '我';
pub const APART_B: char = '的';

/// Numbers that look random and are the same in every run (xorshift).
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// Of 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The first half as often as the second, third and fourth together, and so on: about as words are in a text (Zipf).
    fn ranked(&mut self, count: usize) -> usize {
        ((count as f64).powf(self.share()) as usize - 1).min(count - 1)
    }
}

pub struct Writer {
    pub random: Random,
    /// The commonest first, as in the other two.
    pub words: Vec<String>,
    pub characters: Vec<char>,
    pub chinese: Vec<String>,
}

impl Writer {
    pub fn new() -> Self {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let words = english(&mut random);
        let mut characters = vec![APART_B, APART_A];
        while characters.len() < 3000 {
            let c = char::from_u32(0x4e00 + random.below(6000) as u32).unwrap();
            if !characters.contains(&c) {
                characters.push(c);
            }
        }
        let mut chinese: Vec<String> = vec!["词语".into(), "我们".into(), "是的".into()];
        while chinese.len() < 20_000 {
            let pair = [
                characters[random.ranked(3000)],
                characters[random.ranked(3000)],
            ];
            if pair != [APART_A, APART_B] {
                chinese.push(pair.iter().collect());
            }
        }
        Self {
            random,
            words,
            characters,
            chinese,
        }
    }

    /// About as long as asked.
    pub fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length * 2);
        let language = self.random.below(10);
        while text.chars().count() < length {
            match language {
                0 | 1 => self.chinese_sentence(&mut text),
                2 if self.random.below(3) == 0 => self.code(&mut text),
                _ => self.sentence(&mut text),
            }
        }
        text
    }

    fn sentence(&mut self, text: &mut String) {
        let count = 4 + self.random.below(16);
        for n in 0..count {
            let word = &self.words[self.random.ranked(self.words.len())];
            if n == 0 {
                text.push_str(&word[..1].to_uppercase());
                text.push_str(&word[1..]);
            } else {
                text.push_str(word);
            }
            text.push_str(match (n + 1 == count, self.random.below(12)) {
                (true, 0) => ".\n\n",
                (true, 1) => "?\n",
                (true, _) => ". ",
                (false, 0) => ", ",
                (false, _) => " ",
            });
        }
    }

    fn chinese_sentence(&mut self, text: &mut String) {
        for _ in 0..4 + self.random.below(12) {
            let word = &self.chinese[self.random.ranked(self.chinese.len())];
            if !(text.ends_with(APART_A) && word.starts_with(APART_B)) {
                text.push_str(word);
            }
        }
        text.push_str(if self.random.below(3) == 0 {
            "。"
        } else {
            "，"
        });
    }

    fn code(&mut self, text: &mut String) {
        let (a, b) = (self.random.ranked(3000), self.random.ranked(3000));
        let _ = writeln!(
            text,
            "    let {}_{} = {}::{}(&self.{}, {a});",
            self.words[a], self.words[b], self.words[b], self.words[a], self.words[a]
        );
    }
}

/// Words by a walk over the letters of the English texts at hand: each letter as often as it follows the two before.
fn english(random: &mut Random) -> Vec<String> {
    let source = concat!(
        include_str!("../../README.md"),
        include_str!("../../ARCHITECTURE.md"),
        include_str!("../../CHANGELOG.md")
    );
    let mut words: Vec<String> = Vec::new();
    let mut follows: HashMap<[u8; 2], Vec<u8>> = HashMap::new();
    for word in source.split(|c: char| !c.is_ascii_alphabetic()) {
        let word = word.to_ascii_lowercase();
        let mut before = *b"  ";
        for &letter in word.as_bytes().iter().chain(b" ") {
            follows.entry(before).or_default().push(letter);
            before = [before[1], letter];
        }
        words.push(word);
    }
    // Real ones first, the commonest before the others.
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in words.drain(..).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    let mut counted: Vec<_> = counts.into_iter().collect();
    counted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.extend(counted.into_iter().map(|(word, _)| word).take(1500));
    let mut known: HashSet<String> = words.iter().cloned().collect();
    while words.len() < 30_000 {
        let (mut word, mut before) = (String::new(), *b"  ");
        loop {
            let next = &follows[&before];
            let letter = next[random.below(next.len())];
            if letter == b' ' {
                break;
            }
            word.push(char::from(letter));
            before = [before[1], letter];
        }
        if word.len() > 2 && word.len() < 16 && known.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}
