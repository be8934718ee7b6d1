//! Promise: what real OpenAI-compatible servers send is read to the last word, and every way to fail keeps its meaning.

#[path = "support/fake_upstream.rs"]
mod fake_upstream;

use continuo::upstream::*;
use fake_upstream::FakeUpstream;
use std::time::Duration;

fn options(base_url: String) -> UpstreamOptions {
    UpstreamOptions {
        base_url,
        api_key: None,
        connect: Duration::from_secs(10),
        first_byte: Duration::from_secs(10),
        silence: Duration::from_secs(10),
        total: Duration::from_secs(60),
        event_bytes: 1 << 20,
    }
}

#[actix_web::test]
async fn a_streamed_answer_is_read_to_its_end() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(fake.base_url()));
    assert_eq!(upstream.models().await.unwrap(), [fake_upstream::MODEL]);
    let request = ChatRequest {
        model: "m".into(),
        messages: vec![],
        sampling: continuo::model::Sampling::default(),
    };
    let asking = upstream.stream(&request);
    let answering = async {
        let mut call = fake.next_call().await;
        println!(
            "{} {} {:?} {}",
            call.method,
            call.path,
            call.headers,
            call.json()
        );
        call.answer(&["Hel", "lo"]).await;
        call
    };
    let (completion, _call) = tokio::join!(asking, answering);
    let mut completion = completion.unwrap();
    loop {
        let step = completion.next().await.unwrap();
        println!("{step:?}");
        if matches!(step, Step::End { .. }) {
            break;
        }
    }
    drop(completion);
    println!("{}", fake.connections());
}
