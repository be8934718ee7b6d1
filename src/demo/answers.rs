//! What the demo model says. Between them the answers use all of Markdown that a chat has to show.

/// Stands for a piece of the prompt.
pub(super) const PROMPT: &str = "{prompt}";

pub(super) const HELP: &str = "\
# Continuo's demo model

I am not a language model: I recite a few answers at the pace of one, so that you can try everything without an account anywhere. \
Set `upstream.url` in the configuration to talk to a real one.

Send one of these words, alone, and I behave like that:

| word | what happens |
|---|---|
| `long` | an answer of several minutes: reload, open a second tab, stop it |
| `slow` | about one word a second |
| `think` | thinking first, then an answer |
| `fail` | the model reports an error in the middle |
| `cut` | the connection breaks in the middle |
| `silent` | the model falls silent in the middle and never says another word |
| `error 429` | refused at once, with any status from 400 to 599 |
| `help` | this list |

In a longer message, begin with `demo:` and the word, as in `demo:slow tell me a story`. Have an answer continued that broke off, and I \
go on where it ends; it goes well then.
";

pub(super) const REASONING: &str = "\
The prompt says “{prompt}”. What could be meant by it? I can think of two readings, and neither is wrong.\n\n\
Let me weigh them: the first is literal, the second friendly. A demo model should be friendly. So: a short answer, in plain words.";

pub(super) const GREETING: &str = "\
Hello! 👋 I am the demo model that comes with Continuo. Ask me anything and I will recite something; \
say **help** to see how I can fail, dawdle and fall silent.\n";

pub(super) const ANSWERS: [&str; 7] = [
    "\
## A cup of tea, step by step

You wrote “{prompt}”. While I have nothing clever to say about that, I can always explain tea:

1. Boil **fresh** water; stale water makes stale tea.
2. Warm the pot.
3. One spoon per cup:
   - black tea: 95 °C, *three to five* minutes
   - green tea: 75 °C, *two* minutes
   - herbs: boiling, as long as you like
4. Wait. This is the difficult part.

> The first cup moistens the lips, the second breaks the loneliness.
> — Lu Tong, after one cup too many

Enjoy it while this text is still streaming.
",
    "\
### Sorting, in two languages

Here is the same idea twice. In Rust:

```rust
/// Sorts in place; stable, and fast enough for a demo.
fn insertion_sort<T: Ord>(items: &mut [T]) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && items[at - 1] > items[at] {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}
```

And in Python, where it is one line and somebody else's work:

```python
items = sorted([\"pear\", \"apple\", \"fig\"], key=len)
print(items)  # ['fig', 'pear', 'apple']
```

The first takes `O(n²)` steps; for `n < 20` it beats almost everything. ~~Always measure.~~ **Always** measure.
",
    "\
## Planets, compared

| planet | day | year | moons | fit for tea? |
|:--|--:|--:|:-:|:--|
| Mercury | 176 d | 88 d | 0 | boils by itself |
| Venus | 117 d | 225 d | 0 | *strongly* acidic |
| Earth | 24 h | 365 d | 1 | **yes** |
| Mars | 24.7 h | 687 d | 2 | `0.6 kPa` is no kettle |

A day here is the time from noon to noon. You asked about “{prompt}”; I hope that one of these numbers helps.

---

Sources: memory, and [a good encyclopedia](https://en.wikipedia.org/wiki/Planet).
",
    "\
## 一壶茶的时间

你好！你写的是「{prompt}」。我是 Continuo 自带的**演示模型**，只会背诵几段文字，但每个字都会一个一个地传给你。

- 春天：龙井，清香 🌱
- 夏天：白茶，解暑
- 秋天：乌龙，温润 🍂
- 冬天：普洱，暖胃 ❄️

> 茶亦醉人何必酒，书能香我不须花。

刷新页面，或者打开另一个窗口：一个字也不会丢，一个字也不会重复。
",
    "\
### A small plan ✨

- [x] read your message 📬
- [x] choose an answer at random 🎲
- [ ] understand it 🤔
- [ ] become a real model 🚀

Emoji travel in several pieces, so they are a good test: 👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇭 👍🏽. If each of them looks whole, nothing was lost on the way.
",
    "\
# On streams

Every answer is a small river. It begins with a *delta*, and it ends, if all goes well, with a `finish_reason`.

## Upstream

1. The model thinks of a word.
2. It sends the word.
   1. The server writes it into a log.
   2. Everybody who listens gets it.
3. It thinks of the next one.

## Downstream

Readers may come late, leave early, and come back:

```text
model ──► log ──► tab
               ├─► phone
               └─► curl
```

***None of them can hold the others up***, because each holds nothing but a number.

As for “{prompt}”: it went up that river a moment ago.
",
    "\
Short answer: it depends.

Longer answer: “{prompt}” is the kind of question to which there are

* answers that are *short* and wrong,
* answers that are **long** and wrong,
* and the answer that you find yourself on a walk.

Take the walk. The server keeps this answer for you: `GET /api/generations/…/events` begins where you left off.
",
];

/// The title of a part of the long answer.
pub(super) const LONG_PARTS: [&str; 6] = [
    "In which nothing happens yet",
    "In which it happens slowly",
    "第三章：喝茶",
    "In which everything is repeated",
    "In which the reader reloads the page",
    "In which it ends",
];
