//! Sockets: closed at once when nobody wants the answer, kept when they may be used again, and lost in every way.

use crate::{fake_upstream::FakeUpstream, options, read, request};
use continuo::upstream::{Failure, Step, Upstream, UpstreamOptions};
use futures_util::FutureExt;
use std::{pin::pin, time::Duration};
use tokio::net::TcpListener;

#[actix_web::test]
async fn dropping_a_request_before_its_head_closes_the_socket() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let call = tokio::select! {
        call = fake.next_call() => call,
        _ = upstream.stream(&request) => panic!("nothing was answered"),
    };
    call.closed().await;
}

#[actix_web::test]
async fn dropping_an_answer_in_its_middle_closes_the_socket() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let (completion, mut call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call.send("Hel").await;
        call
    });
    let mut completion = completion.unwrap();
    assert!(matches!(completion.next().await, Ok(Step::Deltas(_))));
    assert!(!call.is_closed());
    drop(completion);
    call.closed().await;
    // While a read is pending, too.
    let (completion, other) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call
    });
    let mut completion = completion.unwrap();
    assert!(completion.next().now_or_never().is_none());
    drop(completion);
    other.closed().await;
    call.close();
}

#[actix_web::test]
async fn an_error_in_the_stream_closes_the_socket_before_the_completion_is_dropped() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let (completion, call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call.send_raw("data: {\"error\":\"no\"}\n\n").await;
        call
    });
    let mut completion = completion.unwrap();
    assert_eq!(completion.next().await.unwrap_err().kind, Failure::Reported);
    call.closed().await;
    drop(completion);
}

#[actix_web::test]
async fn a_read_that_is_given_up_loses_nothing() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let (completion, mut call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call
    });
    let mut completion = completion.unwrap();
    let mut text = String::new();
    for number in 0..50 {
        assert!(completion.next().now_or_never().is_none());
        call.send(&format!("{number} ")).await;
        while !text.ends_with(&format!("{number} ")) {
            // Polled once and dropped, until the bytes are there.
            match completion.next().now_or_never() {
                Some(Ok(Step::Deltas(deltas))) => {
                    for delta in deltas {
                        if let continuo::upstream::Delta::Text(more) = delta {
                            text += &more;
                        }
                    }
                }
                None => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }
    call.done().await;
    assert_eq!(read(Ok(completion)).await.finish(), None);
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(text.trim_end(), expected.join(" "));
}

#[actix_web::test]
async fn the_connection_of_a_whole_answer_is_used_again() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    assert_eq!(
        upstream.models().await.unwrap(),
        [crate::fake_upstream::MODEL]
    );
    let request = request();
    for _ in 0..3 {
        let answering = async {
            fake.next_call().await.reply_completion("Hello").await;
        };
        let (answer, ()) = tokio::join!(upstream.complete(&request), answering);
        answer.unwrap();
    }
    assert_eq!(fake.connections(), 1);
}

#[actix_web::test]
async fn a_streamed_answer_with_its_end_in_the_last_packet_leaves_the_connection() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    for _ in 0..3 {
        let (completion, _call) = tokio::join!(upstream.stream(&request), async {
            let mut call = fake.next_call().await;
            call.head_sse().await;
            call.send("Hello").await;
            call.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
            call.hand_back();
            call
        });
        assert_eq!(read(completion).await.text(), "Hello");
    }
    assert_eq!(fake.connections(), 1);
}

#[actix_web::test]
async fn a_kept_connection_that_died_is_replaced_once() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    upstream.models().await.unwrap();
    let request = request();
    // The server closes it at the very moment in which it is used again.
    let (completion, _call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.close();
        let mut second = fake.next_call().await;
        second.answer(&["Hello"]).await;
        second
    });
    assert_eq!(read(completion).await.text(), "Hello");
    assert_eq!(fake.connections(), 2);
}

#[actix_web::test]
async fn a_new_connection_that_dies_is_not_tried_again() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    for reset in [false, true] {
        let (completion, ()) = tokio::join!(upstream.stream(&request), async {
            let mut call = fake.next_call().await;
            if reset { call.reset() } else { call.close() }
        });
        let read = read(completion).await;
        assert_eq!(read.error().kind, Failure::Unreachable, "{read:?}");
        assert!(fake.waiting_call().is_none());
    }
    assert_eq!(fake.connections(), 2);
}

#[actix_web::test]
async fn a_broken_connection_truncates_the_answer() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    for reset in [false, true] {
        let (completion, mut call) = tokio::join!(upstream.stream(&request), async {
            let mut call = fake.next_call().await;
            call.head_sse().await;
            call.send("Hel").await;
            call
        });
        let mut completion = completion.unwrap();
        assert!(matches!(completion.next().await, Ok(Step::Deltas(_))));
        if reset {
            call.reset();
        } else {
            call.cut().await;
        }
        assert_eq!(read(Ok(completion)).await.error().kind, Failure::Truncated);
    }
}

#[actix_web::test]
async fn a_broken_connection_after_the_finish_reason_is_a_whole_answer() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let (completion, mut call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call.send("Hello").await;
        call.finish("length").await;
        call
    });
    let mut completion = completion.unwrap();
    let mut steps = 0;
    while steps < 2 {
        assert!(matches!(completion.next().await, Ok(Step::Deltas(_))));
        steps += 1;
    }
    call.reset();
    assert_eq!(read(Ok(completion)).await.finish(), Some("length"));
}

#[actix_web::test]
async fn two_hundred_answers_at_once_need_no_queue() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let asking = futures_util::future::join_all((0..200).map(|_| upstream.stream(&request)));
    let answering = async {
        let mut calls = Vec::new();
        for _ in 0..200 {
            let mut call = fake.next_call().await;
            call.head_sse().await;
            calls.push(call);
        }
        calls
    };
    let (completions, _calls) = tokio::join!(asking, answering);
    assert!(completions.iter().all(Result::is_ok));
}

async fn fails(options: UpstreamOptions) -> (Failure, String) {
    let upstream = Upstream::new(&options);
    let request = request();
    let read = read(upstream.stream(&request).await).await;
    let error = read.error();
    let models = upstream.models().await;
    assert_eq!(models.map_err(|other| other.kind), Err(error.kind));
    (error.kind, error.message.clone())
}

#[actix_web::test]
async fn no_server_no_address_and_no_tls_are_all_unreachable() {
    let fake = FakeUpstream::start().await;
    let with = |base_url: String| UpstreamOptions {
        base_url,
        ..options(&fake)
    };
    // The server speaks no TLS: it takes the greeting for a request without an end, and hangs up.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let https = format!("https://{}/v1", plain.local_addr().unwrap());
    let answering = async {
        loop {
            let (socket, _) = plain.accept().await.unwrap();
            socket.readable().await.unwrap();
            let _ = socket.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    };
    let (kind, message) = tokio::select! {
        failed = fails(with(https)) => failed,
        () = answering => unreachable!(),
    };
    assert_eq!(kind, Failure::Unreachable, "{message}");
    for base_url in [
        "",
        "localhost:8000",
        "ftp://127.0.0.1/v1",
        "http://",
        "http:///v1",
        "http://[::1/v1",
        "http://a b/v1",
        "//x",
    ] {
        let (kind, message) = fails(with(base_url.to_owned())).await;
        assert_eq!(kind, Failure::Unreachable, "{base_url}: {message}");
    }
    fake.stop_listening().await;
    let (kind, message) = fails(options(&fake)).await;
    assert_eq!(kind, Failure::Unreachable);
    assert!(message.contains("refused"), "{message}");
}

#[actix_web::test]
async fn a_handshake_that_never_ends_meets_the_connect_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = FakeUpstream::start().await;
    let options = UpstreamOptions {
        base_url: format!("https://{}/v1", silent.local_addr().unwrap()),
        connect: Duration::from_millis(200),
        ..options(&fake)
    };
    let (kind, message) = fails(options).await;
    assert_eq!(kind, Failure::Unreachable);
    assert!(message.contains("within 0.2 s"), "{message}");
}

#[actix_web::test]
async fn a_key_that_no_header_may_carry_is_said_without_showing_it() {
    let fake = FakeUpstream::start().await;
    let key = continuo::upstream::Secret("sk-bad\nkey".to_owned());
    let options = UpstreamOptions {
        api_key: Some(key),
        ..options(&fake)
    };
    let (kind, message) = fails(options).await;
    assert_eq!(kind, Failure::Unreachable);
    assert!(
        message.contains("API key") && !message.contains("sk-bad"),
        "{message}"
    );
}

#[actix_web::test]
async fn a_base_url_may_end_in_a_slash() {
    let fake = FakeUpstream::start().await;
    let options = UpstreamOptions {
        base_url: fake.base_url() + "/",
        ..options(&fake)
    };
    let upstream = Upstream::new(&options);
    let request = request();
    let mut asking = pin!(upstream.stream(&request));
    let call = tokio::select! {
        call = fake.next_call() => call,
        _ = &mut asking => panic!("nothing was answered"),
    };
    assert_eq!(call.path, "/v1/chat/completions");
}
