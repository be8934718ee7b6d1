//! Raw bytes of real servers, in `tests/fixtures/upstream-quirks.json`, delivered in every way in which a network can.

use crate::{Call, FakeUpstream, FrozenClock, Read, ask, ask_with, options, production};
use continuo::upstream::{Failure, Step, Upstream};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Deserialize)]
struct Fixture {
    id: String,
    head: String,
    raw: Value,
    expect: Value,
}

enum Piece {
    Bytes(Vec<u8>),
    Sleep(Duration),
    Close(String),
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    AsGiven,
    Whole,
    ByteByByte,
    /// In pieces of random lengths.
    Random(u64),
}

fn fixtures() -> Vec<Fixture> {
    let json = include_str!("../fixtures/upstream-quirks.json");
    serde_json::from_str(json).expect("fixtures")
}

impl Fixture {
    fn pieces(&self) -> Vec<Piece> {
        let pieces = match &self.raw {
            Value::Array(pieces) => pieces.clone(),
            piece => vec![piece.clone()],
        };
        let piece = |piece: &Value| match piece {
            Value::String(text) => Piece::Bytes(text.clone().into_bytes()),
            piece => match (&piece["b64"], &piece["sleep_ms"], &piece["close"]) {
                (Value::String(text), _, _) => Piece::Bytes(base64(text)),
                (_, Value::Number(ms), _) => {
                    Piece::Sleep(Duration::from_millis(ms.as_u64().expect("milliseconds")))
                }
                (_, _, Value::String(how)) => Piece::Close(how.clone()),
                _ => panic!("{}: what is {piece}?", self.id),
            },
        };
        pieces.iter().map(piece).collect()
    }

    fn sleeps(&self) -> bool {
        self.pieces()
            .iter()
            .any(|piece| matches!(piece, Piece::Sleep(_)))
    }

    /// Status and headers.
    fn head(&self) -> (u16, Vec<(&str, &str)>) {
        let mut parts = self.head.split("; ");
        let (status, content_type) = parts
            .next()
            .and_then(|first| first.split_once(' '))
            .expect("a head");
        let mut headers = vec![("content-type", content_type)];
        headers.extend(parts.filter_map(|header| header.split_once(": ")));
        (status.parse().expect("a status"), headers)
    }

    async fn play(&self, call: &mut Call, delivery: Delivery, clock: Option<&FrozenClock>) {
        assert_eq!(call.headers["accept-encoding"], "identity");
        let (status, mut headers) = self.head();
        let mut pieces = self.pieces();
        // The only sleep at the start is a wait for the head.
        if let Some(Piece::Sleep(time)) = pieces.first() {
            clock.expect("a clock").pass(*time).await;
            pieces.remove(0);
        }
        let is_framed = !self.head.contains("no framing header");
        if is_framed {
            headers.push(("transfer-encoding", "chunked"));
        }
        call.head(status, &headers).await;
        let mut is_open = true;
        for piece in merged(pieces, delivery) {
            match piece {
                Piece::Bytes(bytes) if is_framed => is_open = call.send_raw(bytes).await,
                Piece::Bytes(bytes) => is_open = call.write(&bytes).await,
                Piece::Sleep(time) => clock.expect("a clock").pass(time).await,
                Piece::Close(how) if how == "fin" => {
                    call.cut().await;
                    return;
                }
                Piece::Close(_) => {}
            }
            if !is_open {
                return;
            }
        }
        if is_framed && clock.is_none() {
            call.end().await;
        } else {
            call.close();
        }
    }

    fn check(&self, read: &Read, how: &str) {
        let expect = &self.expect;
        let context = format!("{} {how}: {read:?}", self.id);
        if self.id == "q54-close-delimited" {
            // The client library reads such a body as empty: said clearly, never taken for an answer.
            assert_eq!(read.error().kind, Failure::Unreadable, "{context}");
            assert!(read.error().message.contains("chunked"), "{context}");
            return;
        }
        if let Some(text) = expect["text"].as_str() {
            assert_eq!(read.text(), text, "{context}");
        }
        if let Some(length) = expect["textlen"].as_u64() {
            assert_eq!(read.text().len() as u64, length, "{context}");
        }
        assert_eq!(
            read.transcript.reasoning,
            expect["reasoning"].as_str().unwrap_or(""),
            "{context}"
        );
        if let Some(total) = expect["usage"].as_u64() {
            let usage = read.usage.expect("usage");
            assert_eq!(
                usage.prompt_tokens + usage.completion_tokens,
                total,
                "{context}"
            );
        }
        if let Some(tools) = expect["tools"].as_array() {
            let calls = read.transcript.tool_calls.iter();
            let calls: Vec<_> = calls
                .map(|call| json!([call["function"]["name"], call["function"]["arguments"]]))
                .collect();
            assert_eq!(&calls, tools, "{context}");
        }
        if self.id == "q43-extra-content" {
            let call = &read.transcript.tool_calls[0];
            assert_eq!(
                call["extra_content"]["google"]["thought_signature"], "AbC=",
                "{context}"
            );
        }
        if expect["complete"] == true {
            if let Some(finish) = expect["finish"].as_str() {
                assert_eq!(read.finish(), Some(finish), "{context}");
            }
            assert!(matches!(read.ending, Some(Ok(_))), "{context}");
        }
        if let Some(error) = expect["error"].as_str() {
            let told = read.error();
            match error {
                "upstream_truncated" => assert_eq!(told.kind, Failure::Truncated, "{context}"),
                "upstream_idle_timeout" => assert_eq!(told.kind, Failure::Silent, "{context}"),
                words => assert!(told.message.contains(words), "{context}"),
            }
            if let Some(status) = expect["status"].as_u64() {
                assert_eq!(told.status.map(u64::from), Some(status), "{context}");
                assert_eq!(told.kind, Failure::Refused, "{context}");
            }
        }
        assert_eq!(read.skipped, 0, "{context}");
    }
}

/// The bytes between two events of another kind, cut as asked.
fn merged(pieces: Vec<Piece>, delivery: Delivery) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), piece) {
            (Some(Piece::Bytes(bytes)), Piece::Bytes(more))
                if !matches!(delivery, Delivery::AsGiven) =>
            {
                bytes.extend(more);
            }
            (_, piece) => all.push(piece),
        }
    }
    let cut = |piece: Piece| match (piece, delivery) {
        (Piece::Bytes(bytes), Delivery::ByteByByte) => {
            bytes.iter().map(|byte| Piece::Bytes(vec![*byte])).collect()
        }
        (Piece::Bytes(bytes), Delivery::Random(seed)) => {
            let mut random = Random(seed);
            let mut rest = &bytes[..];
            let mut cut = Vec::new();
            while !rest.is_empty() {
                let at = 1 + random.below(rest.len().min(200));
                cut.push(Piece::Bytes(rest[..at].to_vec()));
                rest = &rest[at..];
            }
            cut
        }
        (piece, _) => vec![piece],
    };
    all.into_iter().flat_map(cut).collect()
}

/// `SplitMix64`; a failure prints its seed, and `SEED=… cargo test` repeats it.
pub struct Random(pub u64);

impl Random {
    pub fn seed() -> u64 {
        let told = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = told.unwrap_or_else(|| {
            let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
            u64::from(now.subsec_nanos())
        });
        println!("SEED={seed}");
        seed
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below the limit")
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = ALPHABET
            .iter()
            .position(|known| *known == digit)
            .expect("base64");
        bits = bits << 6 | u32::try_from(value).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).expect("a byte"));
        }
    }
    bytes
}

async fn deliver(delivery: Delivery) {
    let fake = FakeUpstream::start().await;
    for fixture in fixtures().iter().filter(|fixture| !fixture.sleeps()) {
        let read = ask(&fake, async |call| fixture.play(call, delivery, None).await).await;
        if fixture.id != "q55-gzip" {
            fixture.check(&read, &format!("{delivery:?}"));
        }
    }
}

#[actix_web::test]
async fn every_quirk_is_read_as_its_server_sends_it() {
    deliver(Delivery::AsGiven).await;
}

#[actix_web::test]
async fn every_quirk_is_read_when_it_comes_in_one_piece() {
    deliver(Delivery::Whole).await;
}

#[actix_web::test]
async fn every_quirk_is_read_when_it_comes_byte_by_byte() {
    deliver(Delivery::ByteByByte).await;
}

#[actix_web::test]
async fn every_quirk_is_read_when_it_comes_in_random_pieces() {
    let seed = Random::seed();
    for round in 0..4 {
        deliver(Delivery::Random(seed.wrapping_add(round))).await;
    }
}

#[actix_web::test]
async fn every_quirk_of_time_is_read_with_the_deadlines_of_production() {
    let clock = FrozenClock::new();
    let fake = FakeUpstream::start().await;
    let mut count = 0;
    for fixture in fixtures().iter().filter(|fixture| fixture.sleeps()) {
        let read = ask_with(&production(&fake), &fake, async |call| {
            fixture.play(call, Delivery::AsGiven, Some(&clock)).await;
        })
        .await;
        fixture.check(&read, "with a frozen clock");
        count += 1;
    }
    assert_eq!(count, 2);
}

#[actix_web::test]
async fn a_stream_that_breaks_anywhere_is_a_prefix_and_never_a_forged_end() {
    let seed = Random::seed();
    let mut random = Random(seed);
    let fake = FakeUpstream::start().await;
    let all = fixtures();
    let stream = all.iter().filter(|fixture| {
        fixture.head == "200 text/event-stream"
            && fixture.expect["text"] == "Hello"
            && !fixture.sleeps()
    });
    for fixture in stream {
        let whole: Vec<u8> = merged(fixture.pieces(), Delivery::Whole)
            .into_iter()
            .filter_map(|piece| {
                if let Piece::Bytes(bytes) = piece {
                    Some(bytes)
                } else {
                    None
                }
            })
            .flatten()
            .collect();
        for round in 0..6 {
            let at = 1 + random.below(whole.len() - 1);
            let sent = &whole[..at];
            let read = ask(&fake, async |call| {
                call.head_sse().await;
                call.send_raw(sent).await;
                if round % 2 == 0 {
                    call.close();
                } else {
                    call.reset();
                }
            })
            .await;
            let context = format!("{} cut at {at} of {}: {read:?}", fixture.id, whole.len());
            assert!("Hello".starts_with(read.text()), "{context}");
            let sent = String::from_utf8_lossy(sent);
            let reason = sent.contains("\"finish_reason\":\"stop\"}")
                || sent.contains("insufficient_system_resource\"}");
            match &read.ending {
                Some(Ok(_)) => assert!(reason, "{context}"),
                Some(Err(error)) => {
                    let unrecognizable = error.kind == Failure::Unreadable && at < 8;
                    // A reset takes with it what was not read yet, the head included.
                    let reset = round % 2 == 1 && error.kind == Failure::Unreachable;
                    assert!(
                        error.kind == Failure::Truncated || unrecognizable || reset,
                        "{context}"
                    );
                }
                None => panic!("{context}"),
            }
        }
    }
}

#[actix_web::test]
async fn a_relayed_answer_keeps_its_payloads_byte_for_byte() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    for fixture in fixtures()
        .iter()
        .filter(|fixture| fixture.expect["keep"].is_array())
    {
        let asking = async {
            let mut completion = upstream.relay("{\"any\": 1.0}".into()).await.unwrap();
            let mut payloads = Vec::new();
            while let Step::Deltas(_) = completion.next().await.unwrap() {
                payloads.extend(completion.take_payloads());
            }
            payloads
        };
        let (mut payloads, _call) = tokio::join!(asking, async {
            let mut call = fake.next_call().await;
            assert_eq!(call.body, b"{\"any\": 1.0}");
            fixture.play(&mut call, Delivery::ByteByByte, None).await;
            call
        });
        let mut sent = String::new();
        for piece in fixture.pieces() {
            if let Piece::Bytes(bytes) = piece {
                sent += &String::from_utf8(bytes).unwrap();
            }
        }
        payloads.push("[DONE]\n\n".to_owned());
        let events = format!("data: {}", payloads.join("\n\ndata: "));
        assert_eq!(events, sent, "{}", fixture.id);
        for word in fixture.expect["keep"].as_array().unwrap() {
            assert!(sent.contains(word.as_str().unwrap()));
        }
    }
}

#[actix_web::test]
async fn a_relayed_answer_may_be_whole_and_may_end_in_an_error() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let (completion, ()) = tokio::join!(upstream.relay("{}".into()), async {
        fake.next_call().await.reply_completion("Hello").await;
    });
    let mut completion = completion.unwrap();
    while let Step::Deltas(_) = completion.next().await.unwrap() {}
    let payloads = completion.take_payloads();
    assert!(
        payloads[0].contains("\"content\":\"Hello\""),
        "{payloads:?}"
    );
    assert_eq!(payloads.len(), 1);
    let (completion, _call) = tokio::join!(upstream.relay("{}".into()), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call.send("Hel").await;
        call.send_raw("data: {\"cho\n\ndata:\n\ndata: {\"error\":\"no\"}\n\n")
            .await;
        call
    });
    let mut completion = completion.unwrap();
    while completion.next().await.is_ok() {}
    assert_eq!(completion.take_payloads().len(), 1);
}
