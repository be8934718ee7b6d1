//! Every wait ends, with the deadlines of production and a clock that the test moves.

use crate::{Call, FakeUpstream, FrozenClock, Read, ask_with, options, production, read, request};
use continuo::upstream::{Failure, Upstream, UpstreamOptions};
use std::time::Duration;

async fn ask_frozen(play: impl AsyncFnOnce(&mut Call, &FrozenClock)) -> Read {
    let clock = FrozenClock::new();
    let fake = FakeUpstream::start().await;
    ask_with(&production(&fake), &fake, async |call| {
        play(call, &clock).await;
    })
    .await
}

#[actix_web::test]
async fn the_total_deadline_counts_from_the_request() {
    let clock = FrozenClock::new();
    let fake = FakeUpstream::start().await;
    let options = UpstreamOptions {
        total: Duration::from_mins(5),
        ..production(&fake)
    };
    let read = ask_with(&options, &fake, async |call| {
        clock.pass(Duration::from_mins(4)).await;
        assert!(!call.is_closed());
        clock.pass(Duration::from_secs(61)).await;
        assert!(call.is_closed());
    })
    .await;
    assert_eq!(read.error().kind, Failure::TooLong, "{read:?}");
}

#[actix_web::test]
async fn no_head_within_the_first_byte_deadline_is_late() {
    let read = ask_frozen(async |call, clock| {
        clock.pass(Duration::from_secs(599)).await;
        assert!(!call.is_closed());
        clock.pass(Duration::from_secs(2)).await;
        assert!(call.is_closed());
    })
    .await;
    assert_eq!(read.error().kind, Failure::Late, "{read:?}");
    assert!(read.error().message.contains("600 s"), "{read:?}");
}

#[actix_web::test]
async fn no_first_byte_after_the_head_is_late_and_not_silent() {
    let read = ask_frozen(async |call, clock| {
        clock.pass(Duration::from_secs(500)).await;
        call.head_sse().await;
        clock.pass(Duration::from_secs(500)).await;
        assert!(!call.is_closed());
        clock.pass(Duration::from_secs(110)).await;
        assert!(call.is_closed());
    })
    .await;
    assert_eq!(read.error().kind, Failure::Late, "{read:?}");
}

#[actix_web::test]
async fn comments_for_half_an_hour_are_life() {
    let read = ask_frozen(async |call, clock| {
        call.head_sse().await;
        for _ in 0..18 {
            call.comment("keep-alive").await;
            clock.pass(Duration::from_secs(100)).await;
        }
        call.send("Hello").await;
        call.finish("stop").await;
        call.done().await;
    })
    .await;
    assert_eq!((read.text(), read.finish()), ("Hello", Some("stop")));
}

#[actix_web::test]
async fn silence_after_the_finish_reason_is_the_end() {
    let read = ask_frozen(async |call, clock| {
        call.head_sse().await;
        call.send("Hello").await;
        call.finish("stop").await;
        clock.pass(Duration::from_secs(190)).await;
        assert!(call.is_closed());
    })
    .await;
    assert_eq!((read.text(), read.finish()), ("Hello", Some("stop")));
}

#[actix_web::test]
async fn an_answer_that_never_ends_meets_the_total_deadline() {
    let read = ask_frozen(async |call, clock| {
        call.head_sse().await;
        for _ in 0..50 {
            if !call.send("x").await || call.is_closed() {
                return;
            }
            clock.pass(Duration::from_secs(100)).await;
        }
        call.done().await;
    })
    .await;
    assert_eq!(read.error().kind, Failure::TooLong, "{read:?}");
    // The timer counts whole milliseconds.
    assert!((36..=37).contains(&read.text().len()), "{read:?}");
}

#[actix_web::test]
async fn a_refusal_whose_body_never_ends_is_told_soon() {
    let read = ask_frozen(async |call, clock| {
        call.head(500, &[("transfer-encoding", "chunked")]).await;
        call.send_raw("out of cheese").await;
        clock.pass(Duration::from_secs(11)).await;
        assert!(call.is_closed());
    })
    .await;
    assert_eq!(read.error().kind, Failure::Refused);
    assert!(read.error().message.ends_with("out of cheese"), "{read:?}");
}

#[actix_web::test]
async fn a_list_of_models_is_not_waited_for_as_long_as_an_answer() {
    let clock = FrozenClock::new();
    let fake = FakeUpstream::start().await;
    fake.set_models(None);
    let upstream = Upstream::new(&production(&fake));
    let (models, _call) = tokio::join!(upstream.models(), async {
        let call = fake.next_call().await;
        clock.pass(Duration::from_secs(11)).await;
        call
    });
    assert_eq!(models.unwrap_err().kind, Failure::Late);
}

#[actix_web::test]
async fn deadlines_beyond_the_clock_are_as_good_as_none() {
    let fake = FakeUpstream::start().await;
    let mut options = options(&fake);
    options.first_byte = Duration::MAX;
    options.silence = Duration::MAX;
    options.total = Duration::MAX;
    let upstream = Upstream::new(&options);
    let request = request();
    let (completion, _call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.answer(&["Hello"]).await;
        call
    });
    assert_eq!(read(completion).await.text(), "Hello");
}
